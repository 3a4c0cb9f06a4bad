"""Tidegauge's own log lines: an error may quote what somebody sent."""

from __future__ import annotations

import logging

from tidegauge.collectors.masking.masker import Masker
from tidegauge.config import Masking


class MaskingFormatter(logging.Formatter):
    """Writes records as another formatter does, tracebacks included, with personal data and secrets replaced."""

    def __init__(self, inner: logging.Formatter, settings: Masking) -> None:
        super().__init__()
        self._inner, self._masker = inner, Masker(settings)

    def format(self, record: logging.LogRecord) -> str:
        """One record as text."""
        return self._masker.mask_text(self._inner.format(record))


def mask_logs(settings: Masking) -> None:
    """Let all handlers of the root logger write masked lines from now on."""
    for handler in logging.getLogger().handlers:
        if not isinstance(handler.formatter, MaskingFormatter):
            handler.setFormatter(MaskingFormatter(handler.formatter or logging.Formatter(), settings))
