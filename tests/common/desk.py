"""A help desk that an LLM answers, for a day and a half: three tenants, a retriever, a tool; spans as rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa

from tidegauge.store import Store

SERVICE = "helpdesk"
BEGAN = datetime(2026, 3, 2, tzinfo=UTC)
HOURS, AN_HOUR = 36, 40
SINCE = BEGAN + timedelta(hours=HOURS / 2)
UNTIL = BEGAN + timedelta(hours=HOURS)
OLD_WORDS = ("invoice", "refund", "payment", "card", "price", "receipt", "tax", "discount")
NEW_WORDS = ("router", "cable", "outage", "wifi", "modem", "speed", "signal", "antenna")


@dataclass
class Desk:
    """Columns, one row a request; ``since`` are the requests after the change. Whoever breaks it changes columns."""

    rng: np.random.Generator
    content: bool = True
    rows: int = field(init=False)

    def __post_init__(self) -> None:
        rng, self.rows = self.rng, HOURS * AN_HOUR
        self.at = np.sort(rng.uniform(0, HOURS * 3600, self.rows))
        self.since = self.at >= HOURS * 1800
        self.tenant = rng.choice(np.array(["acme", "globex", "initech"], dtype=object), self.rows, p=[0.5, 0.3, 0.2])
        self.prompt = np.full(self.rows, "v1", dtype=object)
        self.model = np.full(self.rows, "small-1", dtype=object)
        self.refused = rng.random(self.rows) < 0.08
        self.error = np.full(self.rows, "", dtype=object)
        self.tool_error = np.where(rng.random(self.rows) < 0.05, "LookupError", "").astype(object)
        self.documents = rng.integers(2, 5, self.rows)
        self.llm_s = rng.lognormal(0, 0.3, self.rows)
        self.tokens = rng.lognormal(6, 0.2, self.rows)
        self.price = np.full(self.rows, 1e-6)
        self.words = rng.choice(np.array(OLD_WORDS, dtype=object), (self.rows, 3))

    def store(self, store: Store, service: str = SERVICE) -> None:
        """Into the table of spans, as the SDK's spans become rows."""
        spans: list[tuple[int, str, float, dict[str, str]]] = []
        for at in range(self.rows):
            spans += [(at, *each) for each in self._spans(at)]
        attributes = [list(each[3].items()) for each in spans]
        when = [BEGAN + timedelta(seconds=float(self.at[each[0]])) for each in spans]
        table = {
            "Timestamp": pa.array(when, pa.timestamp("us", "UTC")).cast(pa.timestamp("ns", "UTC")),
            "TraceId": [f"{service}-{each[0]}" for each in spans],
            "SpanId": [f"{service}-{each[0]}-{each[1]}" for each in spans],
            "SpanName": [each[1] for each in spans],
            "ServiceName": [service] * len(spans),
            "SpanAttributes": pa.array(attributes, pa.map_(pa.string(), pa.string())),
            "Duration": pa.array([int(each[2] * 1e9) for each in spans], pa.uint64()),
        }
        store.insert_arrow("otel_traces", pa.table(table))

    def _spans(self, at: int) -> list[tuple[str, float, dict[str, str]]]:
        who = {"tidegauge.tenant": str(self.tenant[at])}
        listed = ",".join(f'{{"id":"d{n}","score":0.5}}' for n in range(self.documents[at]))
        found = {"gen_ai.operation.name": "retrieval", "gen_ai.retrieval.documents": f"[{listed}]", **who}
        made = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "lookup", **who}
        if self.tool_error[at]:
            made["error.type"] = str(self.tool_error[at])
        return [("retrieval", 0.05, found), ("tool", 0.02, made), ("chat", float(self.llm_s[at]), self._call(at) | who)]

    def _call(self, at: int) -> dict[str, str]:
        call = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "example",
            "gen_ai.request.model": str(self.model[at]),
            "gen_ai.prompt.version": str(self.prompt[at]),
        }
        if self.content:
            call["input.value"] = f"how about the {' and the '.join(map(str, self.words[at]))}?"
        if self.error[at]:
            return call | {"error.type": str(self.error[at])}
        tokens = int(self.tokens[at])
        answered = {"gen_ai.usage.input_tokens": str(tokens), "gen_ai.usage.output_tokens": str(tokens // 4)}
        refused = {"tidegauge.refused": "true"} if self.refused[at] else {}
        return call | answered | refused | {"tidegauge.cost.usd": f"{tokens * self.price[at]:.9f}"}


Break = Callable[[Desk], None]


def nothing(desk: Desk) -> None:
    """As ever."""


def careful_prompt(desk: Desk) -> None:
    """A prompt on nine in ten requests that refuses half of them."""
    chosen = desk.since & (desk.rng.random(desk.rows) < 0.9)
    desk.prompt = np.where(chosen, "v2", desk.prompt)
    desk.refused |= chosen & (desk.rng.random(desk.rows) < 0.5)


def other_topics(desk: Desk) -> None:
    """Users ask about something else, and are refused more for it."""
    new = desk.rng.choice(np.array(NEW_WORDS, dtype=object), desk.words.shape)
    chosen = desk.since & (desk.rng.random(desk.rows) < 0.7)
    desk.words = np.where(chosen[:, None], new, desk.words)
    desk.refused |= chosen & (desk.rng.random(desk.rows) < 0.3)


def empty_for_one(desk: Desk) -> None:
    """The retriever finds nothing for one tenant, whose requests are refused."""
    here = desk.since & (desk.tenant == "globex")
    desk.documents = np.where(here, 0, desk.documents)
    desk.refused |= here & (desk.rng.random(desk.rows) < 0.8)


def slow(desk: Desk) -> None:
    """The provider takes three times as long."""
    desk.llm_s = np.where(desk.since, 3 * desk.llm_s, desk.llm_s)


def limited(desk: Desk) -> None:
    """The provider answers one call in four with an error."""
    hit = desk.since & (desk.rng.random(desk.rows) < 0.25)
    desk.error = np.where(hit, "429", desk.error)


def broken_tool(desk: Desk) -> None:
    """The tool always fails."""
    desk.tool_error = np.where(desk.since, "ConnectionError", desk.tool_error)


def dear_model(desk: Desk) -> None:
    """Another model answers, at five times the price."""
    desk.model = np.where(desk.since, "large-2", desk.model)
    desk.price = np.where(desk.since, 5e-6, desk.price)


def busy_tenant(desk: Desk) -> None:
    """One tenant sends most of the requests."""
    desk.tenant = np.where(desk.since & (desk.rng.random(desk.rows) < 0.5), "initech", desk.tenant)
