"""Kafka between the receiver and ClickHouse: OTLP bytes in, exactly-once inserts out."""

from tidegauge.collectors.kafka.sink import Sink, SinkStopped
from tidegauge.collectors.kafka.topics import create_topics
from tidegauge.collectors.kafka.transport import KafkaTransport

__all__ = ["KafkaTransport", "Sink", "SinkStopped", "create_topics"]
