"""YAML that remembers its lines, so that a problem can be shown where it stands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

MAX_BYTES = 4 * 2**20


@dataclass(frozen=True)
class Document:
    """One parsed file: plain data, and the tree that knows the lines."""

    path: Path
    data: Any
    root: yaml.Node

    @classmethod
    def read(cls, path: Path, problems: list[str]) -> Document | None:
        """Read ``path``; what is wrong with it is added to ``problems``, and then the answer is None."""
        try:
            return cls.parse(path, path.read_bytes()[: MAX_BYTES + 1], problems)
        except OSError as error:
            problems.append(f"{path}: cannot be read: {error.strerror}")
        return None

    @classmethod
    def parse(cls, path: Path, content: bytes, problems: list[str]) -> Document | None:
        """Read ``content`` as if it stood in ``path``."""
        if len(content) > MAX_BYTES:
            problems.append(f"{path}: is larger than {MAX_BYTES} bytes")
            return None
        try:
            loader = yaml.SafeLoader(content)
            root = loader.get_single_node()
            if root is None:
                problems.append(f"{path}: is empty")
                return None
            if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(content, yaml.SafeLoader)):
                problems.append(f"{path}: must not use aliases (*name)")
                return None
            double = [f"{path}:{line}: the key {key!r} stands there twice" for key, line in _double_keys(root)]
            problems.extend(double)
            return None if double else cls(path, loader.construct_document(root), root)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            mark = getattr(error, "problem_mark", None)
            place = f"{path}:{mark.line + 1}" if mark else str(path)
            problems.append(f"{place}: is not YAML: {getattr(error, 'problem', None) or error}")
            return None

    def line(self, where: Sequence[str | int]) -> int:
        """The line, from 1, of the deepest part of ``where`` that exists."""
        node, line = self.root, self.root.start_mark.line
        for step in where:
            found = _child(node, step)
            if found is None:
                break
            line, node = found
        return line + 1


def _child(node: yaml.Node, step: str | int) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == step:
                return key.start_mark.line, value
    elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step].start_mark.line, node.value[step]
    return None


def _double_keys(node: yaml.Node) -> Iterator[tuple[str, int]]:
    children = node.value if isinstance(node, yaml.SequenceNode) else []
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if str(key.value) in seen:
                yield str(key.value), key.start_mark.line + 1
            seen.add(str(key.value))
            children = [*children, value]
    for child in children:
        yield from _double_keys(child)
