"""One call of a tracked function as predictions: what went in, and what came out."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tidegauge.collectors.sdk import answers, shapes
from tidegauge.collectors.sdk.answers import Answer, Pick
from tidegauge.collectors.sdk.client import Client, new_id
from tidegauge.collectors.sdk.records import text
from tidegauge.errors import InvalidRecord

FRAME_ROWS = 100  # from here on a batch goes as a frame
RECEIVERS = ("self", "cls")
OWN = "tidegauge."  # columns put beside a batch's


class Observer:
    """Reads the calls of one function; see ``track_predictions`` for the arguments."""

    def __init__(
        self,
        function: Callable[..., Any],
        model: str,
        version: str,
        features: Sequence[str] | Callable[..., Any] | None,
        prediction: Pick,
        score: Pick,
        id: str | Callable[[Mapping[str, Any]], Any] | None,
        slices: Sequence[str] | Callable[[Mapping[str, Any]], Mapping[str, str]],
    ) -> None:
        name = getattr(function, "__qualname__", type(function).__qualname__)
        self.model, self.version = model or name.rpartition("<locals>.")[2], version
        self._kept = None if features is None or callable(features) else tuple(features)
        self._extract = features if callable(features) else None
        self._prediction, self._score, self._id, self._slices = prediction, score, id, slices
        self._signature = inspect.signature(function)
        names = list(self._signature.parameters)
        self._names = names[1:] if names and names[0] in RECEIVERS else names
        self._skip = len(names) - len(self._names)

    def log(self, client: Client, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> list[str]:
        """Log what one call predicted; returns the ids. Raises InvalidRecord where that cannot be told."""
        arguments = self._arguments(args, kwargs)
        found = self._record(arguments, args, kwargs)
        picked = answers.picked(result, self._prediction, self._score)
        if isinstance(found, shapes.Batch):
            return self._log_batch(client, arguments, found, answers.several(picked, len(found)))
        return [self._log_one(client, arguments, found, answers.single(picked))]

    def _arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """By name, without ``self``; what ``**`` takes counts as named too."""
        if not kwargs and len(args) - self._skip == len(self._names) == 1:
            return {self._names[0]: args[-1]}
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        named: dict[str, Any] = {}
        for name in self._names:
            if self._signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
                named.update(bound.arguments[name])
            else:
                named[name] = bound.arguments[name]
        return named

    def _record(
        self, arguments: Mapping[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Mapping[str, Any] | shapes.Batch:
        values = arguments.values() if self._extract is None else [self._extract(*args, **kwargs)]
        for value in values:
            if type(value) is dict:
                return value
            if (several := shapes.batch(value, self._kept or ())) is not None:
                return several
            if (found := shapes.record(value)) is not None:
                return found
            if shapes.dimensions(value) == 1 and hasattr(value, "tolist"):
                return shapes.Batch(value.reshape(1, -1), self._kept or ()).first()
        return arguments

    def _features(self, found: Mapping[str, Any]) -> dict[str, Any]:
        if self._kept is not None:
            missing = [name for name in self._kept if name not in found]
            if missing:
                raise InvalidRecord(f"features= names {', '.join(missing)}, and there is {', '.join(map(str, found))}")
            return {name: found[name] for name in self._kept}
        scalars = {str(name): value for name, value in found.items() if name != self._id and shapes.scalar(value)}
        if not scalars and any(name != self._id for name in found):
            raise InvalidRecord(f"none of {', '.join(map(str, found))} is a number, text or a bool; use features=")
        return scalars

    def _log_one(self, client: Client, arguments: Mapping[str, Any], found: Mapping[str, Any], answer: Answer) -> str:
        all_of_it = {**arguments, **found} if self._id or self._slices else {}
        return client.log_prediction(
            self.model,
            self._features(found),
            prediction=answer.prediction,
            score=answer.score,
            prediction_id=self._named(all_of_it) or answer.id or None,
            version=self.version,
            slices=self._sliced(all_of_it),
        )

    def _log_batch(
        self, client: Client, arguments: Mapping[str, Any], found: shapes.Batch, given: list[Answer]
    ) -> list[str]:
        if len(found) < FRAME_ROWS:
            rows = zip(found.rows(), given, strict=True)
            return [self._log_one(client, arguments, row, answer) for row, answer in rows]
        columns: dict[str, Sequence[Any]] = {f"{OWN}prediction": [text(each.prediction) for each in given]}
        if any(each.score is not None for each in given):
            columns[f"{OWN}score"] = [each.score for each in given]
        slices: dict[str, Sequence[Any]] = {}
        columns[f"{OWN}id"] = [each.id or new_id() for each in given]
        if self._id or self._slices:
            whole = [{**arguments, **row} for row in found.rows()]
            columns[f"{OWN}id"] = [self._named(each) or columns[f"{OWN}id"][at] for at, each in enumerate(whole)]
            sliced = [self._sliced(each) for each in whole]
            slices = {name: [each.get(name, "") for each in sliced] for name in sliced[0]}
        return client.log_predictions(
            self.model,
            found.beside(columns | slices),
            features=list(self._features(found.first())),
            prediction=f"{OWN}prediction",
            score=f"{OWN}score" if f"{OWN}score" in columns else None,
            prediction_id=f"{OWN}id",
            slices=list(slices),
            version=self.version,
        )

    def _named(self, found: Mapping[str, Any]) -> str:
        if self._id is None:
            return ""
        return text(self._id(found) if callable(self._id) else found.get(self._id))

    def _sliced(self, found: Mapping[str, Any]) -> dict[str, str]:
        if callable(self._slices):
            return {str(name): text(value) for name, value in self._slices(found).items()}
        return {name: text(found.get(name)) for name in self._slices}
