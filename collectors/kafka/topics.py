"""The topics, and the client settings that every user of them shares."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import TopicAlreadyExistsError

from tidegauge.config import Kafka
from tidegauge.model import Signal

MAX_MESSAGE_BYTES = 64 * 2**20 + 2**16  # the receiver's largest request and the record's own overhead
CONNECTION = {"reconnect_backoff_max_ms": 1000}  # the default leaves clients silent for half a minute


@dataclass(frozen=True, slots=True)
class TopicChange:
    """What ``apply_topics`` did to one topic: ``change`` is "created", or the settings that it changed."""

    topic: str
    change: str


def connection(settings: Kafka) -> dict[str, Any]:
    """Settings for any Kafka client: where the brokers are and how to be let in."""
    files = {"cafile": settings.ssl_ca_file, "certfile": settings.ssl_cert_file, "keyfile": settings.ssl_key_file}
    found: dict[str, Any] = {
        "bootstrap_servers": list(settings.bootstrap_servers),
        "security_protocol": settings.security_protocol,
        **CONNECTION,
        **{f"ssl_{name}": str(path) for name, path in files.items() if path},
    }
    if settings.security_protocol.startswith("SASL"):
        found |= {
            "sasl_mechanism": settings.sasl_mechanism,
            "sasl_plain_username": settings.sasl_username,
            "sasl_plain_password": settings.sasl_password.get_secret_value(),
        }
    return found


def native(settings: Kafka) -> dict[str, Any]:
    """The same as librdkafka names it."""
    found: dict[str, Any] = {
        "bootstrap.servers": ",".join(settings.bootstrap_servers),
        "security.protocol": settings.security_protocol,
        "reconnect.backoff.max.ms": CONNECTION["reconnect_backoff_max_ms"],
        "ssl.ca.location": settings.ssl_ca_file,
        "ssl.certificate.location": settings.ssl_cert_file,
        "ssl.key.location": settings.ssl_key_file,
    }
    if settings.security_protocol.startswith("SASL"):
        found |= {
            "sasl.mechanism": settings.sasl_mechanism,
            "sasl.username": settings.sasl_username,
            "sasl.password": settings.sasl_password.get_secret_value(),
        }
    return {
        name: str(value) if isinstance(value, Path) else value for name, value in found.items() if value is not None
    }


def create_topics(settings: Kafka) -> list[str]:
    """Create the topics that do not exist yet; returns their names."""
    admin = KafkaAdminClient(**connection(settings))
    try:
        return _create_missing(admin, settings)
    finally:
        admin.close()


def apply_topics(settings: Kafka) -> list[TopicChange]:
    """Create the topics that do not exist yet, and give those that do their retention of ``settings``."""
    admin = KafkaAdminClient(**connection(settings))
    try:
        created = _create_missing(admin, settings)
        older = sorted(_names(settings) - set(created))
        altered = _alter(admin, {name: _retention(settings, name) for name in older})
        return [*(TopicChange(name, "created") for name in created), *altered]
    finally:
        admin.close()


def _names(settings: Kafka) -> set[str]:
    return {*map(str, Signal), settings.dead_letter_topic}


def _retention(settings: Kafka, topic: str) -> dict[str, str]:
    dead = topic == settings.dead_letter_topic
    hours = settings.dead_letter_retention_hours if dead else settings.retention_hours
    return {
        "retention.ms": str(int(hours * 3_600_000)),
        "retention.bytes": str(settings.retention_bytes),
    }


def _create_missing(admin: KafkaAdminClient, settings: Kafka) -> list[str]:
    missing = _names(settings) - set(admin.list_topics())
    return [name for name in sorted(missing) if _create(admin, name, settings)]


def _create(admin: KafkaAdminClient, name: str, settings: Kafka) -> bool:
    options = {
        "num_partitions": settings.partitions,
        "replication_factor": settings.replication_factor,
        "configs": {"max.message.bytes": str(MAX_MESSAGE_BYTES), **_retention(settings, name)},
    }
    try:
        admin.create_topics({name: options}, wait_for_metadata=True)
    except TopicAlreadyExistsError:  # another process was quicker
        return False
    return True


def _alter(admin: KafkaAdminClient, wanted: dict[str, dict[str, str]]) -> list[TopicChange]:
    resources = [ConfigResource(ConfigResourceType.TOPIC, name, dict.fromkeys(each)) for name, each in wanted.items()]
    found = admin.describe_configs(resources, config_filter="all") if wanted else {}
    present = {name: configs for kind in found.values() for name, configs in kind.items()}
    changes = []
    for name, configs in wanted.items():
        differing = {key: value for key, value in configs.items() if str(present[name][key]["value"]) != value}
        if differing:
            admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, dict(differing))])
            told = (f"{key}: {present[name][key]['value']} -> {value}" for key, value in differing.items())
            changes.append(TopicChange(name, ", ".join(told)))
    return changes
