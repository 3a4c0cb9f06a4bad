"""The configuration's reference page, generated from the model so that it cannot differ from it."""

from __future__ import annotations

from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from tidegauge.config import Section, Settings

HEAD = """# Configuration

One file, `tidegauge.yaml` in the working directory (or `--config FILE`), plus environment variables that win over it:
`TIDEGAUGE_RECEIVER__HTTP_PORT=4318` sets `receiver.http_port`. Unknown keys are refused, and every problem is listed
at once (`tidegauge config check`). A secret can be read from a file: `url_file` instead of `url`.
`tidegauge config show` prints what is in force.

This page is made by `tidegauge config reference`.
"""


def reference() -> str:
    """The page, in Markdown."""
    sections: list[tuple[str, type[BaseModel]]] = [("(top level)", Settings), *_nested(Settings, "")]
    return "\n".join([HEAD, *(line for path, model in sections for line in _section(path, model))])


def _nested(model: type[BaseModel], path: str) -> Iterator[tuple[str, type[BaseModel]]]:
    for name, field in model.model_fields.items():
        for inner in _models(field.annotation):
            many = "[]" if get_origin(field.annotation) is tuple else ""
            kind = inner.model_fields.get("kind")
            choice = f" (kind: {kind.default})" if kind and len(_models(field.annotation)) > 1 else ""
            yield f"{path}{name}{many}{choice}", inner
            yield from _nested(inner, f"{path}{name}{many}.")


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def _section(path: str, model: type[BaseModel]) -> Iterator[str]:
    plain = {name: field for name, field in model.model_fields.items() if not _models(field.annotation)}
    if not plain:
        return
    yield f"\n## {path}\n\n{(model.__doc__ or '').strip()}\n"
    yield "| setting | type | default | meaning |"
    yield "|---|---|---|---|"
    for name, field in plain.items():
        yield f"| `{name}` | {_type(field.annotation)} | {_default(field)} | {_meaning(field)} |"


def _type(annotation: Any) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(inner[0])
    if origin is Literal:
        return "one of " + ", ".join(f"`{each}`" for each in inner)
    if origin in (Union, UnionType):
        return " or ".join(_type(each) for each in inner if each is not type(None))
    if origin is tuple:
        return f"list of {_type(inner[0])}"
    return "secret" if annotation is SecretStr else str(getattr(annotation, "__name__", annotation)).lower()


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.default
    if isinstance(value, SecretStr) or value in ("", None, ()):
        return "-"
    return f"`{', '.join(map(str, value))}`" if isinstance(value, tuple) else f"`{value}`"


def _meaning(field: FieldInfo) -> str:
    return (field.description or "").replace("|", "\\|")
