"""Try a built wheel as a stranger would: ``python tests/check_wheel.py dist``.

Every file of the package must be in the wheel, the wheel must install into a clean environment outside the tree, the
command must answer, and every module must import there.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("collectors", "detectors", "judges", "alerting", "dashboards")
IMPORT_ALL = """
import importlib, pkgutil, tidegauge
found = pkgutil.walk_packages(tidegauge.__path__, "tidegauge.")
names = [each.name for each in found if not each.name.endswith("__main__")]
for name in names:
    importlib.import_module(name)
missing = {"tidegauge." + each for each in "collectors detectors judges alerting dashboards".split()} - set(names)
assert not missing, missing
print(f"imported {len(names)} modules from {tidegauge.__path__[0]}")
"""


def expected_files() -> set[str]:
    """The names that a complete wheel holds: every file of the spine and of the five folders."""
    spine = {each.relative_to(ROOT / "src") for each in _files(ROOT / "src/tidegauge")}
    below = {Path("tidegauge") / each.relative_to(ROOT) for folder in FOLDERS for each in _files(ROOT / folder)}
    return {str(each) for each in below | {each for each in spine if each.parts[1] not in FOLDERS}}


def _files(folder: Path) -> list[Path]:
    return [each for each in folder.rglob("*") if each.is_file() and "__pycache__" not in each.parts]


def check_contents(wheel: Path) -> str:
    """Compare the wheel's files with the tree's, and look for licence and data files."""
    with zipfile.ZipFile(wheel) as archive:
        found = set(archive.namelist())
    missing = expected_files() - found
    assert not missing, f"{wheel.name} lacks {sorted(missing)}"
    assert any(name.endswith("licenses/LICENSE") for name in found), f"{wheel.name} lacks its licence"
    data = sum(name.startswith("tidegauge/") and not name.endswith((".py", "py.typed")) for name in found)
    assert any("/migrations/" in name for name in found), f"{wheel.name} lacks the migrations"
    return f"{wheel.name}: {len(found)} files, {data} of them data, {wheel.stat().st_size / 1024:.0f} KiB"


def try_installed(wheel: Path, scratch: Path) -> None:
    """Install the wheel into a fresh environment, far from the tree, and use it there."""
    uv, bin_ = str(Path(sys.executable).parent / "uv"), scratch / "venv/bin"
    _run([uv, "venv", "--quiet", "--python", sys.executable, str(scratch / "venv")], scratch)
    _run([uv, "pip", "install", "--quiet", "--python", str(bin_ / "python"), str(wheel)], scratch)
    _run([str(bin_ / "tidegauge"), "--version"], scratch)
    _run([str(bin_ / "python"), "-I", "-c", IMPORT_ALL], scratch)


def _run(command: list[str], where: Path) -> None:
    subprocess.run(command, cwd=where, check=True)


def main(arguments: list[str]) -> None:
    wheels = list(Path(arguments[0]).resolve().glob("*.whl"))
    assert len(wheels) == 1, f"expected one wheel in {arguments[0]}, found {wheels}"
    sys.stdout.write(check_contents(wheels[0]) + "\n")
    sys.stdout.flush()
    with tempfile.TemporaryDirectory(prefix="tidegauge-wheel-") as scratch:
        try_installed(wheels[0], Path(scratch))


if __name__ == "__main__":
    main(sys.argv[1:])
