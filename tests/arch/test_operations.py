"""docs/operations.md is true: settings, metrics, tables, commands and files that it names exist."""

import re
from pathlib import Path

from registry.config import Settings
from registry.store.tables import metadata
from resolver.config import ResolverSettings
from tests.arch.test_docs import COMMANDS
from tierlink.place import PlaceSettings
from tierlink.settings import NodeSettings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text()
SOURCES = "\n".join(
    path.read_text()
    for room in ("registry", "resolver", "tierlink")
    for path in (ROOT / room).rglob("*.py")
)


def test_settings_are_settings():
    fields = {
        f"TIERLINK_{name.upper()}"
        for settings in (Settings, ResolverSettings, NodeSettings, PlaceSettings)
        for name in settings.model_fields
    }
    fields |= {"TIERLINK_FAULT_ROUNDS"}  # of the tests in tests/faults
    assert set(re.findall(r"TIERLINK_[A-Z_]+", PAGE)) <= fields


def test_metrics_are_metrics():
    named = set(re.findall(r"`(tierlink_[a-z_]+)", PAGE))
    assert len(named) > 15
    for name in named:
        # Those of the second cache are put together: their last part is an argument.
        kind = name.removeprefix("tierlink_shared_").removesuffix("_total")
        known = f'"{kind}"' if name.startswith("tierlink_shared_") else f'"{name}"'
        assert known in SOURCES, name


def test_tables_are_tables():
    named = set(re.findall(r"`(log_\w+|map_\w+|identifier\w*|assertion\w*|edges)`", PAGE))
    assert len(named) > 8
    assert named <= {*metadata.tables, "identifiers"}


def test_commands_are_commands():
    named = set(re.findall(r"`tierlink ([a-z]+)", PAGE))
    assert "resolver" in named
    assert named <= set(COMMANDS)


def test_files_exist():
    named = re.findall(r"(?:`|python )((?:tests|registry|loadtests)/[\w./]+)", PAGE)
    assert len(named) > 4
    for name in named:
        assert (ROOT / name).exists(), name
