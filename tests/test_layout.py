"""The shape of the source tree, held over its syntax trees."""

from __future__ import annotations

import ast
import re
import statistics
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import files, packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SPINE = ROOT / "src" / "tidegauge"
FOLDERS = ("alerting", "collectors", "dashboards", "detectors", "judges")
WIRING = {"__init__", "__main__", "app", "cli", "demo"}  # and the commands in files of their own: cli_*
RUN_BY_OTHERS = {
    "chdb": "clickhouse-connect's embedded interface loads it",
    "crc32c": "kafka-python takes it for checksums, several times faster than its own",
    "httptools": "uvicorn takes it to read HTTP; the receiver's connections are made of it",
    "lz4": "kafka-python takes it for compressed batches",
    "zstandard": "kafka-python takes it for compressed batches",
}
MEDIAN_LINES, NINETY_PERCENT_LINES = 140, 320


def modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def spine_modules() -> list[Path]:
    below = (each.relative_to(SPINE) for each in SPINE.rglob("*.py"))
    return sorted(SPINE / each for each in below if each.parts[0] not in FOLDERS)


def imported_names(module: Path) -> Iterator[str]:
    """The dotted names that ``module`` imports anywhere in it; a relative import shows as ``.name``."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            yield from (f"{base}.{each.name}" for each in node.names)


def imported_folders(module: Path) -> set[str]:
    parts = (name.split(".") for name in imported_names(module))
    return {each[1] for each in parts if each[0] == "tidegauge" and len(each) > 1} & set(FOLDERS)


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_imports_the_spine_and_never_another_folder(folder: str) -> None:
    strangers = {str(each.relative_to(ROOT)): imported_folders(each) - {folder} for each in modules(folder)}
    assert {name: found for name, found in strangers.items() if found} == {}


def _part(module: Path) -> str:
    """What a module of the spine belongs to: ``cli`` for every file of commands."""
    return re.sub(r"^cli_.*", "cli", module.relative_to(SPINE).with_suffix("").parts[0])


def test_of_the_spine_only_the_wiring_imports_the_folders() -> None:
    library = [each for each in spine_modules() if _part(each) not in WIRING]
    found = {str(each.relative_to(ROOT)): imported_folders(each) for each in library}
    assert {name: folders for name, folders in found.items() if folders} == {}


def test_nothing_imports_a_folder_by_its_bare_name_or_relatively() -> None:
    everywhere = [*spine_modules(), *(each for folder in (*FOLDERS, "tests", "benchmarks") for each in modules(folder))]
    bare = {
        f"{each.relative_to(ROOT)}: {name}"
        for each in everywhere
        for name in imported_names(each)
        if name.split(".")[0] in {*FOLDERS, ""}
    }
    assert bare == set()


def test_each_folder_is_linked_into_the_package_for_development() -> None:
    assert {name: (SPINE / name).resolve() for name in FOLDERS} == {name: ROOT / name for name in FOLDERS}


@pytest.mark.parametrize("folder", ["tests", "docker"])
def test_a_folder_that_is_no_package_has_no_init_file(folder: str) -> None:
    assert list((ROOT / folder).rglob("__init__.py")) == []


def test_every_dependency_is_imported_somewhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {_normal(re.split(r"[<>=!~\[; ]", each)[0]) for each in project["dependencies"]}
    assert wanted - _imported_distributions() - RUN_BY_OTHERS.keys() == set()


def _imported_distributions() -> set[str]:
    """The distributions behind every import; of a namespace package, only those that own the imported part of it."""
    code = [*spine_modules(), *(each for folder in FOLDERS for each in modules(folder))]
    names = {name for each in code for name in imported_names(each)}
    owners = packages_distributions()
    return {
        _normal(owner)
        for name in names
        for owner in owners.get(name.split(".")[0], [])
        if _owns(owner, name, shared=len(set(owners[name.split(".")[0]])) > 1)
    }


def _owns(distribution: str, name: str, *, shared: bool) -> bool:
    if not shared:
        return True
    parts = name.split(".")
    starts = {"/".join(parts[:length]) for length in (len(parts), len(parts) - 1) if length > 1}
    held = {str(each).removesuffix(".py").removesuffix("/__init__") for each in files(distribution) or []}
    return bool(starts & held)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_modules_stay_small() -> None:
    code = [*spine_modules(), *(each for folder in FOLDERS for each in modules(folder))]
    sizes = {str(each.relative_to(ROOT)): each.read_text().count("\n") for each in code}
    lines = sorted(size for size in sizes.values() if size > 1)
    median, ninety = statistics.median(lines), lines[int(len(lines) * 0.9)]
    largest = sorted(sizes, key=lambda name: -sizes[name])[:5]
    report = f"{len(lines)} modules, median {median:g} lines, 90 % {ninety}; largest {[(n, sizes[n]) for n in largest]}"
    sys.stdout.write(report + "\n")
    assert median <= MEDIAN_LINES, report
    assert ninety <= NINETY_PERCENT_LINES, report
