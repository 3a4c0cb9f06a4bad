"""Processes that run out of something, are killed, or are stopped in the middle of their work."""

from __future__ import annotations

import resource
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import yaml
from processes import until
from prometheus_client.parser import text_string_to_metric_families
from results import FULL, publish
from system import PROTOBUF, Load, System
from test_receiver_processes import new_key

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]

UNDER_LOAD_S = 10 if FULL else 2
NO_SPACE = 243


def test_a_full_disk_is_waited_for(own_system: System) -> None:
    """Row 30: ClickHouse's answer to a full disk, injected in front of its engine."""
    system = own_system
    receiver, sink = system.receiver(), system.sink()
    system.send(receiver, system.oracle.logs(5))
    system.drained()
    system.clickhouse.fault(code=NO_SPACE)
    with Load(system, receiver, per_s=20) as load:
        time.sleep(UNDER_LOAD_S)
    assert sink.alive
    assert system.lag().records > 0
    system.clickhouse.fault()
    recovered_s = system.drained()
    assert sink.terminate() == 0

    verdict = system.verify()
    publish("30", "ClickHouse's disk is full (error 243)", verdict, recovered_s=recovered_s)
    assert set(load.answers) == {200}
    assert verdict.right, verdict
    assert system.letters() == []


def test_a_receiver_out_of_file_descriptors_serves_again_once_there_are_some(system: System) -> None:
    """Row 30: its limit is lowered while it runs, and clients take all there are."""
    receiver, sink = system.receiver(), system.sink()
    system.send(receiver, system.oracle.logs(5))
    hard = resource.prlimit(receiver.process.pid, resource.RLIMIT_NOFILE)[1]
    open_now = len(list(descriptors(receiver.process.pid)))
    resource.prlimit(receiver.process.pid, resource.RLIMIT_NOFILE, (open_now + 10, hard))
    place = urlsplit(receiver.url())
    held = []
    for _ in range(40):
        with suppress(OSError):
            held.append(socket.create_connection((place.hostname, place.port or 0), timeout=2))
    time.sleep(1)
    alive = receiver.alive
    for each in held:
        each.close()
    began = time.monotonic()
    until(lambda: answered(system, receiver.url()), 30, "it serves again")
    recovered_s = time.monotonic() - began
    resource.prlimit(receiver.process.pid, resource.RLIMIT_NOFILE, (hard, hard))
    system.drained()
    assert (receiver.terminate(), sink.terminate()) == (0, 0)

    verdict = system.verify(unsure=True)
    publish("30", "no file descriptors left", verdict, recovered_s=recovered_s)
    assert alive
    assert verdict.right, verdict


def descriptors(pid: int) -> list[Path]:
    """What a process has open."""
    return list(Path(f"/proc/{pid}/fd").iterdir())


def answered(system: System, url: str) -> bool:
    """Whether a request on a new connection is acknowledged."""
    request = system.oracle.logs(1)
    try:
        answer = httpx.post(f"{url}/v1/logs", content=request.body, headers=PROTOBUF, trust_env=False, timeout=5)
    except httpx.TransportError:
        return False
    if answer.status_code == 200:
        system.oracle.acknowledge(request)
    return answer.status_code == 200


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_receiver_and_sink_that_end_in_the_middle_of_their_work_leave_nothing_half_acknowledged(
    system: System, number: signal.Signals
) -> None:
    """Row 30: SIGKILL is what the kernel sends when memory is short; SIGTERM ends them cleanly."""
    receiver, sink = system.receiver(), system.sink()
    sink.wait_for("database")
    with Load(system, receiver, per_s=50) as load:
        time.sleep(UNDER_LOAD_S)
        receiver.process.send_signal(number)
        sink.process.send_signal(number)
        codes = {receiver.process.wait(60), sink.process.wait(60)}
    ended = time.monotonic()
    following = system.sink()
    system.drained()
    recovered_s = time.monotonic() - ended
    assert following.terminate() == 0

    verdict = system.verify(unsure=True)
    publish("30", f"{number.name} of receiver and sink under load", verdict, recovered_s=recovered_s)
    assert codes == ({0} if number == signal.SIGTERM else {-9})
    assert set(load.answers) <= {200, 503, 0}
    assert verdict.right, verdict
    assert len(system.oracle.acked) > 100


@pytest.mark.sample
def test_a_key_file_that_breaks_keeps_the_old_keys_and_says_so(
    system: System, client: httpx.Client, tmp_path: Path
) -> None:
    """Row 30."""
    (old, entry), (new, other), keys = new_key("acme"), new_key("acme"), tmp_path / "keys.yaml"
    keys.write_text(yaml.safe_dump([entry]))
    receiver = system.receiver(api_keys_file=str(keys))
    url = f"{receiver.url()}/v1/logs"

    def status(key: str) -> int:
        headers = PROTOBUF | {"authorization": f"Bearer {key}"}
        return client.post(url, content=b"", headers=headers).status_code

    before = (status(old), status(new))
    keys.write_text("- tenant: [broken")
    until(lambda: status(old) == 200 and failed(client, url) == 1, 20, "the gauge is raised")
    during = (status(old), status(new))
    keys.write_text(yaml.safe_dump([other]))
    until(lambda: status(new) == 200, 20, "the new key is known")
    after = (status(old), status(new))
    note = f"old key: {before[0]}, while the file is broken {during[0]}, once it was replaced {after[0]}"
    publish("30", "a key file that breaks", note=note)
    assert (before, during, after) == ((200, 403), (200, 403), (403, 200))
    assert failed(client, url) == 0


def failed(client: httpx.Client, url: str) -> float:
    """The gauge that says that a file could not be read again."""
    text = client.get(url.replace("/v1/logs", "/metrics")).text
    samples = (each for family in text_string_to_metric_families(text) for each in family.samples)
    return sum(each.value for each in samples if each.name == "tidegauge_reload_failed")
