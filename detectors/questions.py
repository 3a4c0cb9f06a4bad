"""Which tests are asked of a model, and what is declared of its features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tidegauge.config import DEFAULT_TESTS, Feature, Watch


@dataclass(frozen=True, slots=True)
class Questions:
    """What a watch wants to know.

    Attributes:
        tests: Names of detectors.
        declared: Features by name.
        exact: Whether p-values of few rows are worth drawing permutations; not where only effects are read.
    """

    tests: frozenset[str] = frozenset(DEFAULT_TESTS)
    declared: Mapping[str, Feature] = field(default_factory=dict)
    exact: bool = True

    @classmethod
    def of(cls, watch: Watch) -> Questions:
        """Those of one model.

        >>> Questions.of(Watch(features=(Feature(name="age", low=0),))).ends("age")
        (0.0, None)
        """
        return cls(frozenset(watch.tests), {each.name: each for each in watch.features})

    def ends(self, feature: str) -> tuple[float | None, float | None]:
        """The declared range of a feature; None where nothing is."""
        found = self.declared.get(feature)
        return (found.low, found.high) if found else (None, None)

    def kind(self, feature: str) -> str:
        """``number`` or ``text`` where that is declared, else nothing."""
        found = self.declared.get(feature)
        return found.kind if found else ""


STANDARD = Questions()
