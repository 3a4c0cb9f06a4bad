"""A diagnosis as plain data, for the page and other programs, and as text for somebody who was just woken up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidegauge.detectors.diagnose.advice import step
from tidegauge.detectors.diagnose.diagnosis import Diagnosis
from tidegauge.detectors.diagnose.ranking import Cause
from tidegauge.detectors.diagnose.verdict import Level, Stage, Verdict, part_text

WORST = (Level.BAD, Level.SUSPECT, Level.UNKNOWN, Level.OK)
MOST_CAUSES = 5
WIDTH = 19


def as_json(found: Diagnosis) -> dict[str, Any]:
    """Everything, times as ISO 8601 text."""
    return {
        "model": found.model,
        "headline": headline(found),
        "wrong": found.wrong,
        "start": found.start.isoformat(),
        "since": found.since.isoformat(),
        "until": found.until.isoformat(),
        "how": found.how,
        "counts": found.counts,
        "predictions": {"before": found.rows_before, "since": found.rows_since},
        "causes": [_cause(found, each) for each in found.causes],
        "stages": [_stage(found, each) for each in Stage],
    }


def headline(found: Diagnosis) -> str:
    """What is most likely, since when, for whom, how sure; or that nothing is wrong."""
    if not found.wrong:
        more = f"; {len(found.causes)} thing(s) worth a look" if found.causes else ""
        return f"{found.model}: nothing is wrong{more}"
    first = found.causes[0]
    return (
        f"{found.model}: {_name(first.finding)} ({first.sure}), since {found.began(first):%Y-%m-%d %H:%M} UTC, "
        f"in {part_text(first.finding.part)}"
    )


def _name(finding: Verdict) -> str:
    return f"{finding.cause}: {finding.subject}" if finding.subject else finding.cause


def _cause(found: Diagnosis, cause: Cause) -> dict[str, Any]:
    return _verdict(cause.finding) | {
        "since": found.began(cause).isoformat(),
        "sure": cause.sure,
        "explains": round(cause.share, 3),
        "touches": sorted(frozenset().union(*(each.columns for each in (cause.finding, *cause.explains)))),
        "followed by": [f"{each.check}: {each.summary}" for each in cause.explains],
        "next": step(cause.finding),
    }


def _stage(found: Diagnosis, stage: Stage) -> dict[str, Any]:
    own = [each for each in found.verdicts if each.stage is stage]
    ranked = sorted(own, key=lambda each: (WORST.index(each.level), -each.strength))
    level = ranked[0].level if ranked else Level.UNKNOWN
    if level is Level.UNKNOWN and any(each.level is Level.OK for each in own):
        level = Level.OK
    return {"stage": stage.value, "level": level.value, "verdicts": [_verdict(each) for each in ranked]}


def _verdict(each: Verdict) -> dict[str, Any]:
    return {
        "check": each.check,
        "stage": each.stage.value,
        "level": each.level.value,
        "cause": each.cause,
        "subject": each.subject,
        "part": part_text(each.part),
        "slice": [{"dimension": one.dimension, "value": one.value} for one in each.part],
        "strength": round(each.strength, 2),
        "summary": each.summary,
        "evidence": dict(each.evidence),
    }


def as_text(found: Mapping[str, Any]) -> str:
    """What ``as_json`` says, in lines: the likeliest cause, the stages, what to do."""
    lines = [found["headline"], f"  {_dates(found)}", f"  {found['how']}"]
    for each in found["causes"][:1] if found["wrong"] else ():
        lines += ["", f"  evidence   {each['summary']}", f"  explains   {each['explains']:.0%} of what changed"]
        lines += [f"  follows    {said}" for said in each["followed by"]]
    lines += ["", *(_stage_line(each) for each in found["stages"])]
    if found["causes"]:
        lines += ["", "causes, what explains most first"]
        lines += [_cause_line(at, each, found["since"]) for at, each in enumerate(found["causes"][:MOST_CAUSES], 1)]
        lines += ["", "next"]
        lines += [f"  {at}. {each['next']}" for at, each in enumerate(found["causes"][:MOST_CAUSES], 1)]
    return "\n".join(map(_one_line, lines))


def _dates(found: Mapping[str, Any]) -> str:
    count = found["predictions"]
    day = {name: found[name][:16].replace("T", " ") for name in ("start", "since", "until")}
    since = f"{count['since']:,} {found.get('counts', 'predictions')} from {day['since']} to {day['until']}"
    return f"{since} against {count['before']:,} from {day['start']} on"


def _stage_line(stage: Mapping[str, Any]) -> str:
    shown = [each for each in stage["verdicts"] if each["level"] in ("bad", "suspect")] or stage["verdicts"][:1]
    text = "; ".join(" ".join(filter(None, (each["subject"], each["summary"]))) for each in shown[:2])
    return f"  {stage['level']:<8} {stage['stage']:<{WIDTH}} {text}"


def _cause_line(at: int, each: Mapping[str, Any], since: str) -> str:
    name = f"{each['cause']}: {each['subject']}" if each["subject"] else each["cause"]
    own = f" since {each['since'][:16].replace('T', ' ')}" if each["since"] != since else ""
    return f"  {at}. {name} in {each['part']}{own} - {each['level']}, {each['sure']}, explains {each['explains']:.0%}"


def _one_line(text: str) -> str:
    """Names come from telemetry: nothing in them may break or colour a line."""
    return "".join(char if char.isprintable() else "?" for char in text)
