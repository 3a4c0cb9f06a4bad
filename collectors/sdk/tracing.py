"""The part of the client that follows an LLM request through its steps."""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry.trace import SpanKind

from tidegauge.collectors.sdk import records
from tidegauge.collectors.sdk.spans import Guardrail, LlmCall, Recorder, Retrieval, Step, ToolCall


class Tracing:
    """Contexts around a request and its steps; each is a span.

    Mixed into the client, which is the recorder of its steps.
    """

    def request(
        self: Recorder,
        name: str = "request",
        *,
        tenant: str = "",
        intent: str = "",
        session: str = "",
        role: str = "",
        slices: Mapping[str, str] | None = None,
        versions: Mapping[str, str] | None = None,
    ) -> Step:
        """The root span of one request; steps inside inherit its context."""
        nothing: records.Attributes = {}
        shared = self.attempt(
            "request", lambda: records.context(tenant, intent, session, role, slices, versions), nothing
        )
        return Step(self, str(name), {}, shared=shared)

    def llm_call(
        self: Recorder,
        model: str,
        *,
        provider: str = "",
        operation: str = "chat",
        prompt_name: str = "",
        prompt_version: str = "",
    ) -> LlmCall:
        """A span around one call of a language model."""
        attributes: records.Attributes = {"gen_ai.operation.name": operation, "gen_ai.request.model": model}
        if provider:
            attributes["gen_ai.provider.name"] = provider
        if prompt_name:
            attributes["gen_ai.prompt.name"] = prompt_name
        if prompt_version:
            attributes["gen_ai.prompt.version"] = prompt_version
        return LlmCall(self, f"{operation} {model}", attributes, SpanKind.CLIENT)

    def retrieval(self: Recorder, source: str, query: str = "", top_k: int | None = None) -> Retrieval:
        """A span around a search in ``source``."""
        attributes: records.Attributes = {"gen_ai.operation.name": "retrieval", "gen_ai.data_source.id": source}
        if top_k is not None:
            attributes["gen_ai.retrieval.top_k"] = top_k
        if self.captures and query:
            attributes["gen_ai.retrieval.query.text"] = query
        return Retrieval(self, f"retrieval {source}", attributes, SpanKind.CLIENT)

    def tool_call(self: Recorder, name: str, arguments: str = "") -> ToolCall:
        """A span around one tool call."""
        attributes = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": name}
        if self.captures and arguments:
            attributes["gen_ai.tool.call.arguments"] = arguments
        return ToolCall(self, f"execute_tool {name}", attributes)

    def guardrail(self: Recorder, name: str) -> Guardrail:
        """A span around one check of input or output."""
        attributes = {"tidegauge.guardrail.name": name, "tidegauge.guardrail.action": "pass"}
        return Guardrail(self, f"guardrail {name}", attributes)
