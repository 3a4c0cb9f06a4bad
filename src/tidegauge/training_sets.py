"""The training sets that models are compared with: rows logged with role=training, by the name they came under."""

from __future__ import annotations

from typing import Any

from tidegauge.store import Store

LISTED = """SELECT model, versions['reference'] AS name, count() AS rows,
  min(timestamp) AS first, max(timestamp) AS last, min(stored_at) AS loaded_at,
  length(groupUniqArrayArray(arrayMap(each -> toString(each), mapKeys(features)))) AS numbers,
  length(groupUniqArrayArray(arrayMap(each -> toString(each), mapKeys(categories)))) AS texts
FROM predictions WHERE role = 'training' GROUP BY model, name
ORDER BY model, (name = '') ASC, loaded_at DESC, name DESC"""


def listed(store: Store) -> list[dict[str, Any]]:
    """Of each model its sets, the one that a watch takes by default first: the newest that has a name, else all rows.

    Each has ``model``, ``name``, ``rows``, ``first`` and ``last`` (times of the rows), ``loaded_at``, ``numbers`` and
    ``texts`` (how many features of the two kinds), and ``newest``, whether it is that default.
    """
    found = store.rows(LISTED)
    before = [None, *(row["model"] for row in found)]
    return [
        row
        | {name: row[name].isoformat() for name in ("first", "last", "loaded_at")}
        | {"newest": row["model"] != last}
        for row, last in zip(found, before, strict=False)
    ]
