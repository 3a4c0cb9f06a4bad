"""Which frames have been delivered, in a file of this machine, so that a load can be stopped and run again."""

from __future__ import annotations

import os
from pathlib import Path

from tidegauge.errors import ConfigError


def default_path() -> Path:
    """``$XDG_STATE_HOME/tidegauge/loaded``, by default below ``~/.local/state``."""
    return Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser() / "tidegauge" / "loaded"


class Journal:
    """One line for each delivered frame; each is on disk before the next one is counted as delivered.

    Args:
        path: Where it is kept; None keeps it in memory alone.

    Raises:
        ConfigError: the file cannot be read or written.
    """

    def __init__(self, path: Path | None) -> None:
        self._known: set[str] = set()
        self._file = None
        if path is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+")
            self._file.seek(0)
            self._known = set(self._file.read().split())
        except (OSError, ValueError) as error:
            problem = f"the journal {path}: {error}; name another with --journal"
            raise ConfigError("tidegauge load", [problem]) from error

    def __contains__(self, key: str) -> bool:
        return key in self._known

    def add(self, key: str) -> None:
        """Note that the frame ``key`` is durable."""
        self._known.add(key)
        if self._file is not None:
            self._file.write(f"{key}\n")
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
