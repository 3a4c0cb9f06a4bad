"""The loop that draws a sample of LLM calls, has it judged and sends the scores."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from tidegauge.config import Judges
from tidegauge.errors import Backpressure
from tidegauge.instruments import JUDGED
from tidegauge.judges import rubric as rubrics
from tidegauge.judges.asking import Answered, Asker
from tidegauge.judges.budget import Budget
from tidegauge.judges.client import Judge, OpenAIJudge
from tidegauge.judges.events import Score, export
from tidegauge.judges.injection import suspicions
from tidegauge.judges.parser import NoVerdict, Verdict
from tidegauge.judges.rubric import Material, Rubric
from tidegauge.judges.sampling import Candidate, Draw, allocate, counts_by_stratum, draw
from tidegauge.judges.source import Call, Source
from tidegauge.model import Transport
from tidegauge.store import Store

log = logging.getLogger(__name__)

AT_ONCE = 4  # questions in flight
CHUNK = 8  # calls whose scores are sent and recorded together
CHOSEN_PER_PAGE, MOST_PER_PAGE, PAGES_PER_ROUND = 200, 5_000, 10
DURABLE_WITHIN_S = 60
SUBMIT_ATTEMPTS = 5
OUTCOMES = ("scored", "invalid", "undetermined")  # of a call: the first that any of its rubrics had


@dataclass(frozen=True, slots=True)
class JudgeRound:
    """What one round did, counted in calls. Candidates that are in none of the four were not drawn."""

    candidates: int = 0
    judged: int = 0
    invalid: int = 0
    undetermined: int = 0
    over_budget: int = 0
    cost_usd: float = 0.0

    def __add__(self, other: JudgeRound) -> JudgeRound:
        return JudgeRound(
            self.candidates + other.candidates,
            self.judged + other.judged,
            self.invalid + other.invalid,
            self.undetermined + other.undetermined,
            self.over_budget + other.over_budget,
            self.cost_usd + other.cost_usd,
        )


class JudgeLoop:
    """Judges calls that no earlier round decided; ``judge_samples`` is its memory, so a restart goes on where it was.

    Args:
        transport: Where scores go, as any other telemetry.
        client: Answers the questions; by default the model that ``settings`` names.
        mask: Takes out of each text what the judge must not see; rows may have come into ClickHouse past the receiver.

    Raises:
        ConfigError: a rubric, a stratum or the judge's address is wrong.
    """

    def __init__(
        self,
        store: Store,
        transport: Transport,
        settings: Judges,
        client: Judge | None = None,
        mask: Callable[[str], str] = str,
    ) -> None:
        self._store, self._transport, self._settings, self._mask = store, transport, settings, mask
        self._source = Source(store, settings.strata)
        self._rubrics: list[Rubric] = [rubrics.load(name) for name in settings.rubrics]
        self._judge: Judge = client or OpenAIJudge(settings)
        self._page = min(MOST_PER_PAGE, max(1, int(CHOSEN_PER_PAGE / settings.rate)))

    def run(self, now: datetime) -> JudgeRound:
        """One round over what arrived since the last one. A judge that is down costs scores, never the round."""
        asker = Asker(self._judge, Budget.of(self._settings, self._source.spent(now)))
        done = JudgeRound()
        with ThreadPoolExecutor(AT_ONCE, "tidegauge-judge") as pool:
            for _ in range(PAGES_PER_ROUND):
                page = self._judge_page(now, asker, pool)
                done += page
                if page.candidates < self._page or asker.judge_is_away:
                    break
        if done.candidates:
            log.info("judged: %s", done)
        return done

    def close(self) -> None:
        """Give up the connection to the judge."""
        self._judge.close()

    def _judge_page(self, now: datetime, asker: Asker, pool: Executor) -> JudgeRound:
        candidates = self._source.candidates(now, self._page)
        probabilities = allocate(counts_by_stratum(candidates), self._source.spreads(now), self._settings.rate)
        wanted = [each.candidate for each in draw(candidates, probabilities) if each.chosen]
        calls, already = self._source.calls(wanted), self._source.already(wanted)
        plan = asker.budget.copy()
        draws = draw(candidates, probabilities, lambda each: plan.reserve(self._most(asker, calls[_key(each)])))
        rows: list[dict[str, Any]] = []
        chosen = [each for each in draws if each.chosen]
        for chunk in (chosen[start : start + CHUNK] for start in range(0, len(chosen), CHUNK)):
            answers = list(pool.map(partial(self._ask, asker, calls, already), _questions(chunk, self._rubrics)))
            rows += self._keep(now, chunk, calls, dict(zip(_questions(chunk, self._rubrics), answers, strict=True)))
        rest = [_row(each, now, "over_budget" if each.cut else "skipped") for each in draws if not each.chosen]
        self._store.insert("judge_samples", rest)
        return _round(rows + rest)

    def _most(self, asker: Asker, call: Call) -> float:
        askable = [each for each in self._rubrics if not each.lacks(call.material)]
        return sum(asker.budget.most(each.render(call.material)) for each in askable)

    def _ask(
        self,
        asker: Asker,
        calls: Mapping[tuple[str, str], Call],
        already: set[tuple[str, str, str]],
        question: tuple[Candidate, Rubric],
    ) -> Answered | None:
        candidate, rubric = question
        if (*_key(candidate), rubric.name) in already:
            return None
        return asker.ask(rubric, calls[_key(candidate)].material.changed(self._mask))

    def _keep(
        self,
        now: datetime,
        chunk: Sequence[Draw],
        calls: Mapping[tuple[str, str], Call],
        answers: Mapping[tuple[Candidate, Rubric], Answered | None],
    ) -> list[dict[str, Any]]:
        """Scores first, then the record that they exist: after a kill in between, the next round finds them."""
        suspected = {each.candidate: _suspected(calls[_key(each.candidate)].material) for each in chunk}
        scores = [
            Score(
                each, calls[_key(each.candidate)], rubric, self._judge.model, answer.result, suspected[each.candidate]
            )
            for each in chunk
            for rubric in self._rubrics
            if (answer := answers[each.candidate, rubric])
        ]
        self._send(scores, now)
        reviews = [row for score in scores for row in _for_review(score)]
        reviews += [
            _review(each, "injection_suspected", ", ".join(found)) for each, found in suspected.items() if found
        ]
        self._store.insert("review_queue", reviews)
        rows = [_judged_row(each, now, {r: answers[each.candidate, r] for r in self._rubrics}) for each in chunk]
        self._store.insert("judge_samples", rows)
        for score in scores:
            JUDGED.labels(score.result.outcome if isinstance(score.result, NoVerdict) else "scored").inc()
        return rows

    def _send(self, scores: Sequence[Score], now: datetime) -> None:
        if not scores:
            return
        payload = export(scores, now)
        for attempt in range(1, SUBMIT_ATTEMPTS + 1):
            try:
                self._transport.submit(payload).result(DURABLE_WITHIN_S)
                return
            except Backpressure as error:
                if attempt == SUBMIT_ATTEMPTS:
                    raise
                time.sleep(error.retry_after_s)


def _questions(chunk: Sequence[Draw], all_rubrics: Sequence[Rubric]) -> list[tuple[Candidate, Rubric]]:
    return [(each.candidate, rubric) for each in chunk for rubric in all_rubrics]


def _key(candidate: Candidate) -> tuple[str, str]:
    return candidate.trace_id, candidate.span_id


def _suspected(material: Material) -> tuple[str, ...]:
    parts = {"answer": material.answer, "context": material.context, "question": material.question}
    return tuple(f"{part}:{name}" for part, text in parts.items() for name in suspicions(text))


def _judged_row(each: Draw, now: datetime, answers: Mapping[Rubric, Answered | None]) -> dict[str, Any]:
    by_rubric = {rubric.identity: _outcome(answer) for rubric, answer in answers.items()}
    kinds = {outcome.split(":")[0] for outcome in by_rubric.values()}
    outcome = next(kind for kind in OUTCOMES if kind in kinds)
    cost = sum(answer.cost_usd for answer in answers.values() if answer)
    return _row(each, now, outcome, json.dumps(by_rubric), cost)


def _outcome(answer: Answered | None) -> str:
    if answer is None or isinstance(answer.result, Verdict):
        return "scored"
    return f"{answer.result.outcome}:{answer.result.reason}"


def _row(each: Draw, now: datetime, outcome: str, detail: str = "", cost_usd: float = 0.0) -> dict[str, Any]:
    candidate = each.candidate
    return {
        "timestamp": candidate.at,
        "trace_id": candidate.trace_id,
        "span_id": candidate.span_id,
        "stratum": candidate.stratum,
        "inclusion_probability": each.probability,
        "chosen": each.chosen,
        "outcome": outcome,
        "detail": detail,
        "judged_at": now,
        "cost_usd": cost_usd,
    }


def _for_review(score: Score) -> Iterator[dict[str, Any]]:
    result, candidate = score.result, score.draw.candidate
    if isinstance(result, NoVerdict) and result.outcome == "invalid":
        yield _review(candidate, "invalid_verdict", f"{score.rubric.name}: {result.reason}: {result.detail}")
    if isinstance(result, Verdict) and result.label == "fail":
        yield _review(candidate, "low_score", f"{score.rubric.name} {result.score:.2f}: {result.explanation}")


def _review(candidate: Candidate, reason: str, detail: str) -> dict[str, Any]:
    return {
        "timestamp": candidate.at,
        "trace_id": candidate.trace_id,
        "span_id": candidate.span_id,
        "reason": reason,
        "detail": detail,
        "state": "open",
    }


def _round(rows: Sequence[Mapping[str, Any]]) -> JudgeRound:
    counts = Counter(row["outcome"] for row in rows)
    cost = sum(row["cost_usd"] for row in rows)
    return JudgeRound(
        len(rows), counts["scored"], counts["invalid"], counts["undetermined"], counts["over_budget"], cost
    )
