"""Runbooks as pages: Markdown files, read when they are asked for."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from markdown_it import MarkdownIt
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from tidegauge.dashboards.page.views import render

BUILT_IN = Path(str(files("tidegauge") / "runbooks"))
"""Those of the starter rules."""
MAX_BYTES = 256 * 1024


def index(request: Request) -> Response:
    """All runbooks by name."""
    names = {name: _title(path) for name, path in sorted(_files(request).items())}
    return render(request, "runbooks.html", None, names=names)


def page(request: Request) -> Response:
    """One runbook."""
    path = _files(request).get(request.path_params["name"])
    if path is None:
        raise HTTPException(404, "There is no such runbook; page.runbooks may name a folder of your own.")
    first, _, rest = _text(path).lstrip().partition("\n")
    body = rest if first.startswith("# ") else f"{first}\n{rest}"
    return render(request, "runbook.html", None, title=_title(path), body=markdown(body))


def markdown(text: str) -> str:
    """``text`` as HTML; HTML in it is shown as text, and only links that may be followed are links.

    >>> markdown("# A <b>\\n[x](javascript:alert)")
    '<h1>A &lt;b&gt;</h1>\\n<p>[x](javascript:alert)</p>\\n'
    """
    return str(MarkdownIt("commonmark", {"html": False}).enable("table").render(text))


def _files(request: Request) -> dict[str, Path]:
    """Name -> file; one of the configured folder hides a built-in one."""
    own: Path | None = request.app.state.settings.page.runbooks
    return {path.stem: path for folder in (BUILT_IN, own) if folder for path in folder.glob("*.md")}


def _title(path: Path) -> str:
    first = _text(path).lstrip().partition("\n")[0]
    return first.removeprefix("#").strip() or path.stem


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES).decode(errors="replace")
    except OSError as error:
        raise HTTPException(404, f"The runbook cannot be read: {error.strerror}") from error
