"""Every error that Tidegauge raises on purpose.

TidegaugeError
├── ConfigError        a setting, rule file or rubric is wrong: lists every problem with its place
├── InvalidPayload     bytes that are not the OTLP message they claim to be: final, never retried
├── InvalidRecord      a prediction, label or feedback that cannot be sent: says which field and why
├── Backpressure       no room now: retry after a stated number of seconds
├── StoreError         ClickHouse refused a statement: carries its code
└── MissingExtra       a feature whose optional packages are not installed: names the extra
"""

from __future__ import annotations

# ClickHouse codes that say nothing about the data: out of memory, too many parts or queries, no space, read-only,
# timeouts, network, users and rights, a table or database that is not there (yet), and failures without a code.
TRANSIENT_CODES = frozenset(
    {0, 3, 23, 60, 74, 75, 76, 81, 159, 164, 192, 193, 194, 201, 202, 203, 209, 210}
    | {236, 241, 242, 243, 252, 319, 394, 497, 516, 999, 1001}
)


class TidegaugeError(Exception):
    """Root of the tree; catch it to catch everything that Tidegauge raises on purpose."""


class ConfigError(TidegaugeError):
    """One or more settings are wrong. ``problems`` holds one line for each, with its place."""

    def __init__(self, source: str, problems: list[str]) -> None:
        self.source = source
        self.problems = problems
        super().__init__(f"{source}: {len(problems)} problem(s)\n" + "\n".join(f"  - {line}" for line in problems))


class InvalidPayload(TidegaugeError):
    """Bytes that cannot be decoded as the OTLP request they were sent as. Final."""


class InvalidRecord(TidegaugeError):
    """A record that the SDK refuses to send because a field is missing or of the wrong kind."""


class Backpressure(TidegaugeError):
    """There is no room for more at the moment."""

    def __init__(self, retry_after_s: float, detail: str) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(f"{detail}; retry after {retry_after_s:g} s")


class StoreError(TidegaugeError):
    """ClickHouse refused a statement.

    ``code`` is its error code, 0 when it gave none; ``transient`` says whether the same statement may succeed later.
    """

    def __init__(self, message: str, code: int = 0) -> None:
        self.code = code
        self.transient = code in TRANSIENT_CODES
        super().__init__(message)


class MissingExtra(TidegaugeError):
    """A feature needs packages that are not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs the optional packages: pip install 'tidegauge[{extra}]'")
