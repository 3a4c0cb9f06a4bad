"""An OpenAI-compatible HTTP server on loopback for the demo's two models."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any, Self

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tidegauge.demo.assistant import extractive, overlap
from tidegauge.demo.assistant.extractive import Answer
from tidegauge.demo.assistant.words import tokens
from tidegauge.web import WebServer

WORDS_PER_CHUNK = 12


class ModelServer:
    """Serves ``demo-extractive-1`` and ``demo-overlap-judge-1`` from a thread, until ``close``.

    Args:
        seed: The models' answers depend on it and on the request, on nothing else.
        port: 0 picks a free one.
    """

    def __init__(self, seed: int = 0, port: int = 0) -> None:
        self._server = WebServer(application(seed), "127.0.0.1", port, "tidegauge-demo-models")

    @property
    def base_url(self) -> str:
        """Where an OpenAI client finds it."""
        return f"{self._server.url}/v1"

    def close(self) -> None:
        """Stop and free the port."""
        self._server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def application(seed: int = 0) -> Starlette:
    """The server's routes: ``/v1/chat/completions`` and ``/v1/models``."""

    async def complete(request: Request) -> Response:
        try:
            body = json.loads(await request.body())
            system, user = _message(body, "system"), _message(body, "user")
            model, most = str(body["model"]), body.get("max_tokens")
        except (ValueError, KeyError, TypeError, AttributeError):
            return _error(400, "send JSON with model and messages, each with role and content")
        if model not in (extractive.MODEL, overlap.MODEL):
            return _error(404, f"there is no model {model!r}; see /v1/models")
        made = (
            extractive.answer(system, user, most, seed) if model == extractive.MODEL else overlap.verdict(system, user)
        )
        head = _head(model, system + user, seed)
        usage = _usage(system + user, made.text)
        if body.get("stream"):
            with_usage = bool((body.get("stream_options") or {}).get("include_usage"))
            return StreamingResponse(_events(head, made, usage if with_usage else None), media_type="text/event-stream")
        return JSONResponse(_completion(head, made, usage))

    async def models(_: Request) -> Response:
        listed = [{"id": name, "object": "model", "created": 0, "owned_by": "tidegauge"} for name in _MODELS]
        return JSONResponse({"object": "list", "data": listed})

    return Starlette(
        routes=[Route("/v1/chat/completions", complete, methods=["POST"]), Route("/v1/models", models, methods=["GET"])]
    )


_MODELS = (extractive.MODEL, overlap.MODEL)


def _message(body: Mapping[str, Any], role: str) -> str:
    return str(next((each["content"] for each in reversed(body["messages"]) if each["role"] == role), ""))


def _head(model: str, prompt: str, seed: int) -> dict[str, Any]:
    digest = hashlib.blake2b(f"{seed}:{model}:{prompt}".encode(), digest_size=12).hexdigest()
    return {"id": f"chatcmpl-{digest}", "created": int(time.time()), "model": model}


def _usage(prompt: str, text: str) -> dict[str, int]:
    sent, made = tokens(prompt), tokens(text)
    return {"prompt_tokens": sent, "completion_tokens": made, "total_tokens": sent + made}


def _completion(head: Mapping[str, Any], made: Answer, usage: Mapping[str, int]) -> dict[str, Any]:
    message = {"role": "assistant", "content": made.text}
    choice = {"index": 0, "message": message, "finish_reason": made.finish_reason, "logprobs": None}
    return {**head, "object": "chat.completion", "choices": [choice], "usage": usage}


async def _events(head: Mapping[str, Any], made: Answer, usage: Mapping[str, int] | None) -> AsyncIterator[str]:
    words = made.text.split(" ")
    pieces = [" ".join(words[at : at + WORDS_PER_CHUNK]) for at in range(0, len(words), WORDS_PER_CHUNK)]
    for place, piece in enumerate(pieces):
        yield _event(head, {"role": "assistant", "content": piece if place == 0 else f" {piece}"}, None)
    yield _event(head, {}, made.finish_reason)
    if usage:
        yield f"data: {json.dumps({**head, 'object': 'chat.completion.chunk', 'choices': [], 'usage': usage})}\n\n"
    yield "data: [DONE]\n\n"


def _event(head: Mapping[str, Any], delta: Mapping[str, str], finish_reason: str | None) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return f"data: {json.dumps({**head, 'object': 'chat.completion.chunk', 'choices': [choice]})}\n\n"


def _error(status: int, message: str) -> Response:
    return JSONResponse({"error": {"message": message, "type": "invalid_request_error"}}, status_code=status)
