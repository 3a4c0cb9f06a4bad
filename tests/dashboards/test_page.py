"""The page over HTTP: what it shows, what it refuses, and that telemetry stays text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from html.parser import HTMLParser
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient
from synthetic import DRIFTED, END, HOSTILE, LINK, TRACE_WITH_ERROR

from tidegauge.clock import ReplayClock
from tidegauge.config import Settings
from tidegauge.dashboards.boards import BOARDS
from tidegauge.dashboards.page import create_app
from tidegauge.store import Store

PAGES = [
    "/",
    "/alerts",
    "/traces",
    f"/traces/{TRACE_WITH_ERROR}",
    f"/drift/{DRIFTED}",
    "/models/flight-delay",
    *(f"/boards/{board.uid}" for board in BOARDS),
]
A_WEEK_LATER = ReplayClock(END + timedelta(days=7), frozen=True)


class Markup(HTMLParser):
    """Every tag with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


@pytest.fixture
def page(week: Store) -> Iterator[TestClient]:
    with TestClient(create_app(week, Settings(), A_WEEK_LATER)) as client:
        yield client


@pytest.fixture
def own_page(own_week: Store) -> Iterator[TestClient]:
    with TestClient(create_app(own_week, Settings(), A_WEEK_LATER)) as client:
        yield client


@pytest.fixture
def blank(store: Store) -> Iterator[TestClient]:
    with TestClient(create_app(store, Settings(), A_WEEK_LATER)) as client:
        yield client


@pytest.mark.parametrize("path", PAGES)
def test_a_page_opens_with_safe_headers_and_without_inline_script_or_style(page: TestClient, path: str) -> None:
    answer = page.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-security-policy"].startswith("default-src 'self'")
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    tags = Markup(answer.text).tags
    assert all(attributes.get("src") for tag, attributes in tags if tag == "script")
    assert not [
        tag
        for tag, attributes in tags
        if tag == "style" or any(name == "style" or name.startswith("on") for name in attributes)
    ]


@pytest.mark.parametrize("path", PAGES)
def test_everything_a_page_loads_is_its_own(page: TestClient, path: str) -> None:
    tags = Markup(page.get(path).text).tags
    loaded = [
        attributes.get("src") or attributes.get("href") or ""
        for tag, attributes in tags
        if tag in ("script", "link", "img")
    ]
    assert loaded and all(each.startswith("/static/") for each in loaded)
    assert all(page.get(each).status_code == 200 for each in set(loaded))


@pytest.mark.parametrize(
    "path", ["/", "/alerts", "/traces", f"/traces/{TRACE_WITH_ERROR}", "/models/flight-delay", f"/drift/{DRIFTED}"]
)
def test_markup_in_telemetry_is_text(page: TestClient, path: str) -> None:
    text = page.get(path).text
    assert "&lt;script&gt;" in text or path == "/traces"
    assert HOSTILE not in text
    tags = Markup(text).tags
    assert not [attributes for tag, attributes in tags if tag == "img" and attributes.get("src") == "x"]
    assert not [
        value
        for _, attributes in tags
        for value in attributes.values()
        if value and value.strip().startswith("javascript")
    ]


def test_a_runbook_that_is_no_web_address_is_shown_but_not_linked(page: TestClient) -> None:
    text = page.get("/").text
    assert f"Runbook: {LINK}" in text
    assert 'href="https://runbooks.example.com/refusals"' in text


def test_the_overview_answers_the_five_questions_of_a_firing_alert(page: TestClient) -> None:
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.get("/").text))
    assert "2 alerts firing" in text
    for answer in (
        "refusal rate 13.7 % was above 5 %",
        "2026-03-10 07:30",
        "prompt_version = v8",
        "0.137 against a threshold of 0.05 (214 samples)",
        "Roll prompt v8 back to v7.",
        "age by psi: effect 0.31",
    ):
        assert answer in text


def test_open_drift_is_one_row_for_each_feature_and_slice_outputs_before_inputs(page: TestClient) -> None:
    rows = page.get("/api/open").json()["drift"]
    assert [(row["feature"], row["slice"]) for row in rows] == [
        ("score", ""),
        ("taxi_out_min", "UA"),
        ("taxi_out_min", ""),
        (HOSTILE, HOSTILE),
    ]
    assert rows[2]["detectors"] == ["psi", "ks"]


def test_a_feature_that_is_no_longer_tested_is_not_open(own_page: TestClient, own_week: Store) -> None:
    last = own_week.rows("SELECT * FROM findings WHERE feature = 'distance' ORDER BY window_end DESC LIMIT 1")[0]
    later = {name: last[name] + timedelta(days=5) for name in ("window_start", "window_end", "evaluated_at")}
    own_week.insert("findings", [last | later | {"finding_id": "later"}])
    rows = own_page.get("/api/open").json()
    assert rows["drift"] == [] and rows["tests"] == 2


def test_undetermined_is_told_apart_from_quiet(page: TestClient) -> None:
    assert page.get("/api/open").json()["undetermined"] == 1
    assert "1 of 7 tests could not tell" in page.get("/").text


def test_empty_tables_say_how_to_send_something(blank: TestClient) -> None:
    text = blank.get("/").text
    assert "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318" in text
    assert "No drift" not in text and "All quiet" not in text
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in blank.get("/traces").text


@pytest.mark.parametrize("board", [pytest.param(each, id=each.uid) for each in BOARDS])
def test_every_panel_of_a_board_answers_over_the_api(page: TestClient, board: object) -> None:
    uid = board.uid  # type: ignore[attr-defined]
    for panel in next(each for each in page.get("/api/boards").json() if each["uid"] == uid)["panels"]:
        answer = page.get(f"/api/boards/{uid}/panels/{panel['number']}")
        assert answer.status_code == 200 and set(answer.json()) >= {
            "columns",
            "rows",
            "step_s",
            "kind",
            "unit",
            "start",
            "end",
        }


def test_a_page_of_past_data_ends_where_the_data_ends(page: TestClient) -> None:
    health = page.get("/api/boards/tidegauge-health/panels/1").json()
    assert (health["start"], health["end"]) == ("2026-03-09T12:00:00Z", "2026-03-10T12:00:00Z")
    assert "The newest record is from 2026-03-10 12:00" in page.get("/").text


def test_a_page_of_fresh_data_ends_now(week: Store) -> None:
    now = END + timedelta(minutes=30)
    with TestClient(create_app(week, Settings(), ReplayClock(now, frozen=True))) as client:
        assert client.get("/api/boards/tidegauge-health/panels/1").json()["end"] == "2026-03-10T12:30:00Z"


def test_records_from_the_future_do_not_move_the_page(week: Store) -> None:
    now = END - timedelta(days=2)
    with TestClient(create_app(week, Settings(), ReplayClock(now, frozen=True))) as client:
        assert client.get("/api/boards/tidegauge-health/panels/1").json()["end"] == "2026-03-08T12:00:00Z"


@pytest.mark.parametrize(
    ("query", "start", "end"),
    [
        ("from=-2h", "2026-03-10T10:00:00Z", "2026-03-10T12:00:00Z"),
        ("from=-1d&to=-12h", "2026-03-09T00:00:00Z", "2026-03-10T00:00:00Z"),
        ("from=2026-03-04&to=2026-03-05T06:30", "2026-03-04T00:00:00Z", "2026-03-05T06:30:00Z"),
        ("to=now", "2026-03-09T12:00:00Z", "2026-03-10T12:00:00Z"),
    ],
)
def test_from_and_to_are_iso_or_relative_to_the_end(page: TestClient, query: str, start: str, end: str) -> None:
    answer = page.get(f"/api/boards/tidegauge-health/panels/1?{query}").json()
    assert (answer["start"], answer["end"]) == (start, end)


@pytest.mark.parametrize(
    "query", ["from=yesterday", "from=-3y", "from=2026-03-05&to=2026-03-04", "from=-999999w", f"to={quote(HOSTILE)}"]
)
def test_a_time_that_makes_no_sense_is_refused_with_the_way_to_write_it(page: TestClient, query: str) -> None:
    for path in ("/", "/boards/tidegauge-drift", "/api/open"):
        answer = page.get(f"{path}?{query}")
        assert answer.status_code == 400
        assert re.search("is no time: use|must be before", answer.text) and "<script>window" not in answer.text.replace(
            "\\u003c", "<"
        ) * (path != "/api/open")


@pytest.mark.parametrize(
    "path",
    [
        "/nowhere",
        "/drift/none",
        "/traces/none",
        "/models/none",
        "/boards/none",
        "/api/boards/none/panels/1",
        "/api/boards/tidegauge-health/panels/99",
        "/api/drift/none",
        "/api/traces/none",
        "/static/../app.py",
        "/static/none.js",
    ],
)
def test_what_is_not_there_is_404(page: TestClient, path: str) -> None:
    assert page.get(path).status_code == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_can_be_written(page: TestClient, method: str) -> None:
    assert {page.request(method, path).status_code for path in ("/", "/alerts", "/api/open")} == {405}


def test_filters_reach_the_panels_and_stay_chosen(page: TestClient) -> None:
    text = page.get("/boards/tidegauge-health?prompt_version=v8&from=-7d").text
    assert '<option value="v8" selected>' in text
    assert "prompt_version=v8" in text and "from=-7d" in text
    calls = [
        page.get(f"/api/boards/tidegauge-health/panels/1?from=-7d&prompt_version={each}").json()["rows"][0][0]
        for each in ("v7", "v8", "")
    ]
    assert calls[0] + calls[1] == calls[2] > calls[0] > calls[1] > 0


def test_a_board_with_a_hostile_variable_keeps_it_as_text(page: TestClient) -> None:
    answer = page.get(f"/boards/tidegauge-health?tenant={quote(HOSTILE)}")
    assert answer.status_code == 200 and HOSTILE not in answer.text


def test_names_with_slashes_and_marks_open_their_own_page(own_week: Store, own_page: TestClient) -> None:
    finding = own_week.rows("SELECT * FROM findings LIMIT 1")[0]
    own_week.insert("findings", [finding | {"finding_id": "a/b ?#%", "subject": "team/model ?#%"}])
    assert own_page.get(f"/drift/{quote('a/b ?#%', safe='')}").status_code == 200
    assert own_page.get(f"/models/{quote('team/model ?#%', safe='')}").status_code == 200


def test_traces_can_be_narrowed_to_those_with_errors(page: TestClient) -> None:
    everything, failed = page.get("/traces?from=-7d").text, page.get("/traces?from=-7d&only=errors").text
    assert failed.count("<tr>") < everything.count("<tr>")
    assert TRACE_WITH_ERROR in failed
    assert page.get("/traces?only=nonsense").status_code == 400


def test_healthz_says_ok_while_the_store_answers(page: TestClient) -> None:
    assert page.get("/healthz").json() == {"status": "ok"}


def test_a_finding_comes_with_its_distribution_and_its_course(page: TestClient) -> None:
    found = page.get(f"/api/drift/{DRIFTED}").json()
    assert found["bins"]["current"] == [0.06, 0.09, 0.15, 0.25, 0.45]
    assert [row["verdict"] for row in found["course"]] == ["stable"] * 12 + ["drift"] * 2


def test_a_model_shows_each_version_with_its_accuracy(page: TestClient) -> None:
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.get("/models/flight-delay").text))
    assert re.search(r"2 2026-03-08 00:00 2026-03-10 11:00 7\d\d 0\.\d+ \d\d\.?\d? %", text), text
