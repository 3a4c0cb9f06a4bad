"""The decorator that logs what a function predicts."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar, overload

from tidegauge.collectors.sdk.answers import Pick
from tidegauge.collectors.sdk.client import Client
from tidegauge.collectors.sdk.observe import Observer
from tidegauge.collectors.sdk.start import current_client

P = ParamSpec("P")
R = TypeVar("R")
MOST_TEXT = 64 * 2**10  # characters kept of what a generator yields

_last: ContextVar[tuple[str, ...]] = ContextVar("tidegauge_last_predictions", default=())


def last_prediction_id() -> str:
    """The id of the last prediction that a tracked function made in this task or thread; "" before the first."""
    return _last.get()[-1] if _last.get() else ""


def last_prediction_ids() -> list[str]:
    """The ids of the last tracked call's predictions, in the order of its records."""
    return list(_last.get())


@overload
def track_predictions(function: Callable[P, R], /) -> Callable[P, R]: ...


@overload
def track_predictions(
    function: Callable[P, R],
    /,
    *,
    model: str = "",
    version: str = "",
    features: Sequence[str] | Callable[..., Any] | None = None,
    prediction: Pick = None,
    score: Pick = None,
    id: str | Callable[[Mapping[str, Any]], Any] | None = None,
    slices: Sequence[str] | Callable[[Mapping[str, Any]], Mapping[str, str]] = (),
    client: Client | None = None,
) -> Callable[P, R]: ...


@overload
def track_predictions(
    *,
    model: str = "",
    version: str = "",
    features: Sequence[str] | Callable[..., Any] | None = None,
    prediction: Pick = None,
    score: Pick = None,
    id: str | Callable[[Mapping[str, Any]], Any] | None = None,
    slices: Sequence[str] | Callable[[Mapping[str, Any]], Mapping[str, str]] = (),
    client: Client | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...


def track_predictions(
    function: Any = None,
    /,
    *,
    model: str = "",
    version: str = "",
    features: Sequence[str] | Callable[..., Any] | None = None,
    prediction: Pick = None,
    score: Pick = None,
    id: str | Callable[[Mapping[str, Any]], Any] | None = None,
    slices: Sequence[str] | Callable[[Mapping[str, Any]], Mapping[str, str]] = (),
    client: Client | None = None,
) -> Any:
    """Log every prediction of a function; its result, its exceptions and its signature stay as they are.

    Sync and async functions, methods and generators. The record is the first argument that holds one (a mapping,
    dataclass or pydantic model) or several (a DataFrame, a 2-d array, a list of mappings); without such an argument all
    scalar arguments are the features. What is not understood is counted in ``client.rejects`` and logged, never raised.

    Args:
        model: The name that its predictions are watched under; default: the function's.
        version: Of the model.
        features: Names of those to keep (or of an array's columns), or a function of the same arguments that returns
            the record or records.
        prediction: Where it is in the result: a key, an attribute or a function of the result.
        score: As ``prediction``.
        id: The argument or feature that names the prediction, or a function of all of them.
        slices: Arguments or features to look at apart, or a function of all of them that returns names and values.
        client: Default: what the last :func:`init` returned, at the time of the call.
    """

    def decorate(each: Any) -> Any:
        if isinstance(each, staticmethod | classmethod):
            return type(each)(decorate(each.__func__))
        observer = Observer(each, model, version, features, prediction, score, id, slices)
        return _wrapped(each, _Tracked(observer, client))

    return decorate if function is None else decorate(function)


class _Tracked:
    """Tells the client what a call gave."""

    def __init__(self, observer: Observer, client: Client | None) -> None:
        self._observer, self._client = observer, client

    def answered(self, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        client = self._client or current_client()
        if client is not None:
            ids: Sequence[str] = client.harmless(
                "track_predictions", lambda: self._observer.log(client, args, kwargs, result), ()
            )
            _last.set(tuple(ids))

    def failed(self, error: Exception) -> None:
        client = self._client or current_client()
        if client is not None:
            model, version = self._observer.model, self._observer.version
            client.harmless(
                "track_predictions", lambda: client.log_prediction_error(model, error, version=version), None
            )


def _wrapped(function: Any, tracked: _Tracked) -> Any:
    if inspect.isasyncgenfunction(function):
        return _async_generator(function, tracked)
    if inspect.isgeneratorfunction(function):
        return _generator(function, tracked)
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def asynchronous(*args: Any, **kwargs: Any) -> Any:
            return await _awaited(function(*args, **kwargs), tracked, args, kwargs)

        return asynchronous

    @functools.wraps(function)
    def synchronous(*args: Any, **kwargs: Any) -> Any:
        try:
            result = function(*args, **kwargs)
        except Exception as error:
            tracked.failed(error)
            raise
        if inspect.isawaitable(result):  # of a function that only returns a coroutine
            return _awaited(result, tracked, args, kwargs)
        tracked.answered(args, kwargs, result)
        return result

    return synchronous


async def _awaited(result: Awaitable[Any], tracked: _Tracked, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    try:
        found = await result
    except Exception as error:
        tracked.failed(error)
        raise
    tracked.answered(args, kwargs, found)
    return found


class _Pieces:
    """What a generator yielded: text is joined, of anything else the last is the prediction."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._length = 0
        self._last: Any = None

    def add(self, piece: Any) -> None:
        self._last = piece
        if isinstance(piece, str) and self._length < MOST_TEXT:
            self._text.append(piece)
            self._length += len(piece)

    @property
    def result(self) -> Any:
        return "".join(self._text)[:MOST_TEXT] if isinstance(self._last, str) else self._last


class _Tap(Generator[Any, Any, Any]):
    """A generator, seen from outside."""

    def __init__(self, inner: Generator[Any, Any, Any], pieces: _Pieces) -> None:
        self._inner, self._pieces = inner, pieces

    def send(self, value: Any) -> Any:
        piece = self._inner.send(value)
        self._pieces.add(piece)
        return piece

    def throw(self, *error: Any) -> Any:
        piece = self._inner.throw(*error)
        self._pieces.add(piece)
        return piece

    def close(self) -> None:
        self._inner.close()


def _generator(function: Any, tracked: _Tracked) -> Any:
    @functools.wraps(function)
    def generating(*args: Any, **kwargs: Any) -> Any:
        pieces = _Pieces()
        try:
            returned = yield from _Tap(function(*args, **kwargs), pieces)
        except Exception as error:
            tracked.failed(error)
            raise
        tracked.answered(args, kwargs, pieces.result)
        return returned

    return generating


def _async_generator(function: Any, tracked: _Tracked) -> Any:
    @functools.wraps(function)
    async def generating(*args: Any, **kwargs: Any) -> Any:
        pieces, inner = _Pieces(), function(*args, **kwargs)
        step: Awaitable[Any] = inner.asend(None)
        try:
            while True:
                try:
                    piece = await step
                except StopAsyncIteration:
                    break
                pieces.add(piece)
                try:
                    step = inner.asend((yield piece))
                except Exception as error:  # noqa: BLE001 - thrown in by who iterates: the inner one's to handle
                    step = inner.athrow(error)
        except Exception as error:
            tracked.failed(error)
            raise
        finally:
            await inner.aclose()
        tracked.answered(args, kwargs, pieces.result)

    return generating
