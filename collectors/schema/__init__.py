"""The ClickHouse schema: what OTLP becomes, as numbered migrations."""

from tidegauge.collectors.schema.cardinality import CardinalityLoop
from tidegauge.collectors.schema.migrate import migrate
from tidegauge.collectors.schema.otlp import insert_exports
from tidegauge.collectors.schema.retention import retain

__all__ = ["CardinalityLoop", "insert_exports", "migrate", "retain"]
