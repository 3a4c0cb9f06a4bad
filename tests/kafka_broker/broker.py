"""A real Kafka broker on this machine, for tests: one KRaft node run from Maven Central's jars, without containers.

As a class::

    with KafkaBroker() as broker:
        KafkaProducer(bootstrap_servers=broker.bootstrap)

As a command: ``python tests/kafka_broker/broker.py start|stop|status|fetch``. ``start`` prints the bootstrap address
and leaves the broker running, ``stop`` ends it by its process id. Needs ``java`` (17 or newer), and ``mvn`` the first
time.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

HERE = Path(__file__).resolve().parent
CACHE = HERE.parents[1] / ".kafka"
STATE_FILE = CACHE / "broker.json"
STARTED = "Kafka Server started"
START_LIMIT_S = 60.0
STOP_LIMIT_S = 20.0
FETCH_LIMIT_S = 900.0

_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={root}/data
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
group.min.session.timeout.ms=1000
"""

_LOGGING = """\
status=warn
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=[%d] %p %m (%c)%n
rootLogger.level=INFO
rootLogger.appenderRef.console.ref=console
"""


class BrokerError(RuntimeError):
    """The broker could not be fetched, started or stopped; the message holds the end of its log."""


def missing_programs() -> list[str]:
    """The programs that a broker still needs on this machine: none, ``java``, or ``java`` and ``mvn``."""
    needed = ["java"] if _jars_complete(libs_dir()) else ["java", "mvn"]
    return [name for name in needed if shutil.which(name) is None]


def libs_dir() -> Path:
    """Where the jars are kept: ``$TIDEGAUGE_KAFKA_LIBS``, or ``.kafka/libs`` in the repository."""
    return Path(os.environ.get("TIDEGAUGE_KAFKA_LIBS") or CACHE / "libs")


def fetch_jars() -> Path:
    """Copy the broker's jars into :func:`libs_dir` with Maven, unless this version of them is there already."""
    libs = libs_dir()
    if _jars_complete(libs):
        return libs
    libs.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="jars-", dir=libs.parent) as scratch:
        fresh = Path(scratch) / "libs"
        _run_maven(fresh)
        shutil.copyfile(HERE / "pom.xml", fresh / "pom.xml")
        shutil.rmtree(libs, ignore_errors=True)
        fresh.rename(libs)
    return libs


def _jars_complete(libs: Path) -> bool:
    """The jars' own copy of the pom is written last: equal to ours, every jar of this version is there."""
    copy = libs / "pom.xml"
    return copy.is_file() and copy.read_bytes() == (HERE / "pom.xml").read_bytes()


def _run_maven(target: Path) -> None:
    command = [_program("mvn"), "-B", "-q", "-ntp", "-f", str(HERE / "pom.xml"), "dependency:copy-dependencies"]
    command += [f"-DoutputDirectory={target}", "-DincludeScope=runtime"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_LIMIT_S, check=False)
    if done.returncode != 0 or not any(target.glob("kafka_*.jar")):
        raise BrokerError(f"Maven did not fetch the Kafka jars (exit {done.returncode}):\n{done.stdout}{done.stderr}")


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise BrokerError(f"{name} is not on PATH; on Debian: apt-get install default-jre-headless maven")
    return path


def free_ports(count: int) -> list[int]:
    """``count`` different TCP ports that were free on 127.0.0.1 a moment ago."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


@dataclass(frozen=True, slots=True)
class BrokerState:
    """What a later process needs to find the broker again."""

    pid: int
    bootstrap: str
    cluster_id: str
    root: str


class KafkaBroker:
    """One broker with its own ports, cluster id and data directory, all on the loopback address.

    ``kill9`` and ``pause`` are for tests of what happens when Kafka is gone or hangs; ``restart`` keeps ports and data.
    """

    def __init__(self, root: Path | None = None, *, heap_mb: int = 512) -> None:
        self.root = root or Path(tempfile.mkdtemp(prefix="tidegauge-kafka-"))
        self.port, self._controller_port = free_ports(2)
        self.cluster_id = ""
        self._heap_mb = heap_mb
        self._log = self.root / "broker.log"
        self._log_offset = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> KafkaBroker:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def bootstrap(self) -> str:
        """The address for clients, ``127.0.0.1:PORT``."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process id of the running broker."""
        return self._running().pid

    @property
    def state(self) -> BrokerState:
        """What :func:`stop` and :func:`status` need later."""
        return BrokerState(self.pid, self.bootstrap, self.cluster_id, str(self.root))

    def start(self) -> KafkaBroker:
        """Format the data directory the first time, start the node, and return once it serves clients."""
        if self._process is not None and self._process.poll() is None:
            return self
        fetch_jars()
        if not self.cluster_id:
            self._format()
        self._launch()
        try:
            self._wait_until_started()
            self._check_cluster_id()
        except BaseException:
            self.kill9()
            raise
        return self

    def stop(self) -> None:
        """Shut down in order; the data stays, so that ``start`` goes on where this left off."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGCONT)
        self._process.terminate()
        try:
            self._process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.kill9()
        self._process = None

    def kill9(self) -> None:
        """End the process at once, as a crash of the machine would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_LIMIT_S)
            self._process = None

    def restart(self) -> KafkaBroker:
        """Stop if running, then start again on the same ports with the same data."""
        self.stop()
        return self.start()

    def pause(self) -> None:
        """Freeze the process: connections stay open and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused process go on."""
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        """Stop and delete the data."""
        self.stop()
        shutil.rmtree(self.root, ignore_errors=True)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            raise BrokerError("the Kafka broker is not running")
        return self._process

    def _java(self, *options: str, main: str, arguments: list[str]) -> list[str]:
        logging = f"-Dlog4j2.configurationFile={self.root}/log4j2.properties"
        scratch = f"-Djava.io.tmpdir={self.root}/tmp"
        return [_program("java"), *options, logging, scratch, "-cp", f"{libs_dir().resolve()}/*", main, *arguments]

    def _format(self) -> None:
        (self.root / "tmp").mkdir(parents=True, exist_ok=True)
        (self.root / "log4j2.properties").write_text(_LOGGING)
        settings = _PROPERTIES.format(root=self.root, port=self.port, controller_port=self._controller_port)
        (self.root / "server.properties").write_text(settings)
        cluster_id = _new_cluster_id()
        arguments = ["format", "-t", cluster_id, "-c", "server.properties"]
        command = self._java(main="kafka.tools.StorageTool", arguments=arguments)
        done = subprocess.run(
            command, cwd=self.root, capture_output=True, text=True, timeout=START_LIMIT_S, check=False
        )
        if done.returncode != 0:
            raise BrokerError(f"Kafka's StorageTool could not format {self.root}:\n{done.stdout}{done.stderr}")
        self.cluster_id = cluster_id

    def _launch(self) -> None:
        self._log_offset = self._log.stat().st_size if self._log.exists() else 0
        heap = f"{self._heap_mb}m"
        command = self._java(f"-Xms{heap}", f"-Xmx{heap}", main="kafka.Kafka", arguments=["server.properties"])
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                command, cwd=self.root, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )

    def _wait_until_started(self) -> None:
        if not _wait_for(self._has_started, START_LIMIT_S):
            raise BrokerError(f"no '{STARTED}' within {START_LIMIT_S:g} s:\n{_tail(self._log)}")

    def _has_started(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            raise BrokerError(f"the Kafka broker ended while starting:\n{_tail(self._log)}")
        return STARTED in _text_after(self._log, self._log_offset)

    def _check_cluster_id(self) -> None:
        """A stray broker on our port must never be mistaken for ours."""
        from kafka import KafkaAdminClient  # only a test that has a broker needs the client

        admin = KafkaAdminClient(bootstrap_servers=self.bootstrap)
        try:
            found = admin.describe_cluster()["cluster_id"]
        finally:
            admin.close()
        if found != self.cluster_id:
            raise BrokerError(f"{self.bootstrap} belongs to the Kafka cluster {found}, not to ours ({self.cluster_id})")


def _new_cluster_id() -> str:
    """Kafka's own form of a UUID: url-safe base64 without padding; a leading dash would read as an option."""
    raw = uuid.uuid4().bytes
    return base64.urlsafe_b64encode(bytes([raw[0] & 0x7F]) + raw[1:]).rstrip(b"=").decode()


def _text_after(log: Path, offset: int) -> str:
    with log.open("rb") as lines:
        lines.seek(offset)
        return lines.read().decode(errors="replace")


def _tail(log: Path, lines: int = 30) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def _wait_for(condition: Callable[[], bool], limit_s: float) -> bool:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


def _load_state() -> BrokerState | None:
    """The broker that ``start`` left running, or None when it is gone."""
    if not STATE_FILE.exists():
        return None
    state = BrokerState(**json.loads(STATE_FILE.read_text()))
    return state if _is_our_broker(state) else None


def _is_our_broker(state: BrokerState) -> bool:
    """Whether the process id still names that broker: ids are given out again, so its command line is looked at too."""
    return state.root in _command_line(state.pid)


def _command_line(pid: int) -> str:
    """The process's command line, empty when there is no such process."""
    if Path("/proc/self").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
        except OSError:
            return ""
    done = subprocess.run([_program("ps"), "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return done.stdout


def start() -> str:
    """Start a broker that outlives this process, unless one runs already. Returns its bootstrap address."""
    found = _load_state()
    if found is not None:
        return found.bootstrap
    broker = KafkaBroker().start()
    CACHE.mkdir(parents=True, exist_ok=True)
    STATE_FILE.write_text(json.dumps(asdict(broker.state)))
    return broker.bootstrap


def stop() -> bool:
    """Stop the broker that :func:`start` left running and delete its data. False when there was none."""
    found = _load_state()
    STATE_FILE.unlink(missing_ok=True)
    if found is None:
        return False
    os.kill(found.pid, signal.SIGCONT)
    os.kill(found.pid, signal.SIGTERM)
    if not _wait_for(lambda: not _is_our_broker(found), STOP_LIMIT_S):
        os.kill(found.pid, signal.SIGKILL)
    shutil.rmtree(found.root, ignore_errors=True)
    return True


def status() -> BrokerState | None:
    """The running broker of :func:`start`, or None."""
    return _load_state()


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


def _command_start() -> int:
    _say(start())
    return 0


def _command_stop() -> int:
    _say("stopped" if stop() else "not running")
    return 0


def _command_status() -> int:
    found = status()
    _say(
        "not running"
        if found is None
        else f"{found.bootstrap} pid {found.pid} cluster {found.cluster_id} in {found.root}"
    )
    return 1 if found is None else 0


def _command_fetch() -> int:
    _say(str(fetch_jars()))
    return 0


COMMANDS: dict[str, Callable[[], int]] = {
    "start": _command_start,
    "stop": _command_stop,
    "status": _command_status,
    "fetch": _command_fetch,
}


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Exit code 0 done, 1 failed or not running."""
    parser = argparse.ArgumentParser(description="A real Kafka broker for tests, without containers.")
    parser.add_argument("command", choices=COMMANDS)
    chosen = parser.parse_args(arguments)
    try:
        return COMMANDS[chosen.command]()
    except BrokerError as error:
        sys.stderr.write(f"{error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
