"""Hooks: what is proposed when an alert stays open, decided by people, and called once they have agreed."""

from __future__ import annotations

from collections.abc import Sequence

from tidegauge.addresses import Refused
from tidegauge.alerting.hooks.caller import HookCaller, receiver_name
from tidegauge.alerting.hooks.proposing import Hooks
from tidegauge.alerting.http import Poster
from tidegauge.config import Alerting
from tidegauge.errors import ConfigError
from tidegauge.store import Store

__all__ = ["HookCaller", "Hooks", "callers", "receiver_name"]


def callers(settings: Alerting, store: Store) -> Sequence[HookCaller]:
    """Who calls each configured hook.

    Raises:
        ConfigError: lists every hook whose address is refused, that tells nobody who could hear it, or stands twice.
    """
    built: list[HookCaller] = []
    kinds = {each.name: each.kind for each in settings.receivers}
    names = [each.name for each in settings.hooks]
    problems = [f"hooks: the name {name!r} stands twice" for name in dict.fromkeys(names) if names.count(name) > 1]
    for i, hook in enumerate(settings.hooks):
        problems += [
            f"hooks.{i + 1} ({hook.name}): tell: {name!r} is no receiver that a proposal can go to"
            for name in hook.tell
            if kinds.get(name, "") in ("", "pagerduty", "alertmanager")
        ]
        try:
            url, internal = hook.url.get_secret_value(), settings.allow_internal_addresses
            poster = Poster(url, settings.timeout_s, allow_internal=internal)
            built.append(HookCaller(hook.name, poster, hook.secret.get_secret_value(), store))
        except Refused as error:
            problems.append(f"hooks.{i + 1} ({hook.name}): url {error}")
    if problems:
        raise ConfigError("alerting", problems)
    return built
