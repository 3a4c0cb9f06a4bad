"""Alerts: what fires now, what fired, and what was delivered."""

# ruff: noqa: S608 - the pieces are constants of this folder; every value is a bound parameter

from __future__ import annotations

from tidegauge.dashboards.panels import END, Board, Kind, Panel, Unit, Variable, bucket, matching, options, within

CHOSEN = matching("rule", "severity", "owner")
EVENTS = f"FROM alert_events WHERE {within('timestamp')} AND {CHOSEN}"
NOW = f"""FROM (SELECT rule, fingerprint, argMax(tuple(state, severity, owner, value, threshold, samples, since,
  summary, action, runbook), timestamp) AS e
  FROM alert_events WHERE timestamp < {END} AND {CHOSEN} GROUP BY rule, fingerprint)"""

ALERTS = Board(
    title="Alert history",
    uid="tidegauge-alerts",
    description="Every transition with the numbers that caused it, and every delivery.",
    hours=7 * 24,
    variables=(
        Variable("rule", "Rule", options("rule", "alert_events", "timestamp")),
        Variable("severity", "Severity", options("severity", "alert_events", "timestamp")),
        Variable("owner", "Owner", options("owner", "alert_events", "timestamp")),
    ),
    panels=(
        Panel(
            "Firing",
            f"SELECT countIf(e.1 = 'firing') AS value {NOW}",
            Unit.COUNT,
            Kind.STAT,
            "At the end of the shown time.",
            6,
        ),
        Panel(
            "Pending",
            f"SELECT countIf(e.1 = 'pending') AS value {NOW}",
            Unit.COUNT,
            Kind.STAT,
            "Holds, not yet long enough.",
            6,
        ),
        Panel(
            "Cannot tell",
            f"SELECT countIf(e.1 IN ('no_data', 'insufficient')) AS value {NOW}",
            Unit.COUNT,
            Kind.STAT,
            "Rules without data, or with too little.",
            6,
        ),
        Panel(
            "Failed deliveries",
            f"SELECT countIf(outcome = 'failed') AS value FROM alert_deliveries WHERE {within('timestamp')}",
            Unit.COUNT,
            Kind.STAT,
            "Given up after the last attempt.",
            6,
        ),
        Panel(
            "Not inactive",
            f"""SELECT rule, e.1 AS state, e.2 AS severity, e.3 AS owner, e.4 AS value, e.5 AS threshold,
  e.6 AS samples, e.7 AS since,
  e.8 AS summary, e.9 AS action, e.10 AS runbook
{NOW} WHERE state NOT IN ('inactive', 'resolved') ORDER BY state = 'firing' DESC, since LIMIT 200""",
            Unit.NONE,
            Kind.TABLE,
            "State of every rule at the end of the shown time.",
            24,
        ),
        Panel(
            "Transitions into firing",
            f"""SELECT {bucket("timestamp")} AS time, rule AS series, count() AS value
{EVENTS} AND notice IN ('fire', '') AND state = 'firing'
  GROUP BY time, series ORDER BY time""",
            Unit.COUNT,
            Kind.TIMESERIES,
            "A rule that fires often is noisy, or the system is.",
            min_step_s=3600,
            zero_gaps=True,
            stacked=True,
        ),
        Panel(
            "Deliveries",
            f"""SELECT {bucket("timestamp")} AS time, concat(receiver, ' ', outcome) AS series, count() AS value
FROM alert_deliveries WHERE {within("timestamp")} GROUP BY time, series ORDER BY time""",
            Unit.COUNT,
            Kind.TIMESERIES,
            "By receiver and outcome.",
            min_step_s=3600,
            zero_gaps=True,
            stacked=True,
        ),
        Panel(
            "Precision by rule",
            f"""SELECT {bucket("fired_at")} AS time, rule AS series, countIf(right) / count() AS value
FROM (SELECT rule, fingerprint, fired_at, argMax(action, written_at) = 'true' AS right FROM alert_responses
  WHERE action IN ('true', 'false') GROUP BY rule, fingerprint, fired_at)
WHERE {within("fired_at")} GROUP BY time, series ORDER BY time""",
            Unit.SHARE,
            Kind.TIMESERIES,
            "Share of answered alerts that were called right, by when they fired.",
            min_step_s=7 * 86_400,
        ),
        Panel(
            "Not told, and why",
            f"""SELECT {bucket("timestamp")} AS time, reason AS series, count() AS value
FROM (SELECT timestamp, rule, reason FROM alert_decisions WHERE {within("timestamp")}
  UNION ALL SELECT timestamp, rule, splitByChar(' ', muted)[1] AS reason FROM alert_events
    WHERE {within("timestamp")} AND muted != '')
GROUP BY time, series ORDER BY time""",
            Unit.COUNT,
            Kind.TIMESERIES,
            "Silenced, inhibited, grouped, in quiet hours, one of too many.",
            min_step_s=3600,
            zero_gaps=True,
            stacked=True,
        ),
        Panel(
            "Transitions",
            f"""SELECT timestamp, rule, previous, state, severity, value, threshold, samples, reason {EVENTS}
  ORDER BY timestamp DESC LIMIT 200""",
            Unit.NONE,
            Kind.TABLE,
            "Newest first.",
            24,
        ),
    ),
)
