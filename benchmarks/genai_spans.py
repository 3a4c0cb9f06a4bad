"""OTLP requests of GenAI spans as services send them, for benchmarks: about 2 kB a span, 20 attributes, no two alike.

The texts are English prose (the manual that comes with Python), so that they compress and scan as prompts and answers
do; a run of one word would make every figure look better than it is.
"""

from __future__ import annotations

import json
import random
from pydoc_data.topics import topics

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

PROSE = " ".join(" ".join(topics[name].split()) for name in sorted(topics)).encode("ascii", "ignore").decode()
MODELS = ("gpt-4o-2024-11-20", "gpt-4o-mini", "claude-sonnet-4-5", "llama-3.3-70b", "mistral-large-2411")
START_NS = 1_780_000_000_000_000_000
Value = str | int | float | bool | list[str]


def request(seed: int, spans: int = 200, characters: int = 1000) -> bytes:
    """One serialized request.

    Args:
        seed: Requests of different seeds share no identifier and no text.
        spans: How many spans.
        characters: Of prompt and answer together, on average; the other attributes add about 1 kB.
    """
    rng = random.Random(seed)
    message = ExportTraceServiceRequest()
    resource = message.resource_spans.add()
    resource.resource.attributes.extend(
        _pair(key, value)
        for key, value in {
            "service.name": f"assistant-{seed % 7}",
            "service.version": "2.4.1",
            "deployment.environment.name": "production",
            "host.name": f"node-{seed % 31}",
            "telemetry.sdk.language": "python",
        }.items()
    )
    scope = resource.scope_spans.add()
    scope.scope.name, scope.scope.version = "opentelemetry.instrumentation.openai_v2", "2.1b0"
    scope.spans.extend(_span(rng, seed * spans + number, characters) for number in range(spans))
    return message.SerializeToString()


def requests(count: int, spans: int = 200, characters: int = 1000, first: int = 1) -> list[bytes]:
    """``count`` different requests of ``spans`` spans each."""
    return [request(first + number, spans, characters) for number in range(count)]


def _span(rng: random.Random, number: int, characters: int) -> Span:
    begun = START_NS + number * 1_000_000
    span = Span(
        name="chat gpt-4o",
        kind=Span.SPAN_KIND_CLIENT,
        trace_id=rng.randbytes(16),
        span_id=rng.randbytes(8),
        parent_span_id=rng.randbytes(8),
        start_time_unix_nano=begun,
        end_time_unix_nano=begun + rng.randrange(200_000_000, 9_000_000_000),
    )
    span.attributes.extend(_pair(key, value) for key, value in _attributes(rng, number, characters).items())
    return span


def _attributes(rng: random.Random, number: int, characters: int) -> dict[str, Value]:
    asked, answered = (_text(rng, rng.randrange(characters // 4, characters * 3 // 4)) for _ in range(2))
    model = rng.choice(MODELS)
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": model,
        "gen_ai.response.model": model,
        "gen_ai.response.id": f"chatcmpl-{rng.randbytes(12).hex()}",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.request.temperature": round(rng.random(), 2),
        "gen_ai.request.max_tokens": 1024,
        "gen_ai.usage.input_tokens": rng.randrange(50, 4000),
        "gen_ai.usage.output_tokens": rng.randrange(5, 900),
        "gen_ai.response.time_to_first_chunk": round(rng.random() * 2, 4),
        "gen_ai.conversation.id": rng.randbytes(16).hex(),
        "gen_ai.prompt.name": "support-answer",
        "gen_ai.prompt.version": f"v{rng.randrange(1, 9)}",
        "gen_ai.input.messages": _message("user", asked),
        "gen_ai.output.messages": _message("assistant", answered),
        "server.address": "api.openai.com",
        "server.port": 443,
        "tidegauge.tenant": f"tenant-{number % 5}",
        "app.retrieval.cached": bool(number % 3),
    }


def _text(rng: random.Random, characters: int) -> str:
    at = rng.randrange(len(PROSE) - characters)
    return PROSE[at : at + characters]


def _message(role: str, text: str) -> str:
    return json.dumps([{"role": role, "parts": [{"type": "text", "content": text}]}])


def _pair(key: str, value: Value) -> KeyValue:
    pair = KeyValue(key=key)
    if isinstance(value, bool):
        pair.value.bool_value = value
    elif isinstance(value, int):
        pair.value.int_value = value
    elif isinstance(value, float):
        pair.value.double_value = value
    elif isinstance(value, list):
        for each in value:
            pair.value.array_value.values.add(string_value=each)
    else:
        pair.value.string_value = value
    return pair
