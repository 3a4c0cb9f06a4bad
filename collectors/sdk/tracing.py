"""The part of the client that follows an LLM request through its steps."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager

from tidegauge.collectors.sdk import records
from tidegauge.collectors.sdk.spans import Guardrail, LlmCall, Retrieval, Step, Steps, ToolCall


class Tracing:
    """Contexts around a request and its steps; each is a span."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    def request(
        self,
        name: str = "request",
        *,
        tenant: str = "",
        intent: str = "",
        session: str = "",
        role: str = "",
        slices: Mapping[str, str] | None = None,
        versions: Mapping[str, str] | None = None,
    ) -> AbstractContextManager[Step]:
        """The root span of one request; steps inside inherit its context."""
        return self._steps.request(name, records.context(tenant, intent, session, role, slices, versions))

    def llm_call(
        self,
        model: str,
        *,
        provider: str = "",
        operation: str = "chat",
        prompt_name: str = "",
        prompt_version: str = "",
    ) -> AbstractContextManager[LlmCall]:
        """A span around one call of a language model."""
        attributes = {
            "gen_ai.operation.name": operation,
            "gen_ai.request.model": model,
            "gen_ai.provider.name": provider,
            "gen_ai.prompt.name": prompt_name,
            "gen_ai.prompt.version": prompt_version,
        }
        return self._steps.span(LlmCall, f"{operation} {model}", attributes, client=True)

    def retrieval(self, source: str, query: str = "", top_k: int | None = None) -> AbstractContextManager[Retrieval]:
        """A span around a search in ``source``."""
        attributes: records.Attributes = {"gen_ai.operation.name": "retrieval", "gen_ai.data_source.id": source}
        if top_k is not None:
            attributes["gen_ai.retrieval.top_k"] = top_k
        if self._steps.captures:
            attributes["gen_ai.retrieval.query.text"] = query
        return self._steps.span(Retrieval, f"retrieval {source}", attributes, client=True)

    def tool_call(self, name: str, arguments: str = "") -> AbstractContextManager[ToolCall]:
        """A span around one tool call."""
        attributes = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": name}
        if self._steps.captures:
            attributes["gen_ai.tool.call.arguments"] = arguments
        return self._steps.span(ToolCall, f"execute_tool {name}", attributes)

    def guardrail(self, name: str) -> AbstractContextManager[Guardrail]:
        """A span around one check of input or output."""
        attributes = {"tidegauge.guardrail.name": name, "tidegauge.guardrail.action": "pass"}
        return self._steps.span(Guardrail, f"guardrail {name}", attributes)
