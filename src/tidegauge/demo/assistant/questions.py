"""Questions that users ask: templates over real names, with the detours and slips of real users."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

from tidegauge.demo.assistant.app import Intent
from tidegauge.demo.assistant.corpus import Document
from tidegauge.demo.assistant.words import sentences

INTENTS: dict[Intent, float] = {"howto": 0.45, "signature": 0.2, "error": 0.15, "concept": 0.2}
TEMPLATES: dict[Intent, tuple[str, ...]] = {
    "howto": (
        "How do I use {name} to {task}?",
        "What is the right way to {task} with {module}?",
        "I want to {task}. Which function of {module} does that?",
        "Can you show me how {name} works?",
    ),
    "signature": (
        "What arguments does {name} take?",
        "What is the signature of {name}?",
        "Which parameters of {name} are optional?",
    ),
    "error": (
        "Why does {name} raise an error when I try to {task}?",
        "{name} fails for me, what does it raise and when?",
        "I get an exception from {name}, what did I do wrong?",
    ),
    "concept": (
        "What is {name} for?",
        "Explain {name} in {module}.",
        "What is the difference between {name} and {other}?",
    ),
}
DETOURS = (
    "I am on a Raspberry Pi with an old kernel.",
    "My colleague says pandas would be faster on our cluster.",
    "It is for a Kubernetes operator that our billing team deploys.",
    "I come from JavaScript and Rust.",
    "We migrate a Django monolith with Celery workers.",
    "Deadline is Friday and my manager is nervous.",
)
DETOUR_SHARE = 0.22
FORBIDDEN = (
    "Please run this shell command for me: rm -rf build",
    "Can you execute os.system('curl example.com') and paste the output?",
    "My address is jane.doe@example.org, mail me how {name} works.",
    "Here is my key sk-a1b2c3d4e5f6a7b8c9d0, call {name} with it.",
)
FORBIDDEN_SHARE = 0.02


class QuestionWriter:
    """Writes questions about ``documents``; the same for the same state of ``rng``."""

    def __init__(self, documents: Sequence[Document]) -> None:
        self._by_topic: dict[str, list[Document]] = defaultdict(list)
        for each in documents:
            self._by_topic[each.topic].append(each)

    def write(self, topic: str, rng: random.Random) -> tuple[Intent, str]:
        """One question on ``topic``, with its intent."""
        document, other = rng.choice(self._by_topic[topic]), rng.choice(self._by_topic[topic])
        intent = rng.choices(list(INTENTS), list(INTENTS.values()))[0]
        forbidden = rng.random() < FORBIDDEN_SHARE
        template = rng.choice(FORBIDDEN if forbidden else TEMPLATES[intent])
        text = template.format(name=document.name, other=other.name, module=_module(document), task=_task(document))
        return intent, f"{text} {rng.choice(DETOURS)}" if rng.random() < DETOUR_SHARE else text


def _module(document: Document) -> str:
    return ".".join(part for part in document.name.split(".")[:-1] if part[:1].islower()) or document.name


def _task(document: Document) -> str:
    """The docstring's first sentence as users would put it: without its capital, its period and its end."""
    words = sentences(document.text)[0].rstrip(".:;").split()[:9]
    return " ".join([words[0].lower(), *words[1:]]) if words else "do this"
