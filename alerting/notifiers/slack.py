"""Slack incoming webhooks: Block Kit with plain text only, one message for all that waits.

slack_sdk's WebhookClient is not used to send: it bounds no total time, reads answers of any size, follows redirects,
takes proxies from the environment and resolves the name itself. Its block models build and validate the message.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from slack_sdk.models.blocks import ContextBlock, HeaderBlock, MarkdownTextObject, PlainTextObject, SectionBlock

from tidegauge.alerting.http import Delivered, Outcome, Poster, Reply, RetryAfter, outcome
from tidegauge.alerting.notifiers.contract import Group, facts, grouped, likely_cause, links
from tidegauge.alerting.states import Notice, Transition
from tidegauge.alerting.text import CUT, moment, plain

SECTION_CHARACTERS = 3000
_FIELD_CHARACTERS = 2000


def escape(text: str) -> str:
    """``text`` without the three characters that give Slack mentions, links and entities.

    >>> escape("<!channel> & <http://x|y>")
    '&lt;!channel&gt; &amp; &lt;http://x|y&gt;'
    """
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def build(alerts: Sequence[Transition], page_url: str = "") -> dict[str, Any]:
    """The message for ``alerts``: for each rule a header, its slices, then owner, action and links."""
    groups = grouped(alerts)
    blocks = [block.to_dict() for group in groups for block in _blocks(group, page_url)]
    text = escape("; ".join(f"{each.title}: {plain(each.alerts[0].summary, 200)}" for each in groups)[:2000])
    return {"text": text, "blocks": blocks, "unfurl_links": False, "unfurl_media": False}


class Slack:
    """Sends to one incoming webhook, at most one message a second, as Slack asks."""

    kind = "slack"
    max_groups = 12
    max_alerts = 200
    spacing_s = 1.0
    refresh_s = 0.0

    def __init__(self, name: str, poster: Poster, page_url: str = "") -> None:
        self.name = name
        self._poster = poster
        self._page_url = page_url

    def send(self, alerts: Sequence[Transition]) -> Outcome:
        """Delivered only when the answer is 200 with the body ``ok``; another body under 200 is not Slack's."""
        reply = self._poster.post(json.dumps(build(alerts, self._page_url)).encode())
        result = outcome(reply)
        said = plain(reply.body.decode(errors="replace"), 100) if isinstance(reply, Reply) else ""
        if isinstance(result, Delivered) and said != "ok":
            return RetryAfter(None, f"{result.detail}, but the answer was not Slack's ok: {said!r}")
        return result


def _blocks(group: Group, page_url: str) -> Iterator[HeaderBlock | SectionBlock | ContextBlock]:
    first = group.alerts[0]
    yield HeaderBlock(text=text_object(escape(group.title), 150))
    yield SectionBlock(text=text_object(_slices(group.alerts), SECTION_CHARACTERS))
    about = [(name, text) for name, text in facts(first) if name in ("Owner", "Action", "Runbook", "Answer")]
    yield SectionBlock(fields=[text_object(escape(f"{name}: {text}"), _FIELD_CHARACTERS) for name, text in about])
    found = " | ".join(f"<{escape(url)}|{name}>" for name, url in links(first, page_url))
    if found:
        yield ContextBlock(elements=[MarkdownTextObject(text=found, verbatim=True)])


def _slices(alerts: Sequence[Transition]) -> str:
    room, lines = SECTION_CHARACTERS - 40, list[str]()
    causes: set[str] = set()
    for i, alert in enumerate(alerts):
        cause = likely_cause(alert)
        line = escape(_line(alert) + (f"\n   Likely cause: {cause}" if cause and cause not in causes else ""))
        causes.add(cause)
        room -= len(line) + 1
        if room < 0 and lines:
            return "\n".join([*lines, f"and {len(alerts) - i} more"])
        lines.append(line)
    return "\n".join(lines)


def _line(alert: Transition) -> str:
    end = f" to {moment(alert.at)}" if alert.notice is Notice.RESOLVE else ""
    note = f"\n   {plain(alert.note, 600)}" if alert.note else ""
    course = f"\n   {alert.evidence.course}" if alert.evidence.course else ""
    return f"• {plain(alert.summary, 800)}; since {moment(alert.since)}{end}{note}{course}"


def text_object(text: str, limit: int) -> PlainTextObject:
    """``text`` as plain text of at most ``limit`` characters."""
    return PlainTextObject(text=text if len(text) <= limit else text[: limit - 1] + CUT, emoji=False)
