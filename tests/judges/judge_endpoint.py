"""What a judge's endpoint sends, and how a test tells it what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tidegauge.config import Judges

Answer = Callable[[dict[str, Any]], tuple[int, bytes]]
Seed = Callable[..., list[str]]


def completion(text: str | None, **over: Any) -> bytes:
    """A chat completion as an endpoint sends it; ``over`` replaces parts."""
    message = {"role": "assistant", "content": text} | over.pop("message", {})
    choice = {"index": 0, "message": message, "finish_reason": over.pop("finish_reason", "stop")}
    usage = {"prompt_tokens": 800, "completion_tokens": 200, "total_tokens": 1000}
    return json.dumps({"id": "c-1", "model": "judge-1", "choices": [choice], "usage": usage} | over).encode()


def good(score: int = 4) -> bytes:
    return completion(json.dumps({"score": score, "reason": "because"}))


@dataclass
class Endpoint:
    """``answer`` maps the request's JSON to status and body; set it in the test. ``requests`` is what came."""

    url: str = ""
    answer: Answer = lambda _: (200, good())
    delay_s: float = 0.0
    drip_s: float = 0.0
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def settings(self, **over: Any) -> Judges:
        usual = {"base_url": self.url, "allow_internal_addresses": True, "model": "judge-1", "rate": 1, "timeout_s": 5}
        return Judges(**({"enabled": True} | usual | over))
