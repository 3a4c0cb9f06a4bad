"""What the boards over LLM calls share: their variables and their filters."""

from __future__ import annotations

from tidegauge.dashboards.panels import Variable, matching, options, within

SERVICE = Variable("service", "Service", options("service", "llm_calls_1m", "minute"))
MODEL = Variable("model", "Model", options("model", "llm_calls_1m", "minute"))
PROMPT_VERSION = Variable("prompt_version", "Prompt version", options("prompt_version", "llm_calls_1m", "minute"))
TENANT = Variable("tenant", "Tenant", options("tenant", "llm_calls_1m", "minute"))
INTENT = Variable("intent", "Intent", options("intent", "llm_calls_1m", "minute"))
VARIABLES = (SERVICE, MODEL, PROMPT_VERSION, TENANT, INTENT)

CHOSEN = matching(*(each.name for each in VARIABLES))
LLM_MINUTES = f"FROM llm_calls_1m WHERE kind = 'llm' AND {within('minute')} AND {CHOSEN}"
LLM_CALLS = f"FROM llm_facts WHERE kind = 'llm' AND {within('timestamp')} AND {CHOSEN}"
SLICES = matching("service", "tenant", "intent")


def named(column: str) -> str:
    """SQL: ``column`` as the name of a series, legible when it is empty.

    >>> named("model")
    "if(model = '', '(none)', model)"
    """
    return f"if({column} = '', '(none)', {column})"
