"""The wheel holds the four packages and the migrations, and nobody else owns their names."""

import importlib.metadata
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {"schemas", "registry", "resolver", "tierlink"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        yield archive


def test_top_level_names(wheel):
    names = {name.partition("/")[0] for name in wheel.namelist()}
    assert {name for name in names if not name.endswith(".dist-info")} == PACKAGES


def test_what_runs_without_a_checkout(wheel):
    names = set(wheel.namelist())
    assert "registry/_migrations/env.py" in names
    assert any(name.startswith("registry/_migrations/versions/0001") for name in names)
    assert "tierlink/sample/__init__.py" in names
    assert "schemas/py.typed" in names
    assert not [name for name in names if name.endswith((".pyc", ".pem", ".key"))]


def test_no_other_distribution_owns_the_names():
    owners = importlib.metadata.packages_distributions()
    for package in PACKAGES:
        assert set(owners.get(package, ["tierlink"])) == {"tierlink"}, package


def test_locks_name_no_address():
    for lock in (ROOT / "requirements").glob("*.lock"):
        assert "://" not in lock.read_text(), lock
