"""The configuration: a file, the environment, and secrets that no message shows."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from tidegauge.config import Settings, load
from tidegauge.errors import ConfigError

SECRET = "hunter2-s3cret"


def written(folder: Path, text: str) -> Path:
    path = folder / "tidegauge.yaml"
    path.write_text(text)
    return path


def refused(folder: Path, text: str, environ: dict[str, str] | None = None) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(written(folder, text), environ or {})
    return caught.value


def test_without_file_and_environment_everything_has_a_working_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load(None, {})
    assert settings == Settings()
    assert settings.receiver.host == settings.page.host == "127.0.0.1"
    assert settings.dsn == f"chdb://{tmp_path}/tidegauge-data/clickhouse"


def test_the_file_in_the_working_directory_is_read_when_none_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, "page: {port: 1234}")
    monkeypatch.chdir(tmp_path)
    assert load(None, {}).page.port == 1234


def test_every_problem_is_listed_at_once_with_its_place_and_what_was_found(tmp_path: Path) -> None:
    error = refused(
        tmp_path,
        """
        receiver: {http_port: 70000, grpc_port: many}
        kafka: {compression: rar}
        page: {prot: 1}
        detectors: {models: [{name: a, window_hours: -1, reference: {kind: fixed}}]}
        grafana: {token_file: /does/not/exist}
        """,
    )
    places = [line.partition(":")[0] for line in error.problems]
    assert sorted(places) == [
        "detectors.models.0.reference",
        "detectors.models.0.window_hours",
        "grafana.token_file",
        "kafka.compression",
        "page.prot",
        "receiver.grpc_port",
        "receiver.http_port",
    ]
    text = str(error)
    assert str(tmp_path) in text
    assert "found '70000'" in text
    assert "found 'many'" in text
    assert "/does/not/exist" in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- a list", "must be a mapping of sections, found list"),
        ("receiver: {http_port: [1", "is not YAML"),
        ("receiver: 5", "receiver: Input should be a valid dictionary"),
        ("2026-01-01: x", "Keys should be strings"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused_with_its_name(tmp_path: Path, text: str, expected: str) -> None:
    error = refused(tmp_path, text)
    assert expected in str(error)
    assert "tidegauge.yaml" in str(error)


def test_a_file_that_is_missing_or_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load(tmp_path / "absent.yaml", {})
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00page")
    with pytest.raises(ConfigError, match=r"is not (UTF-8 text|YAML)"):
        load(tmp_path / "bytes.yaml", {})


def test_an_empty_file_is_an_empty_configuration(tmp_path: Path) -> None:
    assert load(written(tmp_path, "# nothing yet\n"), {}) == Settings()


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "receiver: {http_port: 1, grpc_port: 2}\ndata_dir: /from/file")
    settings = load(path, {"TIDEGAUGE_RECEIVER__HTTP_PORT": "3", "TIDEGAUGE_DATA_DIR": "/from/environment"})
    assert (settings.receiver.http_port, settings.receiver.grpc_port) == (3, 2)
    assert settings.data_dir == Path("/from/environment")


def test_the_environment_gives_every_kind_of_value(tmp_path: Path) -> None:
    environ = {
        "TIDEGAUGE_KAFKA__BOOTSTRAP_SERVERS": "one:9092, two:9092",
        "TIDEGAUGE_ALERTING__RULES": '["a.yaml", "b.yaml"]',
        "TIDEGAUGE_DETECTORS__ENABLED": "false",
        "TIDEGAUGE_DIRECT__FLUSH_AFTER_S": "0.25",
        "TIDEGAUGE_JUDGES__MODEL": "404",
        "TIDEGAUGE_JUDGES__API_KEY": "12345",
        "TIDEGAUGE_TEST_SEED": "of somebody else",
        "PATH": "/bin",
    }
    settings = load(written(tmp_path, ""), environ)
    assert settings.kafka.bootstrap_servers == ("one:9092", "two:9092")
    assert settings.alerting.rules == (Path("a.yaml"), Path("b.yaml"))
    assert settings.detectors.enabled is False
    assert settings.direct.flush_after_s == 0.25
    assert settings.judges.model == "404"
    assert settings.judges.api_key.get_secret_value() == "12345"


def test_an_unknown_variable_of_a_section_is_refused(tmp_path: Path) -> None:
    assert "receiver.prot" in str(refused(tmp_path, "", {"TIDEGAUGE_RECEIVER__PROT": "1"}))


def test_a_variable_that_is_broken_yaml_is_named_but_not_quoted(tmp_path: Path) -> None:
    error = refused(tmp_path, "", {"TIDEGAUGE_GRAFANA__TOKEN": "{" + SECRET})
    assert "TIDEGAUGE_GRAFANA__TOKEN" in str(error)
    assert SECRET not in str(error)


def test_a_secret_may_stand_in_a_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"  {SECRET}\n")
    text = f"""
        grafana: {{token_file: {tmp_path}/token}}
        clickhouse: {{dsn_file: {tmp_path}/token}}
        alerting: {{receivers: [{{kind: slack, name: ops, url_file: {tmp_path}/token}}]}}
        """
    settings = load(written(tmp_path, text), {})
    assert settings.grafana.token.get_secret_value() == SECRET
    assert settings.dsn == SECRET
    receiver = settings.alerting.receivers[0]
    assert receiver.kind == "slack"
    assert receiver.url.get_secret_value() == SECRET


def test_the_environment_wins_between_a_secret_and_its_file_twin(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from the file")
    twin = written(tmp_path, f"grafana: {{token_file: {tmp_path}/token}}")
    assert load(twin, {"TIDEGAUGE_GRAFANA__TOKEN": SECRET}).grafana.token.get_secret_value() == SECRET
    plain = written(tmp_path, f"grafana: {{token: {SECRET}}}")
    chosen = load(plain, {"TIDEGAUGE_GRAFANA__TOKEN_FILE": f"{tmp_path}/token"}).grafana.token
    assert chosen.get_secret_value() == "from the file"


def test_a_secret_and_its_twin_in_one_place_are_refused(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from the file")
    error = refused(tmp_path, f"grafana: {{token: {SECRET}, token_file: {tmp_path}/token}}")
    assert error.problems == ["grafana.token_file: and its twin without _file are both set; keep one"]


def test_secrets_are_not_printed_with_the_settings(tmp_path: Path) -> None:
    text = f"""
        clickhouse: {{dsn: "clickhouse://user:{SECRET}@host:8123"}}
        grafana: {{token: {SECRET}}}
        judges: {{api_key: {SECRET}}}
        alerting: {{receivers: [
            {{kind: slack, name: a, url: "https://x/{SECRET}"}}, {{kind: webhook, name: b, url: "https://x/{SECRET}"}},
            {{kind: pagerduty, name: c, routing_key: {SECRET}}}]}}
        """
    settings = load(written(tmp_path, text), {})
    printed = f"{settings!r}{settings}{settings.model_dump()}{settings.model_dump_json()}"
    assert SECRET not in printed
    assert printed.count("**********") >= 6 * 4
    assert SECRET in settings.dsn


@pytest.mark.parametrize(
    "text",
    [
        "grafana: {token: [SECRET]}",
        "grafana: {token: {SECRET: SECRET}}",
        "grafana: {tokn: SECRET}",
        "grafana: SECRET",
        'grafana: {token: "SECRET}',
        "grafana: {token: *SECRET}",
        "grafana: {token: !SECRET x}",
        "grafana: {url: u, token: SECRET, datasource_uid: []}",
        "clickhouse: {dsn: SECRET, database: 'a b'}",
        "clickhouse: {dsn: [SECRET]}",
        "alerting: {receivers: [{kind: slak, name: a, url: SECRET}]}",
        "alerting: {receivers: [{kind: slack, url: SECRET}]}",
        "alerting: {receivers: [{kind: slack, name: a, url: [SECRET]}]}",
        "alerting: {receivers: [{name: a, url: SECRET}]}",
        "alerting: {receivers: [{kind: pagerduty, name: a, routing_key: {a: SECRET}}]}",
        "alerting: {receivers: SECRET\n  - x",
        "judges: {api_key: SECRET, rate: 7}",
    ],
)
def test_no_error_shows_a_secret_nor_does_its_traceback(tmp_path: Path, text: str) -> None:
    error = refused(tmp_path, text.replace("SECRET", SECRET))
    assert SECRET not in str(error)
    assert SECRET not in "".join(error.problems)
    assert SECRET not in "".join(traceback.format_exception(error))


def test_a_number_for_a_secret_is_refused_without_showing_it(tmp_path: Path) -> None:
    error = refused(tmp_path, "grafana: {token: 987654321}")
    assert error.problems == ["grafana.token: Input should be a valid string"]


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        setattr(Settings().page, "port", 1)  # noqa: B010


def test_a_misspelt_variable_is_a_problem_and_not_silence() -> None:
    with pytest.raises(ConfigError) as caught:
        load(environ={"TIDEGAUGE_RECIEVER__HTTP_PORT": "4318"})

    assert "reciever" in caught.value.problems[0]
