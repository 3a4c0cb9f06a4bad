"""The cells of one model, frozen on a reference: only what was counted in the same ones can be compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np

from tidegauge.detectors.pairs import candidates, pairs_in
from tidegauge.detectors.profile import Profile
from tidegauge.detectors.statistics import NumericBins
from tidegauge.detectors.statistics.arrays import FloatArray, finite
from tidegauge.detectors.traffic import Traffic
from tidegauge.model import ALL, Slice

CELLS = 256
COARSER = 4
"""Of slices only every fourth edge is kept."""


@dataclass(frozen=True)
class Binning:
    """Edges and center of every numeric feature, and the slices that are counted apart.

    Attributes:
        bucket_s: Length of the stretches of the watch's own grid, in seconds.
        edges: Of every numeric feature; ``centers`` a number in the middle of its values.
        slices: Of every dimension the values that are counted; the rest is ``other``.
    """

    bucket_s: int
    edges: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    centers: Mapping[str, float] = field(default_factory=dict)
    slices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def fit(cls, reference: Profile, bucket_s: int, most: int, most_pairs: int = 0) -> Binning:
        """256 cells of about equal mass for each numeric feature; the ``most`` most frequent values of a dimension.

        Of pairs of dimensions ``most_pairs`` together: those with the most rows of what can be tested.
        """
        names = dict.fromkeys([*reference.traffic.numeric, *reference.traffic.categorical])
        values = {name: reference.values(name) for name in names if reference.is_numeric(name)}
        known = {name: finite(found)[0] for name, found in values.items() if found is not None}
        return cls(
            bucket_s,
            {name: NumericBins.fit(found, CELLS).edges for name, found in known.items()},
            {name: float(np.median(found)) if len(found) else 0.0 for name, found in known.items()},
            _slices(reference.traffic, most, most_pairs),
        )

    @classmethod
    def from_json(cls, text: str) -> Binning:
        """The inverse of ``json``."""
        data: dict[str, Any] = json.loads(text)
        edges, slices = ({name: tuple(each) for name, each in data[key].items()} for key in ("edges", "slices"))
        return cls(data["bucket_s"], edges, data["centers"], slices)

    @cached_property
    def json(self) -> str:
        """For the table of binnings; every number comes back as it was."""
        parts = {"edges": dict(self.edges), "centers": dict(self.centers), "slices": dict(self.slices)}
        return json.dumps({"bucket_s": self.bucket_s} | parts, sort_keys=True)

    @cached_property
    def name(self) -> str:
        """Names these cells: others have another name."""
        return hashlib.sha256(self.json.encode(errors="surrogatepass")).hexdigest()[:16]

    def name_of(self, length_s: int) -> str:
        """Names stretches of this length counted in these cells."""
        return self.name if length_s == self.bucket_s else f"{self.name}/{length_s}"

    def edges_of(self, feature: str, part: Slice) -> FloatArray:
        """The edges in all traffic, or in a slice."""
        edges = np.array(self.edges[feature], dtype=np.float64)
        return edges if part == ALL else edges[COARSER - 1 :: COARSER]

    @property
    def parts(self) -> list[Slice]:
        """All traffic, and every slice that is counted apart."""
        return [ALL, *(Slice(name, value) for name, values in self.slices.items() for value in values)]


def _slices(traffic: Traffic, most: int, most_pairs: int) -> dict[str, tuple[str, ...]]:
    pairs = pairs_in(traffic)
    found = {
        name: tuple(islice(column.rows_by_name, most))
        for name, column in traffic.dimensions.items()
        if name not in pairs
    }
    known = {Slice(name, value) for name, values in found.items() for value in values}
    fit = candidates(traffic, known)[:most_pairs]
    return found | {name: tuple(part.value for part in fit if part.dimension == name) for name in pairs}
