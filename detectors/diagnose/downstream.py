"""Downstream: what those who use the predictions see. Consequences, which say how urgent it is and not why."""

from __future__ import annotations

import numpy as np

from tidegauge.detectors.diagnose.case import Case
from tidegauge.detectors.diagnose.change import shift
from tidegauge.detectors.diagnose.outputs import losses
from tidegauge.detectors.diagnose.verdict import Level, Stage, Verdict, told

DECISION_FLOOR, LOSS_FLOOR = 0.05, 0.02
FEWEST_LABELS = 100
FEWEST_OUTCOMES = 30


def downstream(case: Case) -> list[Verdict]:
    """The mix of decisions, the loss, and business outcomes."""
    return [_decisions(case), _loss(case), *_outcomes(case)]


def _decisions(case: Case) -> Verdict:
    decision = case.rows.decision
    if decision is None:
        return Verdict("decisions made", Stage.DOWNSTREAM, Level.UNKNOWN, "predictions are no numbers or two classes")
    known = np.isfinite(decision)
    spread = None if np.isin(decision[known], (0.0, 1.0)).all() else float(np.nanstd(decision[case.before]))
    found = shift(case, case.sums(np.where(known, decision, 0.0)), case.sums(known), DECISION_FLOOR, spread)
    said = f"the mean prediction is {found.since:.3f}, {found.before:.3f} before"
    numbers = {"before": float(found.before), "since": float(found.since)}
    strength = float(found.strength)
    return told("decisions made", Stage.DOWNSTREAM, "decisions moved", said, strength, {"prediction"}, numbers)


def _loss(case: Case) -> Verdict:
    loss = losses(case)
    if loss is None or np.isfinite(loss[case.after]).sum() < FEWEST_LABELS:
        return Verdict(
            "loss", Stage.DOWNSTREAM, Level.UNKNOWN, "hardly any label has come, so the loss is not known yet"
        )
    known = np.isfinite(loss)
    found = shift(case, case.sums(np.where(known, loss, 0.0)), case.sums(known), LOSS_FLOOR, float(np.nanstd(loss)))
    said = f"the loss is {found.since:.3f}, {found.before:.3f} before"
    numbers = {"before": float(found.before), "since": float(found.since)}
    strength = float(found.strength) if found.delta > 0 else 0.0
    return told("loss", Stage.DOWNSTREAM, "loss up", said, strength, {"loss"}, numbers)


def _outcomes(case: Case) -> list[Verdict]:
    found = []
    for name in sorted({each[0] for each in case.notes.outcomes}):
        total, count = np.zeros(case.days), np.zeros(case.days)
        for _, day, n, value in (each for each in case.notes.outcomes if each[0] == name):
            if 0 <= day - case.first < case.days:
                total[day - case.first] += value
                count[day - case.first] += n
        if count[-case.first :].sum() < FEWEST_OUTCOMES or count[: -case.first].sum() < FEWEST_OUTCOMES:
            continue
        mean = total.sum() / count.sum()
        change = shift(case, total, count, 0.05 * abs(mean) + 1e-9, spread=abs(mean))
        said = f"the mean outcome {name!r} is {change.since:.3g}, {change.before:.3g} before"
        numbers = {"before": float(change.before), "since": float(change.since)}
        cause, strength = f"outcome {name} moved", float(change.strength)
        found.append(told("outcomes", Stage.DOWNSTREAM, cause, said, strength, {"loss"}, numbers))
    return found
