"""What stands in a Slack thread: the first message with the state of every alert, the steps below it, the buttons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

from slack_sdk.models.blocks import (
    ActionsBlock,
    ButtonElement,
    ConfirmObject,
    ImageBlock,
    InteractiveElement,
    PlainTextObject,
    SectionBlock,
)

from tidegauge.alerting.notifiers.contract import grouped
from tidegauge.alerting.notifiers.slack import SECTION_CHARACTERS, build, escape, text_object
from tidegauge.alerting.notifiers.slack_notes import Picture
from tidegauge.alerting.states import Notice, Transition
from tidegauge.alerting.text import labels_text, plain
from tidegauge.responses import Action, Response
from tidegauge.silences import Silence, muting

MOST_BLOCKS = 44
ACTIONS: Mapping[str, str] = {
    "tidegauge_ack": "I have it",
    "tidegauge_true": "True alarm",
    "tidegauge_false": "False alarm",
    "tidegauge_silence_1h": "Silence 1 h",
    "tidegauge_silence_4h": "Silence 4 h",
    "tidegauge_approve": "Approve",
    "tidegauge_reject": "Reject",
}
"""Id of each button -> what stands on it."""
_WHILE_OPEN = ("tidegauge_ack", "tidegauge_silence_1h", "tidegauge_silence_4h")
_ALARM = ("tidegauge_true", "tidegauge_false")
_SAID = {
    Action.ACK: "has it",
    Action.RESOLVE: "called it over",
    Action.TRUE: "called it a true alarm",
    Action.FALSE: "called it a false alarm",
    Action.ASSIGN: "gave it to somebody else",
}


@dataclass(frozen=True, slots=True)
class Course:
    """One alert of a thread: what was last told of it, when it last fired, and for hooks whether it waits for a person.

    Attributes:
        matched: The labels that silences match.
    """

    last: Transition
    fired_at: datetime | None
    matched: Mapping[str, str]
    undecided: bool = False


def root(
    courses: Sequence[Course],
    answers: Sequence[Response],
    silences: Sequence[Silence],
    now: datetime,
    *,
    thread: str,
    page_url: str = "",
    buttons: bool = True,
    pictures: Mapping[str, Picture] = MappingProxyType({}),
) -> dict[str, Any]:
    """The first message of a thread, with every alert in its present state; those that are open come first.

    Args:
        answers: What people said to these alerts; of other alerts and earlier firings it is left out here.
        silences: Those in force.
        thread: Key that the buttons carry.
        pictures: Charts that Slack has, by fingerprint; the first alert's is shown.
    """
    ordered = sorted(courses, key=lambda each: (not each.last.open, each.last.rule, each.last.notice, each.last.at))
    message = build([each.last for each in ordered], page_url)
    blocks = message["blocks"][:MOST_BLOCKS]
    shown = [pictures[each.last.fingerprint] for each in ordered if each.last.fingerprint in pictures]
    blocks += [ImageBlock(alt_text=each.words, slack_file={"id": each.file}).to_dict() for each in shown[:1]]
    if said := _said(courses, answers, silences, now):
        blocks.append(SectionBlock(text=text_object(escape(said), SECTION_CHARACTERS)).to_dict())
    elements = _buttons(courses, thread) if buttons else []
    if elements:
        blocks.append(ActionsBlock(elements=elements).to_dict())
    return message | {"blocks": blocks}


def reply(alerts: Sequence[Transition]) -> dict[str, Any]:
    """One step in a thread: what happened, and of which alerts."""
    blocks = []
    for group in grouped(alerts):
        lines = [escape(group.title)]
        room = SECTION_CHARACTERS - 200
        shared = Counter(each.reason for each in group.alerts) if group.notice is Notice.DIAGNOSE else {}
        shown = {each.reason: each for each in reversed(group.alerts)}.values() if shared else group.alerts
        for i, each in enumerate(shown):
            others = f" and {shared[each.reason] - 1} more" if shared.get(each.reason, 1) > 1 else ""
            line = escape(f"• {labels_text(each.labels)}{others}: {plain(each.reason, 600)}")
            room -= len(line) + 1
            if room < 0:
                lines.append(f"and {len(group.alerts) - i} more")
                break
            lines.append(line)
        blocks.append(SectionBlock(text=text_object("\n".join(lines), SECTION_CHARACTERS)).to_dict())
    first = grouped(alerts)[0]
    return {"text": escape(f"{first.title}: {plain(first.alerts[0].reason, 300)}"), "blocks": blocks[:MOST_BLOCKS]}


def _said(courses: Sequence[Course], answers: Sequence[Response], silences: Sequence[Silence], now: datetime) -> str:
    fired = {each.last.fingerprint: each.fired_at for each in courses}
    mine = [each for each in answers if each.fingerprint in fired and each.fired_at == fired[each.fingerprint]]
    lines = [
        f"{plain(each.author, 100)} {_SAID[each.action]} at {each.written_at:%H:%M} UTC"
        + (f": {plain(each.note, 300)}" if each.note else "")
        for each in mine
    ]
    quiet = {each.silence_id: each for course in courses if (each := muting(silences, course.matched, now))}
    lines += [
        f"{plain(each.author, 100)} silenced it until {each.ends_at:%Y-%m-%d %H:%M} UTC" for each in quiet.values()
    ]
    return "\n".join(dict.fromkeys(lines))[:2000]


def _buttons(courses: Sequence[Course], thread: str) -> list[InteractiveElement | dict[str, Any]]:
    proposals = [each.last.fingerprint for each in courses if each.undecided]
    if proposals:
        return [_button("tidegauge_approve", proposals[0]), _button("tidegauge_reject", proposals[0])]
    told = [each for each in courses if each.fired_at]
    ids = (_WHILE_OPEN if any(each.last.open for each in told) else ()) + (_ALARM if told else ())
    return [_button(each, thread) for each in ids]


def _button(action: str, value: str) -> ButtonElement:
    sure = None
    if action == "tidegauge_approve":
        words = ("Approve?", "The hook is called as soon as you approve.", "Approve", "Not now")
        sure = ConfirmObject(
            **dict(zip(("title", "text", "confirm", "deny"), map(_plain_text, words), strict=True))  # type: ignore[arg-type]
        )
    return ButtonElement(text=_plain_text(ACTIONS[action]), action_id=action, value=value, confirm=sure)


def _plain_text(text: str) -> PlainTextObject:
    return PlainTextObject(text=text, emoji=False)
