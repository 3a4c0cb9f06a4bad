"""The ClickHouse schema: what OTLP becomes, as numbered migrations."""

from tidegauge.collectors.schema.migrate import migrate
from tidegauge.collectors.schema.otlp import insert_exports

__all__ = ["insert_exports", "migrate"]
