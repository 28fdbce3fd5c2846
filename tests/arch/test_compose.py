"""docker-compose.yml, read as data: what can be known of it without a container engine."""

from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from tierlink.cli import app

ROOT = Path(__file__).parents[2]


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
    for name in ("migrate", "registry", "resolver-1", "resolver-2", "load"):
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
    for name in ("migrate", "registry", "resolver-1", "resolver-2"):
        (command,) = compose["services"][name]["command"]
        assert command in known, name


def test_every_volume_and_network_is_declared(compose):
    for service in compose["services"].values():
        assert set(service.get("networks", [])) <= set(compose["networks"])
        for volume in service.get("volumes", []):
            assert volume.partition(":")[0] in compose["volumes"]
