"""The OTLP receiver, over HTTP and gRPC.

Its memory stays below 200 MB + 2 x ``max_pending_bytes`` + 8 x ``max_body_bytes``, whatever is sent and however long
Kafka is away: once ``max_pending_bytes`` of what waits to be durable or comes in over HTTP, once of what comes in over
gRPC, and the copies that two threads make of the requests they are at.
"""

from tidegauge.collectors.receiver.intake import Intake
from tidegauge.collectors.receiver.server import ReceiverServer

__all__ = ["Intake", "ReceiverServer"]
