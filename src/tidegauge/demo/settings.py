"""The demonstration's configuration: what somebody would write for these two streams, with free ports."""

from __future__ import annotations

import socket
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import SecretStr

from tidegauge.config import (
    Alerting,
    DailyDiagnosis,
    Detectors,
    Direct,
    Judges,
    Page,
    PagerDutyReceiver,
    Receiver,
    Reference,
    Settings,
    SlackReceiver,
    Watch,
)
from tidegauge.demo.assistant.overlap import MODEL as JUDGE
from tidegauge.demo.flights.data import SLICES
from tidegauge.demo.flights.model import MODEL

ASSISTANT = "stdlib-assistant"
FLIGHTS_WATCH = Watch(
    name=MODEL, reference=Reference(kind="training"), window_hours=7 * 24, step_hours=7 * 24, slices=SLICES
)


def demo_settings(data_dir: Path, inbox_url: str, models_url: str, shift_at: datetime, light: bool) -> Settings:
    """Settings for one run of the demonstration.

    Args:
        data_dir: Emptied and filled by the run.
        inbox_url: Where Slack and PagerDuty are played.
        models_url: OpenAI-compatible endpoint with the judge's model.
        shift_at: When the assistant's topics change; the reference ends well before.
        light: Compare questions by their words, without sentence embeddings.
    """
    page = _free(8600)
    return Settings(
        data_dir=data_dir,
        receiver=Receiver(http_port=_free(4318), grpc_port=_free(4317)),
        page=Page(port=page),
        detectors=Detectors(
            models=(FLIGHTS_WATCH,),
            services=(
                Watch(
                    name=ASSISTANT,
                    reference=Reference(
                        kind="fixed", start=shift_at - timedelta(hours=8), end=shift_at - timedelta(hours=2)
                    ),
                    window_hours=2,
                    step_hours=1,
                ),
            ),
            embedder="hashing" if light else "auto",
            false_pages_per_month=0,  # the year's figures are about weekly windows; `tidegauge calibrate` has the hours
            diagnosis=DailyDiagnosis(enabled=False),  # a quarter of an hour for the year: tidegauge.demo.flights.daily
        ),
        judges=Judges(
            enabled=True,
            base_url=models_url,
            allow_internal_addresses=True,
            api_key=SecretStr("none"),
            model=JUDGE,
            rate=0.06,
        ),
        direct=Direct(flush_after_s=0.01),  # one client that waits for each answer: nothing to group
        alerting=Alerting(
            rules=(Path(__file__).with_name("rules.yaml"),),
            receivers=(
                SlackReceiver(name="ml-alerts", url=SecretStr(f"{inbox_url}/slack")),
                PagerDutyReceiver(name="on-call", routing_key=SecretStr("demo"), url=f"{inbox_url}/pagerduty"),
            ),
            allow_internal_addresses=True,
            page_url=f"http://127.0.0.1:{page}",
        ),
    )


def _free(wanted: int) -> int:
    """``wanted`` where nothing listens on it yet, else any free port."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("no free port on 127.0.0.1")
