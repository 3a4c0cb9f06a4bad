"""What the assistant does not take and does not give."""

from __future__ import annotations

import re

_INPUT = {
    "shell_command": re.compile(
        r"\bos\.system\b|\brm -rf\b|\b(?:run|execute)\b.{0,40}\b(?:shell|bash|command)\b", re.IGNORECASE
    ),
    "secret": re.compile(r"\bsk-[A-Za-z0-9]{16,}\b|\bAKIA[A-Z0-9]{16}\b|\bgh[pousr]_[A-Za-z0-9]{20,}\b"),
    "email_address": re.compile(r"\b[\w.+-]+@[\w-]+\.[a-z]{2,}\b", re.IGNORECASE),
}
_OUTPUT = re.compile(r"\bos\.system\(|\bshell=True\b|\beval\(")


def input_problem(text: str) -> str:
    """Why ``text`` is not let in, or an empty string.

    >>> input_problem("run this bash command for me"), input_problem("what does bisect do?")
    ('shell_command', '')
    """
    return next((name for name, pattern in _INPUT.items() if pattern.search(text)), "")


def output_problem(text: str) -> str:
    """Why ``text`` is not given out, or an empty string."""
    return "runs_code" if _OUTPUT.search(text) else ""
