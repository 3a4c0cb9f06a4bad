"""From what went wrong in a stretch of time to a handful of candidates for each service and model."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from fnmatch import fnmatchcase
from itertools import groupby
from operator import attrgetter
from typing import Any

import numpy as np

from tidegauge import golden
from tidegauge.config import Golden
from tidegauge.golden import Candidate, Round, State, digest, identity
from tidegauge.instruments import GOLDEN
from tidegauge.judges.golden.alike import Embed, Matrix, same, similarity
from tidegauge.judges.golden.choosing import Choosable, choose, kept
from tidegauge.judges.golden.contents import LONGEST, Contents
from tidegauge.judges.golden.drifted import drifts, examples, with_drift
from tidegauge.judges.golden.failure import Case, cases, rarest
from tidegauge.judges.golden.signs import signs
from tidegauge.judges.source import contexts
from tidegauge.model import Window
from tidegauge.store import Store

log = logging.getLogger(__name__)

HELD = "SELECT candidate_id AS id FROM golden_candidates WHERE candidate_id IN {ids:Array(String)}"
POOL = 1_500
"""Failures of one service or model that are compared with each other; beyond it the strongest."""
SUMMED = ("failures", "different", "proposed")
REMEMBERED = 2_000
"""Earlier candidates of it that new ones are compared with, the newest."""


@dataclass(frozen=True, slots=True)
class Proposed:
    """What one round came to."""

    candidates: tuple[Candidate, ...]
    rounds: tuple[Round, ...]

    def as_json(self) -> dict[str, Any]:
        """For machines and the page."""
        return {name: [each.as_json() for each in getattr(self, name)] for name in ("candidates", "rounds")}


class Proposing:
    """Proposes failures of a stretch of time.

    Args:
        mask: Takes out of each text what must not be kept.
        embed: Turns texts into vectors; without it texts are compared by their letters.
    """

    def __init__(
        self, store: Store, settings: Golden, mask: Callable[[str], str] = str, embed: Embed | None = None
    ) -> None:
        self._store, self._settings, self._embed = store, settings, embed
        self._contents = Contents(store, mask)
        self._mask = mask

    def run(self, window: Window, now: datetime, seed: int = 0, *, weekly: bool = False) -> Proposed:
        """Look for failures in ``window``, choose, and store what was chosen as proposed.

        The same records and the same ``seed`` give the same choice. Nothing that was proposed before is proposed again,
        nor what says the same as something of that kind.

        Args:
            weekly: It is the round of a week: of two processes that both run it, one's choice is kept.
        """
        found = self._found(window)
        done = [self._subject(name, list(group), window, now, seed, weekly) for name, group in _by_subject(found)]
        token = f"golden:{window.end.isoformat()}" if weekly else None
        candidates = self._stored([each for proposed, _ in done for each in proposed], token)
        held = Counter(each.subject for each in candidates)
        rounds = [replace(each, proposed=held[each.subject]) for _, each in done]
        total = _total(rounds, window, now, weekly)
        self._store.insert("golden_rounds", [each.row() for each in (*rounds, total)], token)
        GOLDEN.labels("seen").inc(total.failures)
        GOLDEN.labels("proposed").inc(total.proposed)
        log.info("golden set: %d proposed of %d failures", total.proposed, total.failures)
        return Proposed(tuple(candidates), tuple(rounds))

    def _stored(self, candidates: list[Candidate], token: str | None) -> list[Candidate]:
        """Write them; returns those that are there, which are none where another process was first."""
        golden.write(self._store, candidates, token)
        ids = [each.candidate_id for each in candidates]
        held = {row["id"] for row in self._store.rows(HELD, {"ids": ids})} if ids else set()
        return [each for each in candidates if each.candidate_id in held]

    def _found(self, window: Window) -> list[Case]:
        wants_drift = "drifted" in self._settings.reasons
        found = list(signs(self._store, self._settings, window))
        if wants_drift:
            found += examples(self._store, window)
        filled = self._contents.filled(cases(found), window)
        watched = [case for case in filled if self._watched(case.subject)]
        return with_drift(watched, drifts(self._store, window)) if wants_drift else watched

    def _watched(self, subject: str) -> bool:
        wanted = self._settings.subjects
        return bool(subject) and (not wanted or any(fnmatchcase(subject, each) for each in wanted))

    def _subject(
        self, subject: str, found: Sequence[Case], window: Window, now: datetime, seed: int, weekly: bool
    ) -> tuple[list[Candidate], Round]:
        known = golden.read(self._store, subject=subject, most=REMEMBERED)
        new = _not_known(found, known)
        different, alike, vectors = self._different(new, known)
        order = self._chosen(different, alike, vectors, np.random.default_rng([seed, *subject.encode()]))
        said = contexts(self._store, [different[at].trace_id for at in order if different[at].trace_id])
        proposed = [
            self._candidate(different[at], alike[at], said.get(different[at].trace_id, []), window, now) for at in order
        ]
        reasons = Counter(reason for case in found for reason in case.reasons)
        return proposed, Round(now, subject, weekly, window, len(found), len(different), len(proposed), reasons)

    def _different(
        self, new: Sequence[Case], known: Sequence[Candidate]
    ) -> tuple[list[Case], list[int], Matrix | None]:
        """Those that say something of their own, how many each stands for, and their vectors."""
        if not new:
            return [], [], None
        earlier = [_remembered(each) for each in known if each.input]
        both = [*earlier, *new]
        vectors = self._vectors(both)
        strongest = sorted(range(len(earlier), len(both)), key=lambda at: _rank(both[at]))
        groups = kept(same(both, vectors), [*range(len(earlier)), *strongest])
        chosen = {at: members for at, members in groups.items() if at >= len(earlier)}
        alike = [len(members) for members in chosen.values()]
        return [both[at] for at in chosen], alike, None if vectors is None else vectors[list(chosen)]

    def _vectors(self, found: Sequence[Case]) -> Matrix | None:
        """Of what was asked, not of predictions' features; where nothing was captured the row is zeros."""
        said = [at for at, case in enumerate(found) if case.text and case.kind == "trace"]
        if self._embed is None or not said:
            return None
        rows = self._embed([found[at].text[:LONGEST] for at in said])
        if rows is None:
            return None
        vectors = np.zeros((len(found), rows.shape[1]), dtype=np.float32)
        vectors[said] = rows
        return vectors

    def _chosen(
        self, found: Sequence[Case], alike: Sequence[int], vectors: Matrix | None, rng: np.random.Generator
    ) -> list[int]:
        if not found:
            return []
        strength = [case.strength for case in found]
        strata = [rarest(found), [case.tenant for case in found]]
        return choose(Choosable(similarity(found, vectors), strength, alike, strata), self._settings.per_week, rng)

    def _candidate(self, case: Case, alike: int, context: Sequence[str], window: Window, now: datetime) -> Candidate:
        keep = self._settings.content
        return Candidate(
            identity(case.subject, case.kind, case.record_id),
            now,
            State.PROPOSED,
            now,
            window,
            case.subject,
            case.kind,
            case.record_id,
            case.trace_id,
            case.at,
            case.reasons,
            round(case.strength, 4),
            alike,
            case.tenant,
            case.slices,
            case.versions,
            case.text if keep else "",
            case.output if keep else "",
            case.expected if keep else "",
            tuple(self._mask(text[:LONGEST]) for text in context if text) if keep else (),
            digest(case.text),
        )


def _by_subject(found: Iterable[Case]) -> Iterable[tuple[str, Iterable[Case]]]:
    by = attrgetter("subject")
    return groupby(sorted(found, key=by), key=by)


def _not_known(found: Sequence[Case], known: Sequence[Candidate]) -> list[Case]:
    """Those whose record and whose text were never proposed; of too many the strongest."""
    ids = {each.candidate_id for each in known}
    texts = {each.digest for each in known if each.digest}
    new = [
        case
        for case in found
        if identity(case.subject, case.kind, case.record_id) not in ids and digest(case.text) not in texts
    ]
    return sorted(new, key=_rank)[:POOL]


def _remembered(candidate: Candidate) -> Case:
    """An earlier candidate, to compare new ones with."""
    return Case(
        candidate.kind, candidate.record_id, candidate.subject, candidate.timestamp, {}, 0, text=candidate.input
    )


def _rank(case: Case) -> tuple[float, float, str]:
    return -case.strength, -case.at.timestamp(), case.record_id


def _total(rounds: Sequence[Round], window: Window, now: datetime, weekly: bool) -> Round:
    reasons: Counter[str] = Counter()
    for each in rounds:
        reasons.update(each.reasons)
    failures, different, proposed = (sum(getattr(each, name) for each in rounds) for name in SUMMED)
    return Round(now, "", weekly, window, failures, different, proposed, reasons)
