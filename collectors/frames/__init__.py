"""Predictions and labels as whole Arrow tables, from a service's columns to ClickHouse's; see docs/columnar.md."""

from tidegauge.collectors.frames.layout import Kind, Layout, Roles
from tidegauge.collectors.frames.stamp import stamp
from tidegauge.collectors.frames.stream import CONTENT_TYPE, Frame, check, count, encode, parts, read, serialize, write

__all__ = [
    "CONTENT_TYPE",
    "Frame",
    "Kind",
    "Layout",
    "Roles",
    "check",
    "count",
    "encode",
    "parts",
    "read",
    "serialize",
    "stamp",
    "write",
]
