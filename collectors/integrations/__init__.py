"""Frameworks that a service is built with."""
