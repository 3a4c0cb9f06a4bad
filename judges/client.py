"""One question to a model behind any OpenAI-compatible endpoint, bounded in time, size and attempts."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import openai

from tidegauge.addresses import Refused, Unresolved, check_url, resolve
from tidegauge.config import Judges
from tidegauge.errors import ConfigError, TidegaugeError
from tidegauge.judges.budget import MAX_REPLY_TOKENS
from tidegauge.judges.parser import Reply
from tidegauge.judges.rubric import Prompt

MAX_BODY_BYTES = 1 << 20
RETRIES = 1
PORTS = {"http": 80, "https": 443}
_REASONS = {401: "unauthorised", 403: "unauthorised", 404: "wrong_model", 408: "timeout", 429: "quota"}


class JudgeUnavailable(TidegaugeError):
    """The judge gave no reply that could be read. ``reason`` is one word for the score's ``error.type``."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        super().__init__(f"{reason}: {detail}"[:300])


class Judge(Protocol):
    """Something that answers a prompt."""

    @property
    def model(self) -> str:
        """The name that scores are stored under."""
        ...

    def ask(self, prompt: Prompt) -> Reply:
        """Put one question. Raises JudgeUnavailable when there is no reply to read."""
        ...

    def close(self) -> None:
        """Give up the connections."""
        ...


class OpenAIJudge:
    """A judge model behind ``settings.base_url``.

    Each attempt may take ``settings.timeout_s`` and one retry follows connection errors, 408, 409, 429 and 5xx.
    Redirects and proxies from the environment are not followed: judged texts go to the configured address only, and
    to an internal one, after its name is resolved, only where ``settings.allow_internal_addresses`` says so.

    Raises:
        ConfigError: ``model`` is missing, or ``base_url`` is no http(s) address or an internal one.
    """

    def __init__(self, settings: Judges, retries: int = RETRIES) -> None:
        _check(settings)
        self._settings = settings
        checked = _Checked(settings.timeout_s, settings.allow_internal_addresses)
        http = openai.DefaultHttpxClient(event_hooks={"request": [checked]}, follow_redirects=False, trust_env=False)
        key = settings.api_key.get_secret_value() or "none"
        self._client = openai.OpenAI(
            api_key=key,
            base_url=settings.base_url,
            http_client=http,
            max_retries=retries,
            timeout=settings.timeout_s,
        )

    @property
    def model(self) -> str:
        return self._settings.model

    def ask(self, prompt: Prompt) -> Reply:
        try:
            return self._reply(self._body(prompt))
        except openai.APITimeoutError as error:
            raise JudgeUnavailable("timeout", f"no reply within {self._settings.timeout_s:g} s") from error
        except (Refused, Unresolved) as error:
            raise JudgeUnavailable("unreachable", f"{self._settings.base_url} {error}") from error
        except openai.APIConnectionError as error:
            raise JudgeUnavailable("unreachable", f"{self._settings.base_url}: {error.__cause__ or error}") from error
        except openai.APIStatusError as error:
            reason = _REASONS.get(error.status_code, "server_error" if error.status_code >= 500 else "refused_request")
            raise JudgeUnavailable(reason, f"HTTP {error.status_code}: {error.message}") from error

    def close(self) -> None:
        self._client.close()

    def _body(self, prompt: Prompt) -> bytes:
        deadline = time.monotonic() + self._settings.timeout_s * (1 + self._client.max_retries)
        with self._client.chat.completions.with_streaming_response.create(
            model=self._settings.model,
            messages=[{"role": "system", "content": prompt.system}, {"role": "user", "content": prompt.user}],
            temperature=0,
            max_tokens=MAX_REPLY_TOKENS,
            response_format={"type": "json_object"},
        ) as response:
            return _bounded(response.iter_bytes(), deadline)

    def _reply(self, body: bytes) -> Reply:
        try:
            found = json.loads(body)
            choice = found["choices"][0]
            message, usage = choice["message"], found.get("usage") or {}
            reply = Reply(
                text=_text(message.get("content")),
                finish_reason=str(choice.get("finish_reason") or ""),
                model=str(found.get("model") or ""),
                refusal=str(message.get("refusal") or ""),
                input_tokens=int(usage.get("prompt_tokens") or 0),
                output_tokens=int(usage.get("completion_tokens") or 0),
            )
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
            raise JudgeUnavailable("not_a_completion", repr(body[:80])) from error
        if not same_model(self._settings.model, reply.model):
            raise JudgeUnavailable("wrong_model", f"asked {self._settings.model}, {reply.model or 'nobody'} answered")
        return reply


@dataclass(frozen=True, slots=True)
class _Checked:
    """Sends a request to an address of its host that was checked, under the name that it has: a retry to the next one.

    A hook on requests, because which HTTP library is behind openai differs by its version.
    """

    timeout_s: float
    allow_internal: bool

    def __call__(self, request: Any) -> None:
        url = request.url
        port = url.port or PORTS[url.scheme]
        addresses = resolve(url.host, port, self.timeout_s, allow_internal=self.allow_internal)
        attempt = int(request.headers.get("x-stainless-retry-count", 0))
        request.url = url.copy_with(host=addresses[attempt % len(addresses)])
        request.extensions = {**request.extensions, "sni_hostname": url.host}


def same_model(asked: str, answered: str) -> bool:
    """Whether ``answered`` may be the model that was asked for: the same, a dated release of it, or without its vendor.

    >>> same_model("gpt-5", "gpt-5-2025-08-07"), same_model("vendor/m", "m"), same_model("gpt-5", "gpt-5-mini")
    (True, True, False)
    """
    wanted, got = asked.rsplit("/", 1)[-1], answered.rsplit("/", 1)[-1]
    rest = got.removeprefix(wanted)
    return got == wanted or (got.startswith(wanted) and rest[:1] in "-@:" and rest[1:2].isdigit())


def _bounded(chunks: Iterator[bytes], deadline: float) -> bytes:
    body = bytearray()
    for chunk in chunks:
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise JudgeUnavailable("too_long", f"more than {MAX_BODY_BYTES} bytes")
        if time.monotonic() > deadline:
            raise JudgeUnavailable("timeout", "the reply trickled in for longer than all attempts may take")
    return bytes(body)


def _text(content: Any) -> str | None:
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content)
    return None if content is None else str(content)


def _check(settings: Judges) -> None:
    problems = []
    try:
        check_url(settings.base_url, allow_internal=settings.allow_internal_addresses)
    except Refused as error:
        problems.append(f"judges.base_url: {error}; found {settings.base_url!r}")
    if not settings.model:
        problems.append("judges.model: is empty; name the model that judges")
    if problems:
        raise ConfigError("judges", problems)
