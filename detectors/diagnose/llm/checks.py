"""The questions that are asked of an LLM service: its requests, what they met on the way, and its versions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tidegauge.detectors.diagnose.case import Case
from tidegauge.detectors.diagnose.change import SURE, Change, shift
from tidegauge.detectors.diagnose.llm.reader import Requests
from tidegauge.detectors.diagnose.llm.symptoms import Symptom, symptoms, values_of
from tidegauge.detectors.diagnose.rows import Floats, Mask
from tidegauge.detectors.diagnose.slices import search
from tidegauge.detectors.diagnose.verdict import (
    BAD_FROM,
    EVERYTHING,
    MOST_STRENGTH,
    SEARCHED,
    SUSPECT_FROM,
    Level,
    Part,
    Stage,
    Verdict,
    level_of,
    told,
)
from tidegauge.detectors.traffic import Category
from tidegauge.model import Slice

DAY_S = 86_400
FEWEST = 30
ERRORS, AT_ONCE = 2.5, 60
"""Standard errors that are usual; requests of other versions at the same time, fewer than which do not do alone."""
SEED, SHUFFLES, SIGNIFICANT = 20130701, 200, 0.01
MIX_FLOOR, VOLUME_FLOOR = 0.1, 0.3
NEW_FROM = 0.02
DATA_KEYS = frozenset({"tool_schema", "retrieval_index", "embedding_model"})
"""Parts of the version that change what the model is given; the others change the model."""
DUTY = {
    "tool_schema": frozenset({"llm.tool", "llm.input_tokens"}),
    "retrieval_index": frozenset({"llm.retrieval", "llm.latency", "llm.refused", "llm.input_tokens"}),
    "embedding_model": frozenset({"llm.retrieval", "llm.latency", "llm.refused", "llm.input_tokens"}),
}
MODELS_DUTY = frozenset(
    f"llm.{each}"
    for each in (
        *("failed", "blocked", "refused", "truncated", "latency", "price", "input_tokens", "output_tokens"),
        *("cost", "quality", "feedback", "tool"),
    )
)


def mean_shift(case: Case, symptom: Symptom, where: Mask | None = None) -> Change:
    """The change of a symptom's mean, in all requests or some.

    Usual is half of what matters, 2.5 standard errors, or what stretches of before differ by beyond such errors.
    """
    values = values_of(case.rows, symptom)
    known = np.isfinite(values) if where is None else np.isfinite(values) & where
    spread = float(np.std(values[known])) if known.any() else 0.0
    total, weight, zero = case.sums(np.where(known, values, 0.0)), case.sums(known), -case.first
    before, since, error = _compared(total, weight, slice(zero, None), slice(0, zero), spread)
    usual = max(symptom.floor / BAD_FROM, ERRORS * error)
    for start, end in case.spans:
        rest = total[:zero].copy(), weight[:zero].copy()
        for each in rest:
            each[start + zero : end + zero] = 0.0
        inside = slice(start + zero, end + zero)
        one, other, chance = _compared(
            np.concatenate([rest[0], total[inside]]),
            np.concatenate([rest[1], weight[inside]]),
            slice(zero, None),
            slice(0, zero),
            spread,
        )
        usual = max(usual, abs(other - one) - ERRORS * chance if np.isfinite(one + other) else 0.0)
    return Change(np.array(before), np.array(since), np.array(usual), weight[zero:].sum())


def _compared(total: Floats, weight: Floats, new: slice, old: slice, spread: float) -> tuple[float, float, float]:
    """Means of the old and the new, and the standard error of their difference."""
    n, m = float(weight[old].sum()), float(weight[new].sum())
    if not n or not m:
        return float("nan"), float("nan"), float("inf")
    return float(total[old].sum()) / n, float(total[new].sum()) / m, spread * float(np.sqrt(1 / n + 1 / m))


def examine(case: Case, requests: Requests) -> list[Verdict]:
    """One verdict for each symptom: in all requests, or in the part that the search finds."""
    return [_symptom(case, requests, each) for each in symptoms(case.rows)]


def _symptom(case: Case, requests: Requests, symptom: Symptom) -> Verdict:
    values = values_of(case.rows, symptom)
    known = np.isfinite(values)
    enough = [int((known & side).sum()) for side in (case.before, case.after)]
    if min(enough) < FEWEST:
        said = f"{enough[0]} requests before and {enough[1]} since tell it: too few"
        return Verdict(symptom.said, symptom.stage, Level.UNKNOWN, said)
    whole = mean_shift(case, symptom)
    part, found, strength = EVERYTHING, whole, float(whole.strength)
    narrow = _part(case, symptom)
    if narrow is not None:
        part, found, strength = narrow
    cause = symptom.cause(float(found.delta))
    numbers: dict[str, float | str] = {"before": float(found.before), "since": float(found.since)}
    said = f"{symptom.shown(float(found.since))} {symptom.said}, {symptom.shown(float(found.before))} before"
    verdict = told(
        symptom.name, symptom.stage, cause, said, strength if cause else 0.0, {symptom.changes}, numbers, part
    )
    return _named(case, requests, symptom, verdict) if verdict.found else verdict


def _named(case: Case, requests: Requests, symptom: Symptom, verdict: Verdict) -> Verdict:
    """With the name of the tool, guardrail or error that most of them met."""
    column = requests.named.get(symptom.by)
    if column is None:
        return verdict
    here = case.after & case.rows.rows_in(verdict.part) & (values_of(case.rows, symptom) > 0) & (column.codes >= 0)
    if not here.any():
        return verdict
    counts = np.bincount(column.codes[here], minlength=len(column.names))
    name = column.names[int(np.argmax(counts))]
    said = f"{verdict.summary}; {counts.max() / here.sum():.0%} of them: {name}"
    return replace(verdict, subject=name, summary=said)


def _part(case: Case, symptom: Symptom) -> tuple[Part, Change, float] | None:
    """The part in which alone it changed, the rest being as ever."""
    values = values_of(case.rows, symptom)
    rng = np.random.default_rng(SEED)
    found = search(values, case.slot, -case.first, case.dimensions, rng, fewest=FEWEST, shuffles=SHUFFLES)
    for each in found[:3]:
        if each.p_value > SIGNIFICANT or not symptom.cause(each.since - each.before):
            continue
        narrower = [one for one in found if set(one.part) < set(each.part) and abs(one.beyond) > 0.6 * abs(each.beyond)]
        part = (narrower[0] if narrower else each).part
        here = case.rows.rows_in(part)
        inside, outside = mean_shift(case, symptom, here), mean_shift(case, symptom, ~here)
        strength = float(inside.strength) / SEARCHED
        if strength >= BAD_FROM and float(outside.strength) < SUSPECT_FROM:
            return part, inside, strength
    return None


def volume(case: Case) -> Verdict:
    """All requests, against the same hours of the days before; unknown where there are none."""
    ones = np.ones(case.rows.count)
    counts = case.sums(ones)
    zero, a_day = -case.first, max(1, DAY_S // case.slot_s)
    if zero < 2 * a_day or not case.whole:
        said = "fewer than two days before: the time of day cannot be told from a change"
        return Verdict("volume", Stage.LOGGING, Level.UNKNOWN, said)
    of_day = (np.arange(case.days) - zero) % a_day
    expected = np.array([counts[:zero][of_day[:zero] == each].mean() for each in range(a_day)])[of_day]
    ratio = (counts + 0.5) / (expected + 0.5)
    since = float(counts[zero : zero + case.whole].sum() / max(1.0, expected[zero : zero + case.whole].sum()))
    usual = max(
        VOLUME_FLOOR / BAD_FROM, *(abs(float(np.log(np.mean(ratio[a + zero : b + zero])))) for a, b in case.spans)
    )
    cause = "volume drop" if since < 1 else "volume rise"
    said = f"{since:.2f} times the usual number of requests"
    strength = min(MOST_STRENGTH, abs(float(np.log(max(since, 1e-6)))) / usual)
    return told("volume", Stage.LOGGING, cause, said, strength, {"volume"}, {"times": since})


def mix(case: Case) -> list[Verdict]:
    """Tenants and intents whose share of the requests changed, the clearest alone."""
    found = []
    for dimension in ("tenant", "intent"):
        column = case.dimensions.get(dimension)
        if column is None:
            continue
        ones = np.ones(case.rows.count)
        own = case.sums_by(column, ones)
        each = shift(case, own, np.broadcast_to(case.sums(ones), own.shape), MIX_FLOOR / BAD_FROM)
        at = int(np.argmax(each.strength))
        grown = float(each.delta[at]) > 0
        cause = "part grew" if grown else "part gone" if each.since[at] < 0.05 * each.before[at] else "part shrank"
        said = f"{each.since[at]:.0%} of the requests, {each.before[at]:.0%} before"
        part = (Slice(dimension, column.names[at]),)
        numbers = {"share before": float(each.before[at]), "share since": float(each.since[at])}
        strength = float(each.strength[at]) / SEARCHED
        found.append(told("traffic mix", Stage.LOGGING, cause, said, strength, {"volume"}, numbers, part))
    return found


def versions(case: Case, requests: Requests, so_far: Sequence[Verdict]) -> list[Verdict]:
    """Parts of the version that began since, each with what it does worse than the others at the same time."""
    found = []
    for key in requests.keys:
        column = case.rows.traffic.dimensions[key]
        for at in _new(case, column):
            found.append(_release(case, key, column, at, so_far))
    return found or [Verdict("versions", Stage.MODEL, Level.OK, "no prompt, model, tool schema or index began since")]


def _new(case: Case, column: Category) -> list[int]:
    known = column.codes >= 0
    after, before = (
        np.bincount(column.codes[known & side], minlength=len(column.names)) for side in (case.after, case.before)
    )
    fresh = (after >= NEW_FROM * max(1, after.sum())) & (before <= 0.001 * max(1, before.sum()))
    return [int(at) for at in np.flatnonzero(fresh)]


def _release(case: Case, key: str, column: Category, at: int, so_far: Sequence[Verdict]) -> Verdict:
    name = column.names[at]
    part: Part = (Slice(key, name),)
    mine = case.rows.rows_in(part) & case.after
    others = case.after & ~mine & (column.codes >= 0)
    share = float(mine.sum() / max(1, (case.after & (column.codes >= 0)).sum()))
    at_once = int(others.sum()) >= AT_ONCE
    said = [f"{key} {name} answers {share:.0%} of the requests since"]
    strength, columns, numbers = 1.9, {"version"}, {"share": share}
    sick = {each.check for each in so_far if each.found}
    for symptom in symptoms(case.rows):
        if symptom.changes not in DUTY.get(key, MODELS_DUTY) or symptom.name not in sick:
            continue
        told_by = _against(case, symptom, mine, others if at_once else case.before | others)
        if told_by is None or told_by[0] < BAD_FROM:
            continue
        beyond, own, other = told_by
        strength, columns = max(strength, beyond), columns | {symptom.changes}
        numbers |= {f"{symptom.name} of it": own, f"{symptom.name} of the others": other}
        whose = "with the others" if at_once else "before"
        said.append(f"{symptom.shown(own)} {symptom.said}, {symptom.shown(other)} {whose}")
    stage = Stage.DATA if key in DATA_KEYS else Stage.MODEL
    cause, level = f"new {key}", level_of(strength)
    return Verdict("versions", stage, level, "; ".join(said), cause, name, part, strength, frozenset(columns), numbers)


def _against(case: Case, symptom: Symptom, mine: Mask, others: Mask) -> tuple[float, float, float] | None:
    """How much worse these requests are than those, over what chance gives; the two means."""
    values = values_of(case.rows, symptom)
    one, two = values[mine & np.isfinite(values)], values[others & np.isfinite(values)]
    if min(len(one), len(two)) < FEWEST:
        return None
    delta = float(one.mean() - two.mean())
    if not symptom.cause(delta):
        return None
    error = float(np.sqrt(one.var() / len(one) + two.var() / len(two) + 1e-12))
    return (
        min(MOST_STRENGTH, abs(delta) / max(symptom.floor / BAD_FROM, SURE / 2 * error)),
        float(one.mean()),
        float(two.mean()),
    )


def concept(case: Case, so_far: Sequence[Verdict]) -> Verdict:
    """Whether answers got worse where everything that is known is as before: same versions, documents, no refusal."""
    judged = [each for each in symptoms(case.rows) if each.changes in ("llm.quality", "llm.feedback")]
    if not judged:
        why = "no scores of judges and no feedback: whether answers got worse is not known"
        return Verdict("quality of like requests", Stage.CONCEPT, Level.UNKNOWN, why)
    like = _like(case)
    found = [(mean_shift(case, each, like), each) for each in judged]
    rows = [int((np.isfinite(values_of(case.rows, each)) & like & case.after).sum()) for each in judged]
    told_by = [(change, each) for (change, each), n in zip(found, rows, strict=True) if n >= FEWEST]
    if not told_by:
        why = f"only {max(rows)} like requests since have a score or feedback"
        return Verdict("quality of like requests", Stage.CONCEPT, Level.UNKNOWN, why)
    change, worst = max(told_by, key=lambda each: float(each[0].strength) * (float(each[0].delta) < 0))
    strength = float(change.strength) if float(change.delta) < 0 else 0.0
    said = (
        f"{worst.shown(float(change.since))} {worst.said} where versions, retrieval and refusals are as before, "
        f"{worst.shown(float(change.before))} before"
    )
    others = [each for each in so_far if each.level is Level.BAD and each.columns & {"llm.topic", "version"}]
    strength = min(strength, 1.3) if others else strength
    numbers = {"before": float(change.before), "since": float(change.since)}
    return told("quality of like requests", Stage.CONCEPT, "concept", said, strength, {worst.changes}, numbers)


def _like(case: Case) -> Mask:
    """Requests that met nothing unusual: versions of before, something found, neither refused nor failed."""
    numeric, kept = case.rows.traffic.numeric, np.ones(case.rows.count, dtype=np.bool_)
    for name in ("refused", "failed", "empty", "blocked", "tool_failed"):
        kept &= ~(numeric[name] > 0) if name in numeric else True
    for key in ("prompt", "model"):
        column = case.rows.traffic.dimensions.get(key)
        for at in _new(case, column) if column is not None else ():
            assert column is not None
            kept &= column.codes != at
    return kept
