"""Every flight that left New York City in 2013, as a model's year in production: see docs/flights.md."""

from tidegauge.demo.flights.faults import Fault, parse_fault
from tidegauge.demo.flights.stream import Day, FlightsStream

__all__ = ["Day", "Fault", "FlightsStream", "parse_fault"]
