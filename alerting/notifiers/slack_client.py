"""Slack's Web API by slack_sdk, over our own guarded requests.

slack_sdk knows every method and what its answers mean; its transport bounds no total time, follows redirects, takes
proxies from the environment and reads answers of any size. So the one method by which it sends is replaced.
"""

from __future__ import annotations

import json as encoding
import ssl
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import httpx
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from slack_sdk.web import SlackResponse

from tidegauge.addresses import Refused
from tidegauge.alerting.http import Delivered, Failed, Outcome, Poster, Reply, RetryAfter, outcome
from tidegauge.alerting.text import plain
from tidegauge.retries import retry_after

MAX_HISTORY_BYTES = 4 * 2**20
MOST_ALT_CHARACTERS, MOST_TITLE_CHARACTERS = 1000, 250
_AGAIN = frozenset(
    {"ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable", "request_timeout"}
)


class NotSent(Exception):
    """A call that did not succeed; ``outcome`` says whether it may later, ``error`` is Slack's word for it."""

    def __init__(self, outcome: RetryAfter | Failed, error: str = "") -> None:
        self.outcome, self.error = outcome, error
        super().__init__(outcome.detail)


class GuardedClient(WebClient):
    """Calls Slack as one bot; every request goes to an address that was checked and ends in time.

    Args:
        token: The bot's; in no message and no log.
        base_url: Of the API, ending with a slash.
        timeout_s: For one call.
        allow_internal: Let the API be on loopback or a private network.

    Raises:
        Refused: the URL could never be allowed.
    """

    def __init__(self, token: str, base_url: str, timeout_s: float, *, allow_internal: bool = False) -> None:
        super().__init__(token=token, base_url=base_url, retry_handlers=[])
        self._timeout_s, self._allow_internal = timeout_s, allow_internal
        self._context: ssl.SSLContext = httpx.create_ssl_context()
        self._poster(self.base_url)

    def api_call(
        self,
        api_method: str,
        *,
        http_verb: str = "POST",
        files: dict[str, Any] | None = None,
        data: Any = None,
        params: dict[str, Any] | None = None,
        json: dict[str, Any] | None = None,
        headers: dict[str, Any] | None = None,
        auth: dict[str, Any] | None = None,
    ) -> SlackResponse:
        """One call; every method of Slack's API takes POST. Raises NotSent for whatever is not ``ok``."""
        asked = {name: value for name, value in (json or params or data or {}).items() if value is not None}
        if json is not None:
            body, kind = encoding.dumps(asked).encode(), "application/json; charset=utf-8"
        else:
            words = {name: str(int(each)) if isinstance(each, bool) else each for name, each in asked.items()}
            body, kind = urlencode(words).encode(), "application/x-www-form-urlencoded"
        sent = {"Authorization": f"Bearer {self.token}", "Content-Type": kind}
        reply = self._poster(self.base_url + api_method).post(body, sent)
        if not isinstance(reply, Reply):
            raise NotSent(reply)
        answer = SlackResponse(
            client=self,
            http_verb="POST",
            api_url=self.base_url + api_method,
            req_args={},
            data=_object(reply),
            headers=dict(reply.headers),
            status_code=reply.status,
        )
        try:
            answer.validate()  # type: ignore[no-untyped-call]
        except SlackApiError:
            raise _refusal(api_method, reply) from None
        return answer

    def upload(self, name: str, title: str, png: bytes) -> str:
        """Have Slack keep a picture that messages can show; its id. Raises NotSent."""
        asked = self.files_getUploadURLExternal(filename=name, length=len(png), alt_txt=title[:MOST_ALT_CHARACTERS])
        file = str(asked["file_id"])
        try:
            reply = self._poster(str(asked["upload_url"])).post(png, {"Content-Type": "image/png"})
        except Refused as error:
            raise NotSent(Failed(f"files.getUploadURLExternal: upload_url {error}")) from error
        result = outcome(reply)
        if not isinstance(result, Delivered):
            raise NotSent(result)
        self.files_completeUploadExternal(files=[{"id": file, "title": title[:MOST_TITLE_CHARACTERS]}])
        return file

    def _poster(self, url: str) -> Poster:
        return Poster(
            url,
            self._timeout_s,
            allow_internal=self._allow_internal,
            context=self._context,
            most_bytes=MAX_HISTORY_BYTES,
        )


def _refusal(method: str, reply: Reply) -> NotSent:
    said = _object(reply)
    error = plain(str(said.get("error", "")), 100)
    detail = f"{method}: HTTP {reply.status}" + (f", {error}" if error else ", and the answer was not Slack's")
    result: Outcome = outcome(reply)
    if error in _AGAIN or isinstance(result, RetryAfter) or (isinstance(result, Delivered) and not error):
        return NotSent(RetryAfter(retry_after(reply.headers, datetime.now(UTC)), detail), error)
    return NotSent(Failed(detail), error)


def _object(reply: Reply) -> dict[str, Any]:
    try:
        said = encoding.loads(reply.body)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}
