"""The README is true: commands, settings, routes and test files that it names exist."""

import re
from pathlib import Path

import pytest
from typer.main import get_command

from registry.config import Settings
from resolver.config import ResolverSettings
from tierlink import up
from tierlink.cli import app
from tierlink.place import PlaceSettings
from tierlink.settings import NodeSettings
from tierlink.witness.settings import WitnessSettings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
COMMANDS = get_command(app).commands


def test_commands_and_their_options():
    lines = README.replace("`tierlink ready", "`")  # a line that `up` prints
    called = re.findall(r"(?:^\$ |\| |`)tierlink ([a-z]+)([^\n`|>]*)", lines, re.MULTILINE)
    assert len(called) > 10
    for name, rest in called:
        assert name in COMMANDS, name
        known = options(COMMANDS[name])
        for option in re.findall(r"(?<= )--[a-z-]+", rest):
            assert option in known, f"tierlink {name} {option}"


def options(command):
    """The options of a command, or of all the commands of a group."""
    inner = getattr(command, "commands", {}).values()
    own = {option for param in command.params for option in (*param.opts, *param.secondary_opts)}
    return own.union(*map(options, inner))


def test_settings_are_settings():
    fields = {
        f"TIERLINK_{name.upper()}"
        for settings in (Settings, ResolverSettings, NodeSettings, PlaceSettings, WitnessSettings)
        for name in settings.model_fields
    }
    # read by the command line
    fields |= {"TIERLINK_API_KEY", "TIERLINK_API_KEY_FILE", "TIERLINK_KEY", "TIERLINK_URL"}
    fields |= {"TIERLINK_KEY_PASSPHRASE", "TIERLINK_KEY_PASSPHRASE_FILE"}
    fields |= {"TIERLINK_PKCS11_MODULE", "TIERLINK_PKCS11_PIN_FILE"}
    assert set(re.findall(r"TIERLINK_[A-Z0-9_]+", README)) <= fields


def test_make_targets_exist():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z]+)", README)) <= targets


def test_files_exist():
    named = re.findall(r"`((?:tests|docs|resolver|tierlink|schemas|registry)/[\w./-]*)`", README)
    linked = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert named
    for name in [*named, *linked]:
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize("path", up.REGISTRY_PATHS)
def test_every_path_of_the_registry_is_in_the_table(path):
    assert path in README or path == "/openapi.json"


def test_decisions_are_numbered_without_gaps():
    numbers = sorted(int(path.name[:4]) for path in (ROOT / "docs" / "adr").glob("*.md"))
    assert numbers == list(range(1, len(numbers) + 1))
