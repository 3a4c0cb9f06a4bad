"""The OTLP receiver, over HTTP and gRPC."""

from tidegauge.collectors.receiver.intake import Intake
from tidegauge.collectors.receiver.server import ReceiverServer

__all__ = ["Intake", "ReceiverServer"]
