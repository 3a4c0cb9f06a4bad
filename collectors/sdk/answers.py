"""What a model's function returned, as predictions and scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tidegauge.collectors.sdk import shapes
from tidegauge.errors import InvalidRecord

PREDICTION_KEYS = ("prediction", "predictions", "predicted", "label", "labels", "class", "output", "result", "value")
SCORE_KEYS = ("score", "scores", "probability", "probabilities", "confidence")
ID_KEYS = ("prediction_id", "prediction_ids", "id", "ids")
Pick = str | Callable[[Any], Any] | None


class Answer(NamedTuple):
    """One prediction; ``id`` is "" where the result names none."""

    prediction: Any
    score: float | None = None
    id: str = ""


def single(result: Any) -> Answer:
    """The prediction in the result for one record.

    A number that is no integer is its own score. Several numbers are probabilities: see :func:`of_probabilities`.

    Raises:
        InvalidRecord: it has none of the shapes that are understood.
    """
    if shapes.scalar(result):
        return _scalar(result)
    if (found := shapes.record(result)) is not None:
        return _named(found)
    if isinstance(result, tuple) and len(result) == 2 and shapes.scalar(result[0]) and shapes.number(result[1]):
        return Answer(result[0], float(result[1]))
    items = _items(result)
    if len(items) == 1:
        return single(items[0])
    if len(items) > 1 and all(shapes.number(each) for each in items):
        return of_probabilities([float(each) for each in items])
    raise InvalidRecord(f"the result is {_described(result)}; say what is in it with prediction= and score=")


def several(result: Any, count: int) -> list[Answer]:
    """The predictions in the result for ``count`` records. Raises InvalidRecord as :func:`single` does."""
    if isinstance(result, tuple) and len(result) == 2 and all(_length(each) == count for each in result):
        return _paired(*result)
    if shapes.is_frame(result):
        return _same(count, [_named(row) for row in shapes.Batch(result).rows()])
    if (found := shapes.record(result)) is not None:
        return _columns(found, count)
    if isinstance(result, list | tuple) or shapes.dimensions(result):
        return _same(count, [single(each) for each in shapes.listed(result)])
    raise InvalidRecord(f"{count} records went in and {_described(result)} came out; use prediction= and score=")


def picked(result: Any, prediction: Pick, score: Pick) -> Any:
    """The result reduced to what ``prediction`` and ``score`` point at: keys, attributes or functions."""
    if prediction is None and score is None:
        return result
    value = _pick(result, prediction) if prediction is not None else _find(result, PREDICTION_KEYS)
    return {"prediction": value} | ({} if score is None else {"score": _pick(result, score)})


def of_probabilities(values: list[float]) -> Answer:
    """The likeliest class by its index; the score is its probability, or of two classes the second one's.

    >>> of_probabilities([0.75, 0.25])
    Answer(prediction=0, score=0.25, id='')
    """
    best = max(range(len(values)), key=values.__getitem__)
    return Answer(best, values[1] if len(values) == 2 else values[best])


def _scalar(value: Any) -> Answer:
    plain = value.item() if hasattr(value, "item") else value
    if plain is None:
        raise InvalidRecord("the result is None, which is no prediction")
    return Answer(plain, plain if isinstance(plain, float) else None)


def _named(found: Mapping[str, Any]) -> Answer:
    value = _find(found, PREDICTION_KEYS)
    answer = value if isinstance(value, Answer) else single(value)
    score = next((found[key] for key in SCORE_KEYS if key in found), None)
    identifier = next((str(found[key]) for key in ID_KEYS if key in found), "")
    return Answer(answer.prediction, answer.score if score is None else _score(score), identifier)


def _columns(found: Mapping[str, Any], count: int) -> list[Answer]:
    answers = several(_find(found, PREDICTION_KEYS), count)
    scores = next((found[key] for key in SCORE_KEYS if key in found), None)
    ids = next((found[key] for key in ID_KEYS if key in found), None)
    if scores is not None:
        pairs = zip(answers, _same(count, shapes.listed(scores)), strict=True)
        answers = [each._replace(score=_score(score)) for each, score in pairs]
    if ids is not None:
        named = zip(answers, _same(count, shapes.listed(ids)), strict=True)
        answers = [each._replace(id=str(identifier)) for each, identifier in named]
    return answers


def _paired(labels: Any, scores: Any) -> list[Answer]:
    return [
        Answer(single(label).prediction, _score(score))
        for label, score in zip(shapes.listed(labels), shapes.listed(scores), strict=True)
    ]


def _score(value: Any) -> float | None:
    if value is None or shapes.scalar(value):
        return None if value is None else float(value)
    return of_probabilities([float(each) for each in shapes.listed(value)]).score


def _same(count: int, found: list[Any]) -> list[Any]:
    if len(found) != count:
        raise InvalidRecord(f"{count} record(s) went in and {len(found)} prediction(s) came out")
    return found


def _items(result: Any) -> list[Any]:
    if shapes.is_frame(result):
        return list(shapes.Batch(result).rows())
    return shapes.listed(result) if isinstance(result, tuple) or shapes.dimensions(result) else []


def _find(result: Any, keys: tuple[str, ...]) -> Any:
    found = shapes.record(result)
    if found is None:
        return result
    for key in keys:
        if key in found:
            return found[key]
    if len(found) == 1:
        return next(iter(found.values()))
    raise InvalidRecord(f"the result has the keys {', '.join(map(str, found))}; name the prediction with prediction=")


def _pick(result: Any, way: str | Callable[[Any], Any]) -> Any:
    if callable(way):
        return way(result)
    if shapes.is_frame(result) or isinstance(result, Mapping):
        return result[way]
    return getattr(result, way)


def _length(value: Any) -> int:
    return len(value) if isinstance(value, list) or shapes.dimensions(value) == 1 else -1


def _described(value: Any) -> str:
    length = f" of length {len(value)}" if hasattr(value, "__len__") else ""
    return f"a {type(value).__name__}{length}"
