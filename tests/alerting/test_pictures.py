"""Charts in messages: drawn as text is text, in an e-mail, and in a Slack thread once its message stands."""

from __future__ import annotations

import pickle
import struct
import subprocess
import sys
import warnings
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from typing import Any

import pytest
from fake_slack import CHANNEL, TOKEN, FakeSlack
from genai_calls import insert_calls

from tidegauge.alerting import Rule, history
from tidegauge.alerting.evidence import Evidencing
from tidegauge.alerting.http import Delivered
from tidegauge.alerting.notifiers import SlackBot, Surroundings, slack_bot
from tidegauge.alerting.notifiers.email import build
from tidegauge.alerting.pictures import alt_text, draw
from tidegauge.alerting.states import Chart, Evidence, Notice, Transition
from tidegauge.config import Alerting, EmailReceiver, SlackBotReceiver
from tidegauge.instruments import REGISTRY
from tidegauge.store import Store

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HALF_HOUR = timedelta(minutes=30)
WHO = {"severity": "page", "owner": "team", "runbook": "r", "action": "a"}
RULE = {"alert": "High refusal rate", "metric": "refusal_rate", "by": ["service"], "window": "30m", "above": 0.05} | WHO
ENDS = tuple(NOW - back * HALF_HOUR for back in range(15, -1, -1))
HOSTILE = "$\\frac{1}{0}$ $x_{$ <script> \\input{/etc/passwd} \u4e2d\U0001f389\u202e\x1b[31m " + "W" * 500


def chart(**changes: Any) -> Chart:
    values: dict[str, Any] = {
        "title": "Refusal rate", "about": "service=shop", "unit": "share", "ends": ENDS,
        "values": (0.01, None, *[0.02] * 10, 0.03, 0.05, 0.07, 0.08), "reference": (), "reference_name": "",
        "threshold": 0.05, "upward": True, "since": NOW - HALF_HOUR,
    }  # fmt: skip
    return Chart(**values | changes)


def size(png: bytes) -> tuple[int, int]:
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", png[16:24])


@pytest.mark.parametrize(
    "drawn",
    [
        chart(),
        chart(title=HOSTILE, about=HOSTILE, reference_name=HOSTILE, reference=tuple([(0.01, 0.02)] * 16)),
        chart(values=(0.0,) * 16, threshold=None),
        chart(values=(None,) * 14 + (5.0, 5.0), threshold=5.0, unit="records"),
        chart(values=(1e12, -1e12) * 8, threshold=0.0, unit="USD", upward=False),
        chart(values=(1e-300, 2e-300) * 8, unit="s", since=NOW - timedelta(days=90)),
        chart(ends=tuple(NOW - timedelta(days=7 * back) for back in range(15, -1, -1))),
    ],
)
def test_whatever_the_numbers_and_the_words_there_is_a_picture_and_no_warning(drawn: Chart) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        png = draw(drawn)

    assert size(png) == (1280, 720)
    assert len(png) < 500_000


def test_a_settings_file_of_matplotlib_cannot_change_how_it_is_drawn(tmp_path: Any) -> None:
    (tmp_path / "matplotlibrc").write_text(
        "text.usetex: True\nfigure.dpi: 9\naxes.prop_cycle: cycler('color', ['r'])\n"
    )
    code = (
        "import sys, pickle; from tidegauge.alerting.pictures import draw; assert 'matplotlib' not in sys.modules;"
        "sys.stdout.buffer.write(draw(pickle.load(sys.stdin.buffer)))"
    )
    made = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(chart()), capture_output=True, cwd=tmp_path, check=True
    )

    assert made.stdout == draw(chart()), made.stderr.decode()


def test_one_that_cannot_be_drawn_is_empty_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    assert draw(chart(values=(None,) * 16)) == b""
    assert "could not be drawn" in caplog.text


def test_an_alert_has_the_windows_before_it_and_those_that_it_is_compared_with(store: Store, make_alert: Any) -> None:
    for back in range(4):
        for offset, refused in ((timedelta(0), 30 - 10 * back), (timedelta(days=7), 5)):
            at = NOW - back * HALF_HOUR - timedelta(minutes=10) - offset
            rows = [{"timestamp": at, "trace_id": f"{at}{i}", "service": "shop", "kind": "llm"} for i in range(100)]
            insert_calls(store, [row | {"refused": i < refused} for i, row in enumerate(rows)])
    compare = RULE | {"above": None, "compare": {"offset": "7d", "above_ratio": 2}}
    both = [Rule.model_validate(RULE), Rule.model_validate(compare | {"alert": "More refusals"})]
    alerts = [make_alert(at=NOW), make_alert(at=NOW, rule="More refusals")]

    plain, compared = (each.evidence.chart for each in Evidencing(store, both, pictures=True)(alerts))
    without = Evidencing(store, both)(alerts)

    assert [each.evidence.chart for each in without] == [None, None]
    assert plain and plain.values[-4:] == (0.0, 0.1, 0.2, 0.3) and plain.ends == ENDS
    assert (plain.threshold, plain.reference, plain.about) == (0.05, (), "service=shop")
    assert compared and compared.threshold is None and compared.reference_name == "7d before"
    low, high = compared.reference[-1] or (0, 0)
    assert low < 0.05 < high and compared.reference[0] is None


def mail(*alerts: Transition) -> EmailMessage:
    return build(
        alerts,
        EmailReceiver.model_validate(
            {"kind": "email", "name": "m", "host": "h", "to": ["a@b.example"], "sender": "t@b.example"}
        ),
    )


def test_an_e_mail_has_the_chart_inside_and_its_plain_text_is_complete(make_alert: Any) -> None:
    shown = make_alert(evidence=Evidence("▁█ 2 windows", chart=chart()), note="<b>&")
    bare = make_alert(evidence=Evidence("▁█ 2 windows"), note="<b>&")

    found, without = mail(shown, bare), mail(bare, bare)

    assert without.get_content_type() == "text/plain"
    assert found.get_content_type() == "multipart/alternative"
    text, page = found.iter_parts()
    assert isinstance(text, EmailMessage) and text.get_content() == without.get_content()
    assert page.get_content_type() == "multipart/related"
    html, image = page.iter_parts()
    assert isinstance(html, EmailMessage) and isinstance(image, EmailMessage)
    assert f'src="cid:{image["Content-ID"][1:-1]}"' in html.get_content()
    assert "&lt;b&gt;&amp;" in html.get_content() and "<b>" not in html.get_content()
    assert (image.get_content(), image.get_content_disposition()) == (draw(chart()), "inline")


def bot(store: Store, slack: FakeSlack) -> SlackBot:
    values = {"kind": "slack_bot", "name": "ops", "token": TOKEN, "channel": CHANNEL, "url": slack.url}
    settings = Alerting.model_validate({"allow_internal_addresses": True, "timeout_s": 5})
    return slack_bot(SlackBotReceiver.model_validate(values), settings, Surroundings(store, lambda: NOW))


def told(store: Store, by: SlackBot, alert: Transition) -> None:
    history.append(store, [alert])
    assert isinstance(by.send([alert]), Delivered)
    by.illustrate([alert])


def images(message: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for each in message["blocks"] if each["type"] == "image"]


def pictures(outcome: str) -> float:
    return REGISTRY.get_sample_value("tidegauge_slack_pictures_total", {"outcome": outcome}) or 0


def test_a_thread_gets_its_chart_after_its_message_and_keeps_it_to_the_end(
    store: Store, slack: FakeSlack, make_alert: Any
) -> None:
    fire = make_alert(at=NOW, evidence=Evidence(chart=chart()))
    told(store, bot(store, slack), fire)
    told(store, bot(store, slack), make_alert(at=NOW + HALF_HOUR, notice=Notice.REMIND, evidence=fire.evidence))

    ((file, kept),) = slack.files.items()
    methods = [name for name, _ in slack.calls if not name.startswith("conversations")]
    assert methods[:4] == [
        "chat.postMessage", "files.getUploadURLExternal", "files.completeUploadExternal", "chat.update",
    ]  # fmt: skip
    assert kept["bytes"] == draw(chart())
    (image,) = images(slack.roots[0])
    assert image == {"type": "image", "slack_file": {"id": file}, "alt_text": alt_text(chart())}
    assert not images(slack.called("chat.postMessage")[0])


def test_a_picture_that_slack_still_works_on_is_waited_for(
    store: Store, slack: FakeSlack, make_alert: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[SlackBot.__module__], "WAITS_S", (0.01,) * 3)
    slack.not_ready = 2

    told(store, bot(store, slack), make_alert(at=NOW, evidence=Evidence(chart=chart())))

    assert len(images(slack.roots[0])) == 1


def test_a_picture_that_slack_never_shows_leaves_the_message_as_it_is(
    store: Store, slack: FakeSlack, make_alert: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[SlackBot.__module__], "WAITS_S", (0.01,) * 3)
    slack.not_ready = 1_000
    told(store, bot(store, slack), make_alert(at=NOW, evidence=Evidence("▁█ 2 windows", chart=chart())))
    told(store, bot(store, slack), make_alert(at=NOW + HALF_HOUR, notice=Notice.ESCALATE))

    assert images(slack.roots[0]) == []
    assert slack.roots[0]["text"].startswith("NOBODY HAS IT")


@pytest.mark.parametrize("error", ["missing_scope", "internal_error"])
@pytest.mark.parametrize("method", ["files.getUploadURLExternal", "files.completeUploadExternal"])
def test_an_upload_that_fails_is_counted_and_the_line_of_text_stays(
    store: Store, slack: FakeSlack, make_alert: Any, method: str, error: str
) -> None:
    slack.troubles[method] = [(200, {}, {"ok": False, "error": error})]
    before, sender = pictures("failed"), bot(store, slack)

    told(store, sender, make_alert(at=NOW, evidence=Evidence("▁█ 2 windows", chart=chart())))
    again = make_alert(at=NOW, labels={"service": "other"}, rule="Other", evidence=Evidence(chart=chart()))
    told(store, sender, again)

    assert pictures("failed") == before + 1
    assert images(slack.roots[0]) == [] and "▁█ 2 windows" not in slack.roots[0]["text"]
    assert len(slack.called(method)) == (1 if error == "missing_scope" else 2)


def test_an_upload_goes_to_no_address_that_may_not_be_posted_to(
    store: Store, slack: FakeSlack, make_alert: Any
) -> None:
    said = {"ok": True, "file_id": "F1", "upload_url": "file:///etc/passwd"}
    slack.troubles["files.getUploadURLExternal"] = [(200, {}, said)]

    told(store, bot(store, slack), make_alert(at=NOW, evidence=Evidence(chart=chart())))

    assert slack.called("files.completeUploadExternal") == []
    assert len(slack.roots) == 1
