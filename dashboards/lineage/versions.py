"""The version tuple: where each part of it stands in the tables, and conditions over it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tidegauge.errors import InvalidRecord

# Part of the tuple -> expressions that hold it, in llm_calls and in predictions; any of them may match.
_EVERYWHERE = ("fine_tune", "tool_schema", "retrieval_index", "embedding_model", "eval_pass", "training_data_hash")
CALLS: Mapping[str, tuple[str, ...]] = {
    "model": ("model", "request_model"),
    "model_version": ("versions['model']",),
    "base_model": ("versions['base_model']",),
    "prompt": ("prompt_version", "versions['prompt']"),
} | {name: (f"versions['{name}']",) for name in _EVERYWHERE}
PREDICTIONS: Mapping[str, tuple[str, ...]] = {
    "model": ("model",),
    "model_version": ("version",),
    "base_model": ("versions['base_model']",),
    "prompt": ("versions['prompt']",),
} | {name: (f"versions['{name}']",) for name in _EVERYWHERE}
VERSIONS = tuple(CALLS)


@dataclass(frozen=True, slots=True)
class Selection:
    """Versions that must all hold, such as ``{"model_version": "7", "training_data_hash": "9f2c"}``.

    Raises:
        InvalidRecord: nothing is selected, or by a name that is not part of the version tuple.
    """

    wanted: Mapping[str, str]

    def __post_init__(self) -> None:
        unknown = [name for name in self.wanted if name not in VERSIONS]
        if unknown or not self.wanted:
            what = f"{unknown[0]!r} is no part of the version tuple" if unknown else "no version is given"
            raise InvalidRecord(f"{what}: name one or more of {', '.join(VERSIONS)}")

    def condition(self, places: Mapping[str, tuple[str, ...]]) -> str:
        """SQL over ``places`` (CALLS or PREDICTIONS), with the parameters of :meth:`parameters`."""
        return " AND ".join(
            "(" + " OR ".join(f"{place} = {{wanted_{name}:String}}" for place in places[name]) + ")"
            for name in self.wanted
        )

    def parameters(self) -> dict[str, Any]:
        """Values for :meth:`condition`."""
        return {f"wanted_{name}": value for name, value in self.wanted.items()}


def of_prediction(row: Mapping[str, Any]) -> dict[str, str]:
    """The version tuple of a row of ``predictions``; parts that nobody sent are left out."""
    return _filled({"model": row["model"], "model_version": row["version"], **row["versions"]})


def of_call(row: Mapping[str, Any]) -> dict[str, str]:
    """The version tuple of a row of ``llm_calls``."""
    own = {"model": row["model"], "prompt": row["prompt_version"]}
    return _filled({**row["versions"], **_filled(own)})


def _filled(versions: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in versions.items() if value}
