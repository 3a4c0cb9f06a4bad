"""What a judge is asked: a YAML file with a name, a scale and a prompt. Its version is the hash of what it says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from jinja2 import StrictUndefined, Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tidegauge.errors import ConfigError
from tidegauge.judges.injection import fence, presentable

BUILT_IN = ("faithfulness", "relevance")
MAX_EXPLANATION = 600
_SANDBOX = ImmutableSandboxedEnvironment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)

Part = Literal["question", "context", "answer"]


@dataclass(frozen=True, slots=True)
class Material:
    """What is judged: all of it text that other people or models wrote."""

    question: str
    answer: str
    context: str = ""

    def changed(self, change: Callable[[str], str]) -> Material:
        """The same with ``change`` applied to each text."""
        return Material(change(self.question), change(self.answer), change(self.context))


@dataclass(frozen=True, slots=True)
class Prompt:
    """The two messages that go to the judge."""

    system: str
    user: str


class Scale(BaseModel):
    """Whole numbers from ``minimum`` (worst) to ``maximum`` (best); a call passes from ``pass_from`` on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    minimum: int = 0
    maximum: int = 4
    pass_from: int = 3

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.minimum < self.pass_from <= self.maximum:
            raise ValueError("a scale needs minimum < pass_from <= maximum")
        return self

    def normal(self, score: int) -> float:
        """``score`` on a scale of 0 to 1."""
        return (score - self.minimum) / (self.maximum - self.minimum)


class Rubric(BaseModel):
    """One question to a judge.

    ``system`` and ``prompt`` are Jinja2 templates, run in a sandbox. They see ``scale``, ``schema`` (JSON schema of the
    verdict), ``fence`` and the parts named in ``needs``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
    description: str = ""
    needs: Annotated[tuple[Part, ...], Field(min_length=1)]
    scale: Scale = Scale()
    system: str
    prompt: str

    @cached_property
    def version(self) -> str:
        """Twelve hex digits that change with every word of the rubric."""
        return hashlib.sha256(json.dumps(self.model_dump(), sort_keys=True).encode()).hexdigest()[:12]

    @property
    def identity(self) -> str:
        """``name@version``, as stored with each score."""
        return f"{self.name}@{self.version}"

    @cached_property
    def json_schema(self) -> dict[str, Any]:
        """What the judge must answer; ``score`` null means that it cannot tell."""
        score = {"type": ["integer", "null"], "minimum": self.scale.minimum, "maximum": self.scale.maximum}
        reason = {"type": "string", "maxLength": MAX_EXPLANATION}
        return {
            "type": "object",
            "properties": {"score": score, "reason": reason},
            "required": ["score", "reason"],
            "additionalProperties": False,
        }

    def lacks(self, material: Material) -> list[str]:
        """Which of the parts that the rubric needs are empty."""
        return [part for part in self.needs if not getattr(material, part).strip()]

    def render(self, material: Material) -> Prompt:
        """The messages for one call; every judged text stands between lines with a fresh random fence."""
        parts: dict[str, str] = {part: presentable(getattr(material, part)) for part in self.needs}
        schema = json.dumps(self.json_schema)
        values: dict[str, Any] = {"scale": self.scale, "schema": schema, "fence": fence(parts.values()), **parts}
        return Prompt(_fill(self.system, values), _fill(self.prompt, values))

    @model_validator(mode="after")
    def _templates_work(self) -> Self:
        try:
            self.render(Material("question", "answer", "context"))
        except TemplateError as error:
            raise ValueError(f"template: {error}; it may use scale, schema, fence, {', '.join(self.needs)}") from error
        return self


def load(name: str) -> Rubric:
    """A built-in rubric by name, or one of your own by the path of its YAML file.

    Raises:
        ConfigError: there is no such rubric, or it lists what is wrong in the file.
    """
    source = files(__package__) / "rubrics" / f"{name}.yaml" if name in BUILT_IN else Path(name)
    try:
        return Rubric.model_validate(yaml.safe_load(source.read_text()))
    except OSError as error:
        known = f"a path to a YAML file or one of {', '.join(BUILT_IN)}"
        raise ConfigError(f"rubric {name}", [f"cannot be read ({error.strerror}); a rubric is {known}"]) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"rubric {name}", [f"is not YAML: {error}"]) from error
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, each['loc'])) or '(top)'}: {each['msg']}" for each in error.errors()]
        raise ConfigError(f"rubric {name}", problems) from error


def _fill(template: str, values: dict[str, Any]) -> str:
    return _compiled(template).render(values).strip()


@lru_cache(maxsize=64)
def _compiled(template: str) -> Template:
    return _SANDBOX.from_string(template)
