"""The route that an ASGI request took, as a template: no value of a parameter is in it."""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
PARAMETER = re.compile(r"\{(\w+)(?::(\w+))?\}")
OF_ONE_PART = {"", "str", "int", "float", "uuid"}  # converters whose values hold no slash
WHOLE = 2  # starlette.routing.Match.FULL; Starlette itself need not be installed


def template(scope: Scope) -> str:
    """What OpenTelemetry calls ``http.route``: the application's root, the mounts and the route that were matched.

    Args:
        scope: As the application left it. Starlette and FastAPI put the innermost match under ``route``, without what
            stands before it: mounts, and in newer versions of FastAPI the prefix of an included router.

    Returns:
        Empty where nothing matched or the framework does not say. The innermost route alone where it cannot be told
        which parts of the path before it are parameters.
    """
    route, path = scope.get("route"), getattr(scope.get("route"), "path", None)
    if not isinstance(path, str):
        return ""
    mounted = str(scope.get("root_path", "")).rstrip("/")
    root = str(scope.get("app_root_path", mounted)).rstrip("/")
    mounts = _mounts(scope, root, mounted)
    if mounts is None:
        return path
    if _leads_on(route):
        return root + mounts
    known = {name for name, _ in PARAMETER.findall(mounts + path)}
    if "path_params" not in scope:
        return root + mounts + path
    others = {name: str(value) for name, value in scope["path_params"].items() if name not in known}
    return root + mounts + _included(_below(scope["path"], mounted), path, others) + path


def _mounts(scope: Scope, root: str, mounted: str) -> str | None:
    """The templates of the mounts on the way, matched again as the routers did; None where that leads elsewhere."""
    seen: dict[str, Any] = {**scope, "root_path": root, "path_params": {}}
    routes, found = getattr(scope.get("router"), "routes", ()), ""
    while seen["root_path"] != mounted:
        tried = ((each, *each.matches(seen)) for each in routes)
        mount, _, child = next((each for each in tried if each[1].value == WHOLE), (None, None, {}))
        if not _leads_on(mount):
            return None
        found += getattr(mount, "path", "")
        seen.update(child)
        routes = mount.routes
    return found


def _leads_on(route: Any) -> bool:
    """Whether other routes, or anything at all, lie behind it."""
    return getattr(route, "routes", None) is not None


def _below(path: str, root: str) -> str:
    return path[len(root) :] if path.startswith(root) else path


def _included(rest: str, path: str, others: Mapping[str, str]) -> str:
    """What of ``rest`` stands before the route ``path``, its parameters by name; empty where one cannot be found."""
    if not {converter for _, converter in PARAMETER.findall(path)} <= OF_ONE_PART:
        return ""
    parts = rest.rsplit("/", path.count("/"))[0].split("/")
    if not set(others.values()) <= set(parts):
        return ""
    names = {value: f"{{{name}}}" for name, value in others.items()}
    return "/".join(names.get(part, part) for part in parts)
