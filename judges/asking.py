"""One question to the judge, whatever may go wrong with it, and what it cost."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

from tidegauge.judges.budget import Budget
from tidegauge.judges.client import Judge, JudgeUnavailable
from tidegauge.judges.parser import NoVerdict, Verdict, parse
from tidegauge.judges.rubric import Material, Rubric

log = logging.getLogger(__name__)

FAILURES_IN_A_ROW = 5
FREE = frozenset({"unreachable", "unauthorised", "quota", "server_error", "refused_request"})  # nothing was generated


@dataclass(frozen=True, slots=True)
class Answered:
    """A verdict or the reason for none, and the US dollars spent on it."""

    result: Verdict | NoVerdict
    cost_usd: float = 0.0


class Asker:
    """Asks for one round. After five failures in a row the judge counts as away and is not waited for any more."""

    def __init__(self, judge: Judge, budget: Budget) -> None:
        self.budget = budget
        self._judge = judge
        self._lock = threading.Lock()
        self._failures = 0

    @property
    def judge_is_away(self) -> bool:
        """Whether it failed so often in a row that this round asks it no more."""
        return self._failures >= FAILURES_IN_A_ROW

    def ask(self, rubric: Rubric, material: Material) -> Answered:
        """Judge ``material`` by ``rubric``. Never raises for anything that the judge does; safe from many threads."""
        lacking = rubric.lacks(material)
        if lacking:
            return Answered(NoVerdict("undetermined", f"no_{lacking[0]}"))
        if self.judge_is_away:
            return Answered(NoVerdict("undetermined", "judge_unavailable"))
        answered = self._put(rubric, material)
        with self._lock:
            self.budget.spent += answered.cost_usd
        return answered

    def _put(self, rubric: Rubric, material: Material) -> Answered:
        prompt = rubric.render(material)
        try:
            reply = self._judge.ask(prompt)
        except JudgeUnavailable as error:
            self._count(failed=True)
            log.warning("the judge gave no verdict: %s", error)
            cost = 0.0 if error.reason in FREE else self.budget.most(prompt)
            return Answered(NoVerdict("undetermined", error.reason, str(error)), cost)
        self._count(failed=False)
        return Answered(parse(reply, rubric), self.budget.cost_of(reply, prompt))

    def _count(self, *, failed: bool) -> None:
        with self._lock:
            self._failures = self._failures + 1 if failed else 0
