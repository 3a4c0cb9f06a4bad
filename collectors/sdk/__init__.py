"""The SDK: one line to start, and what a service says about its models from then on."""

from tidegauge.collectors.sdk.client import Client, init

__all__ = ["Client", "init"]
