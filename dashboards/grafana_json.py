"""Our boards as Grafana dashboards, for the official ClickHouse data source (grafana-clickhouse-datasource 4.x)."""

# ruff: noqa: S608 - the pieces are constants of this folder; every value is a bound parameter

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tidegauge.dashboards.panels import COLUMNS, PARAMETER, Board, Kind, Panel, Unit, Variable

SCHEMA_VERSION = 42
PLUGIN = "grafana-clickhouse-datasource"
PLUGIN_VERSION = "4.15.0"
TIME_SERIES, TABLE = 0, 1  # the plugin's result formats
MACROS = {"start": "$__fromTime_ms", "end": "$__toTime_ms", "step": "$__interval_s"}
UNITS = {
    Unit.COUNT: "short",
    Unit.RATE: "cps",
    Unit.SHARE: "percentunit",
    Unit.SECONDS: "s",
    Unit.USD: "currencyUSD",
    Unit.TOKENS: "short",
    Unit.NUMBER: "none",
    Unit.NONE: "none",
}
TYPES = {
    Kind.TIMESERIES: "timeseries",
    Kind.STAT: "stat",
    Kind.TABLE: "table",
    Kind.BAR: "barchart",
    Kind.HEATMAP: "status-history",
}
HEIGHTS = {Kind.STAT: 4, Kind.HEATMAP: 10}

Json = dict[str, Any]


def dashboard(board: Board, datasource_uid: str) -> Json:
    """``board`` as the JSON model that Grafana imports, provisions and shows."""
    source = {"type": PLUGIN, "uid": datasource_uid}
    return {
        "uid": board.uid,
        "title": f"Tidegauge: {board.title}",
        "description": board.description,
        "tags": ["tidegauge"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        "graphTooltip": 1,
        "timezone": "utc",
        "refresh": "",
        "time": {"from": f"now-{board.hours}h", "to": "now"},
        "links": [
            {"type": "dashboards", "title": "Tidegauge", "tags": ["tidegauge"], "asDropdown": True, "keepTime": True}
        ],
        "annotations": {"list": [_deployments(source)]},
        "templating": {"list": [_variable(each, source) for each in board.variables]},
        "panels": list(_panels(board, source)),
    }


def grafana_sql(sql: str) -> str:
    """``sql`` with Grafana's macros for times and its template variables for the rest.

    Grafana cannot bind parameters. Its ``sqlstring`` format doubles quotes but leaves backslashes alone, which
    ClickHouse reads as escapes: a value that ends in one would close the text. Percent-encoding leaves nothing that
    could: ClickHouse decodes it back.

    >>> grafana_sql("SELECT {step:UInt32} WHERE {name:String} = ''")
    "SELECT $__interval_s WHERE decodeURLComponent('${name:percentencode}') = ''"
    """
    return PARAMETER.sub(
        lambda match: MACROS.get(match[1], f"decodeURLComponent('${{{match[1]}:percentencode}}')"), sql
    )


def _panels(board: Board, source: Json) -> Iterator[Json]:
    x = y = row_height = 0
    for number, panel in enumerate(board.panels, 1):
        height = HEIGHTS.get(panel.kind, 8)
        if x + panel.width > COLUMNS:
            x, y, row_height = 0, y + row_height, 0
        yield _panel(panel, number, {"x": x, "y": y, "w": panel.width, "h": height}, source)
        x, row_height = x + panel.width, max(row_height, height)


def _panel(panel: Panel, number: int, place: Json, source: Json) -> Json:
    shape = TIME_SERIES if panel.kind in (Kind.TIMESERIES, Kind.HEATMAP) else TABLE
    target = {
        "refId": "A",
        "datasource": source,
        "editorType": "sql",
        "queryType": "timeseries" if shape == TIME_SERIES else "table",
        "format": shape,
        "pluginVersion": PLUGIN_VERSION,
        "rawSql": grafana_sql(panel.sql),
    }
    return {
        "id": number,
        "type": TYPES[panel.kind],
        "title": panel.title,
        "description": panel.description,
        "datasource": source,
        "gridPos": place,
        "interval": f"{panel.min_step_s}s",
        "maxDataPoints": 150,
        "targets": [target],
        "fieldConfig": {"defaults": _field(panel), "overrides": _overrides(panel)},
        "options": _options(panel),
    }


def _field(panel: Panel) -> Json:
    field: Json = {"unit": UNITS[panel.unit], "noValue": "no data"}
    if panel.kind is Kind.TIMESERIES:
        field["custom"] = {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 25 if panel.stacked else 0,
            "showPoints": "auto",
            "spanNulls": False,
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        }
    if panel.kind is Kind.HEATMAP:
        field |= {"color": {"mode": "continuous-BlYlRd"}, "min": 0, "max": 3, "decimals": 1}
    if panel.kind is Kind.TABLE:
        field = {"noValue": "no rows", "custom": {"filterable": True}}
    return field


def _overrides(panel: Panel) -> list[Json]:
    if panel.kind is Kind.TIMESERIES and " AS low" in panel.sql:
        thin = [
            {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [4, 6]}},
            {"id": "custom.hideFrom", "value": {"legend": True, "tooltip": False, "viz": False}},
        ]
        return [{"matcher": {"id": "byRegexp", "options": "/^(low|high)\\b/"}, "properties": thin}]
    return []


def _options(panel: Panel) -> Json:
    match panel.kind:
        case Kind.TIMESERIES:
            return {
                "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
                "tooltip": {"mode": "multi", "sort": "desc"},
            }
        case Kind.STAT:
            return {
                "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
                "colorMode": "none",
                "graphMode": "none",
            }
        case Kind.BAR:
            return {"orientation": "auto", "showValue": "auto", "legend": {"showLegend": False}}
        case Kind.HEATMAP:
            return {"showValue": "auto", "rowHeight": 0.9, "legend": {"showLegend": False}}
        case _:
            return {"showHeader": True, "cellHeight": "sm"}


def _variable(variable: Variable, source: Json) -> Json:
    sql = (
        "SELECT value, text FROM (SELECT '' AS value, 'All' AS text, 0 AS place UNION ALL "
        f"SELECT option, option, 1 FROM ({grafana_sql(variable.sql)})) ORDER BY place, text"
    )
    return {
        "name": variable.name,
        "label": variable.label,
        "type": "query",
        "datasource": source,
        "query": sql,
        "definition": sql,
        "refresh": 2,
        "sort": 0,
        "multi": False,
        "includeAll": False,
        "hide": 0,
        "current": {"text": "All", "value": ""},
        "options": [],
    }


def _deployments(source: Json) -> Json:
    sql = f"""SELECT timestamp AS time, concat(subject, ' ', version, ' ', role) AS text FROM deployments
WHERE timestamp >= {MACROS["start"]} AND timestamp < {MACROS["end"]} ORDER BY time"""
    target = {"refId": "Deployments", "editorType": "sql", "queryType": "table", "format": TABLE, "rawSql": sql}
    return {
        "name": "Deployments",
        "datasource": source,
        "enable": True,
        "hide": False,
        "iconColor": "purple",
        "target": target,
    }
