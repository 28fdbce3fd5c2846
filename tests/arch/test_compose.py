"""docker-compose.yml, read as data: what can be known of it without a container engine."""

from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from registry.config import Settings
from tierlink.cli import app
from tierlink.settings import NodeSettings
from tierlink.witness.settings import WitnessSettings

ROOT = Path(__file__).parents[2]
WITNESSES = ("witness-1", "witness-2", "witness-3")


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def test_the_services(compose):
    assert set(compose["services"]) == {
        "postgres",
        "redis",
        "migrate",
        "registry",
        "resolver-1",
        "resolver-2",
        "witness-1",
        "witness-2",
        "witness-3",
        "load",
    }
    assert compose["services"]["load"]["profiles"] == ["load"]


def test_nobody_waits_for_what_is_not_there(compose):
    for name, service in compose["services"].items():
        for other, how in service.get("depends_on", {}).items():
            needed = compose["services"][other]
            if how["condition"] == "service_healthy":
                assert "healthcheck" in needed, (name, other)
            if how["condition"] == "service_completed_successfully":
                assert needed["restart"] == "no", (name, other)


def test_databases_are_not_published_and_the_rest_only_on_loopback(compose):
    for name, service in compose["services"].items():
        ports = service.get("ports", [])
        assert all(port.startswith("127.0.0.1:") for port in ports), name
        if name in ("postgres", "redis"):
            assert not ports
            assert service["networks"] == ["inner"]


def test_our_own_containers_are_hardened(compose):
    for name in ("migrate", "registry", "resolver-1", "resolver-2", "load", *WITNESSES):
        service = compose["services"][name]
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert service["init"] is True, name


def test_secrets_come_from_the_environment_and_are_all_explained(compose):
    example = (ROOT / ".env.example").read_text()
    for secret in compose["secrets"].values():
        assert f"{secret['environment']}=" in example
    for service in compose["services"].values():
        for secret in service.get("secrets", []):
            assert secret in compose["secrets"]


def test_commands_are_commands_of_tierlink(compose):
    known = set(get_command(app).commands)
    for name in ("migrate", "registry", "resolver-1", "resolver-2", *WITNESSES):
        (command,) = compose["services"][name]["command"]
        assert command in known, name


def test_every_volume_and_network_is_declared(compose):
    for service in compose["services"].values():
        assert set(service.get("networks", [])) <= set(compose["networks"])
        for volume in service.get("volumes", []):
            assert volume.partition(":")[0] in compose["volumes"]


def test_the_witnesses_are_wired_to_the_registry(compose):
    log = compose["services"]["registry"]["environment"]
    assert log["TIERLINK_LOG_QUORUM"] == "2"
    asked = dict(item.split() for item in log["TIERLINK_LOG_WITNESSES"].split(","))
    assert len(asked) == len(WITNESSES)
    names = set()
    for service in WITNESSES:
        settings = compose["services"][service]["environment"]
        where = f"http://{service}:{settings['TIERLINK_PORT']}"
        assert asked[where] == "@" + settings["TIERLINK_WITNESS_VKEY_FILE"]
        assert settings["TIERLINK_WITNESS_LOGS_FILE"] == log["TIERLINK_LOG_VKEY_FILE"]
        names.add(settings["TIERLINK_WITNESS_NAME"])
        started = compose["services"]["registry"]["depends_on"][service]
        assert started == {"condition": "service_healthy"}
    assert len(names) == len(WITNESSES)


def test_the_settings_of_a_witness_are_settings(compose):
    known = {f"TIERLINK_{name.upper()}" for name in WitnessSettings.model_fields}
    for service in WITNESSES:
        assert set(compose["services"][service]["environment"]) <= known


def test_the_settings_of_the_registry_are_settings(compose):
    fields = {**Settings.model_fields, **NodeSettings.model_fields}
    known = {f"TIERLINK_{name.upper()}" for name in fields}
    assert set(compose["services"]["registry"]["environment"]) <= known


def test_nobody_mounts_the_secrets_of_another(compose):
    private = [
        volume
        for service in compose["services"].values()
        for volume in service.get("volumes", [])
        if not volume.startswith("public:")
    ]
    assert len(set(private)) == len(private)
    assert "registry:/var/lib/tierlink" in private
