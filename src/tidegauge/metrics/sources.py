"""The tables behind the metrics and the names by which each may be divided."""

from __future__ import annotations

from tidegauge.metrics.model import Source

_CALL = {name: name for name in ("service", "kind", "name", "model", "prompt_version", "tenant", "intent")}
_MORE = ("provider", "role", "prompt_name", "session", "error_type", "finish_reason")
_RAW_CALL = _CALL | {name: name for name in _MORE}

CALLS_1M = Source("llm_calls_1m", "llm_calls_1m", "minute", _CALL, minutes=True, merge="Merge")
CALLS = Source(
    "llm_calls",
    f"""(SELECT timestamp, {", ".join(_RAW_CALL)}, slices, versions, duration_s, time_to_first_token_s, cost_usd,
         input_tokens, output_tokens, cache_read_tokens, toUInt64(1) AS calls, toUInt64(error_type != '') AS errors,
         toUInt64(refused) AS refusals, toUInt64(blocked) AS blocks FROM llm_facts)""",  # noqa: S608 - constants
    "timestamp",
    _RAW_CALL,
    {"slice": "slices", "version": "versions"},
)
PREDICTIONS = Source(
    "predictions",
    "(SELECT * FROM predictions WHERE role != 'training')",
    "timestamp",
    {name: name for name in ("service", "model", "version", "role", "session")} | {"prediction": "value"},
    {"slice": "slices", "version": "versions"},
)
_SPAN = "start = {start:DateTime64(6)}, end = {end:DateTime64(6)}"
_ATTEMPT = "timestamp, service, model, version, role, session, slices, versions"
ATTEMPTS = Source(
    "attempts",
    f"""(SELECT {_ATTEMPT}, '' AS error_type, 0 AS failed FROM predictions
         WHERE role != 'training' AND timestamp >= {{start:DateTime64(6)}} AND timestamp < {{end:DateTime64(6)}}
       UNION ALL SELECT {_ATTEMPT}, error_type, 1 AS failed FROM prediction_errors({_SPAN}))""",  # noqa: S608 - constants
    "",
    {name: name for name in ("service", "model", "version", "role", "session")},
    {"slice": "slices", "version": "versions"},
)
LABELLED = Source(
    "labelled",
    f"labelled({_SPAN}, known_by = {{end:DateTime64(6)}}, model = '')",
    "timestamp",
    {"model": "model", "version": "version", "prediction": "value", "label": "label"},
    {"slice": "slices"},
)
LABELLING = Source(
    "labelling",
    """(SELECT timestamp, model, version, role, slices, (model, prediction_id) IN (
           SELECT model, prediction_id FROM labels
           WHERE timestamp >= {start:DateTime64(6)} AND timestamp < {end:DateTime64(6)}) AS known
         FROM predictions WHERE role != 'training' AND prediction_id != ''
           AND timestamp >= {start:DateTime64(6)} AND timestamp < {end:DateTime64(6)})""",
    "",
    {name: name for name in ("model", "version", "role")},
    {"slice": "slices"},
)
SCORES = Source(
    "scores",
    "scores",
    "timestamp",
    {name: name for name in ("name", "rubric", "judge", "stratum", "label")},
    {"slice": "slices"},
)
FEEDBACK = Source("feedback", f"last_feedback({_SPAN})", "timestamp", {"service": "service", "kind": "kind"})
OUTCOMES = Source("outcomes", f"last_outcomes({_SPAN})", "timestamp", {"service": "service", "name": "name"})
_CONVERTED = """IN (SELECT {column} FROM outcomes WHERE name = 'conversion' AND value > 0 AND {column} != ''
           AND timestamp >= {{start:DateTime64(6)}} AND timestamp < {{end:DateTime64(6)}})"""
CONVERSIONS = Source(
    "conversions",
    f"""(SELECT service, model, version, slices, prediction_id {_CONVERTED.format(column="prediction_id")}
           OR trace_id {_CONVERTED.format(column="trace_id")} AS converted
         FROM predictions WHERE role != 'training' AND timestamp >= {{start:DateTime64(6)}}
           AND timestamp < {{end:DateTime64(6)}})""",  # noqa: S608 - constants
    "",
    {name: name for name in ("service", "model", "version")},
    {"slice": "slices"},
)
_SEEN = "timestamp < {end:DateTime64(6)} AND trace_id != '' AND isNotNull(score)"
AGREEMENT = Source(
    "agreement",
    f"""(SELECT s.*, f.thumbs FROM (
         SELECT DISTINCT timestamp, trace_id, name, rubric, judge, slices, score FROM scores
         WHERE timestamp >= {{start:DateTime64(6)}} AND {_SEEN}) AS s
       INNER JOIN (SELECT trace_id, argMax(score, (timestamp, stored_at)) AS thumbs FROM feedback
         WHERE kind = 'thumbs' AND timestamp >= {{start:DateTime64(6)}} - toIntervalDay(7) AND {_SEEN}
         GROUP BY trace_id) AS f ON s.trace_id = f.trace_id)""",  # noqa: S608 - constants
    "",
    {name: name for name in ("name", "rubric", "judge")},
    {"slice": "slices"},
)
_ONE = "PARTITION BY ResourceAttributes['service.instance.id'], toString(Attributes) ORDER BY TimeUnix"
MASKED = Source(
    "masked",
    f"""(SELECT * FROM (SELECT TimeUnix, Attributes['rule'] AS rule, Attributes['signal'] AS signal, Value AS now,
         lagInFrame(Value, 1, if(StartTimeUnix >= {{start:DateTime64(6)}}, 0., Value)) OVER
           ({_ONE} ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS before, if(now < before, now, now - before) AS grown
         FROM otel_metrics_sum WHERE MetricName = 'tidegauge_masked_total' AND ServiceName = 'tidegauge'
           AND TimeUnix >= {{start:DateTime64(6)}} - toIntervalMinute(5) AND TimeUnix < {{end:DateTime64(6)}})
       WHERE TimeUnix >= {{start:DateTime64(6)}})""",  # noqa: S608 - constants
    "",
    {name: name for name in ("rule", "signal")},
)
"""How much each counter grew: one that fell was restarted, one that began within the window began at 0."""
INGEST = Source("ingest_1m", "ingest_1m", "minute", {"service": "service", "kind": "kind"}, minutes=True)
DELAYS = Source("ingest_delay_1m", "ingest_delay_1m", "minute", {"service": "service", "kind": "kind"}, minutes=True)
SDK_LOSSES = Source("sdk_losses", "sdk_losses", "timestamp", {name: name for name in ("service", "outcome", "reason")})
CAPPED = Source(
    "capped_now",
    "(SELECT * FROM capped_now WHERE rollup != '' AND value = '')",
    "",
    {name: name for name in ("rollup", "owner", "dimension")},
)
SCHEMA_CHANGES = Source(
    "schema_changes",
    "schema_changes",
    "first_seen",
    {name: name for name in ("model", "version", "feature", "change")},
)
_TOPICS = "extract(reason, '(?:grew|shrank): .*[0-9] %[)]')"
_LATEST = f"argMax((verdict, effect, effect_floor, p_adjusted, since, {_TOPICS}), (window_end, evaluated_at)) AS latest"
PART = """multiIf(dimension = '', 'all',
  position(dimension, ' & ') = 0 OR position(slice, ' & ') = 0, concat(dimension, '=', slice),
  replaceAll(concat(
    splitByString(' & ', dimension)[1], '=', splitByString(' & ', slice)[1], ' & ',
    splitByString(' & ', dimension)[2], '=', splitByString(' & ', slice)[2]), '&&', '&'))"""
"""SQL of the part of the traffic that a finding is about, as ``tidegauge.model.Slice`` writes it."""
_TEST = ("subject", "feature", "detector", "dimension", "slice", "reference")
KIND = "if(detector IN ('missing', 'non_finite', 'sequential_missing'), 'missing', 'drift')"
"""SQL of what a finding is of: values that are not there, which come with every gap in a record, or anything else."""
FINDINGS = Source(
    "findings",
    f"""(SELECT {", ".join(_TEST)}, {_LATEST}
         FROM findings WHERE detector != 'diagnosis'
           AND window_end > {{start:DateTime64(6)}} AND window_end <= {{end:DateTime64(6)}}
         GROUP BY {", ".join(_TEST)})""",  # noqa: S608 - constants
    "",
    {name: name for name in _TEST} | {"kind": KIND},
)
_CAUSE = ("subject", "feature", "dimension", "slice", "kind")
CAUSES = Source(
    "findings",
    f"""(SELECT subject, feature, dimension, slice,
           if(JSONExtractString(evidence, 'cause') = 'missing', 'missing', 'drift') AS kind,
           argMax((verdict, effect, reason), (window_end, evaluated_at)) AS latest
         FROM findings WHERE detector = 'diagnosis' AND feature != '*'
           AND window_end > {{start:DateTime64(6)}} AND window_end <= {{end:DateTime64(6)}}
         GROUP BY {", ".join(_CAUSE)})""",  # noqa: S608 - constants
    "",
    {name: name for name in _CAUSE},
)
"""Causes that the daily diagnosis told of, or saw on one day only."""
MARKS = Source(
    "alert_responses",
    """(SELECT rule, fingerprint, fired_at, argMax(action, written_at) = 'true' AS right FROM alert_responses
       WHERE action IN ('true', 'false') GROUP BY rule, fingerprint, fired_at)""",
    "fired_at",
    {"rule": "rule"},
)
RECONCILIATION = Source(
    "reconciliation",
    """(SELECT signal, topic, argMax(gap_records, checked_at) AS gap, argMax(in_flight, checked_at) AS waiting,
         argMax(lag_s, checked_at) AS lag, argMax(details, checked_at) AS what FROM reconciliation
       WHERE checked_at >= {start:DateTime64(6)} AND checked_at < {end:DateTime64(6)}
       GROUP BY signal, topic, partition)""",
    "",
    {"signal": "signal", "topic": "topic"},
)
_MEASURED = ("model", "metric", "dimension", "slice")
PERFORMANCE = Source(
    "performance",
    f"""(SELECT {", ".join(_MEASURED)}, kind,
         argMax((value, low, high, n, note, estimated, window_end), (window_end, evaluated_at)) AS latest
         FROM performance WHERE stage = 'final' AND isNotNull(value)
           AND evaluated_at > {{start:DateTime64(6)}} AND evaluated_at <= {{end:DateTime64(6)}}
         GROUP BY {", ".join(_MEASURED)}, kind)""",  # noqa: S608 - constants
    "",
    {name: name for name in _MEASURED},
)
