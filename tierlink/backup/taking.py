"""Taking a backup of a node that runs, or of one that does not.

B1  the log's independent copy, before the snapshot: so it is never ahead of the database
B2  a snapshot, in which all that follows is read; writing goes on meanwhile
B3  the keyring key opens what is hosted: else the backup would be of keys that nobody has
B4  what the database is, the sums of its tables, and the changes that the log has not taken in
B5  pg_dump, of the same snapshot
B6  the manifest, last: a folder without it is no backup
"""

from __future__ import annotations

import shutil
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import asyncpg

from registry.keyring import Keyring
from registry.store import backup as store, keys, log as log_store
from registry.store.engine import ReadTx
from schemas.checkpoint import SIGNED_NOTE, NoteKey
from schemas.identifier import Prefix
from tierlink.database import opened
from tierlink.log import COPY
from tierlink.settings import KEYRING, keyring_key

from . import tools
from .failure import BackupFailed
from .manifest import DUMP, NOTE, SECRETS, TRUST, WAITING, LogHead, Manifest, file_digest

PRIVATE = (KEYRING, "operator.json", "sample.json")  # in the data folder


async def take(
    url: str, data_dir: Path, folder: Path, *, kek: bytes | None = None, secrets: bool = False
) -> Manifest:
    """Back up the node at a database into a new folder; `secrets` are in clear there.

    `kek` is the keyring key where it is not kept in the data folder. Raise BackupFailed.
    """
    _prepare(folder)
    keyring = _keyring(kek, data_dir)
    # B1
    _copy(data_dir / COPY, folder / NOTE)
    _copy(data_dir / TRUST, folder / TRUST)
    async with opened(url, 1) as database, database.read() as tx:
        # B2
        driver = await tx.driver()
        await store.patient(driver)
        snapshot = await store.export(driver)
        # B3
        head = await _head(tx, driver, keyring)
        # B4
        facts = await store.facts(driver)
        assert facts is not None  # a log was founded, so the database was
        waiting = await store.copy_waiting(driver, folder / WAITING)
        sums = await store.sums(driver)
        # B5
        left_out = [f"--exclude-table-data=public.{name}" for name in sorted(store.LEFT_OUT)]
        how = ("--format=custom", "--no-owner", "--no-privileges", f"--snapshot={snapshot}")
        await tools.run(url, "pg_dump", *how, *left_out, "--file", folder / DUMP)
    if secrets:
        for name in PRIVATE:
            _copy(data_dir / name, folder / SECRETS / name)
    # B6
    now, release = int(time.time()), version("tierlink")
    manifest = Manifest(now, release, *facts, head, waiting, sums, _digests(folder))
    manifest.write(folder)
    return manifest


def _prepare(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()):
        raise BackupFailed(
            f"{folder} is not empty", value=str(folder), fix="name a folder for this backup alone"
        )
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)


def _keyring(kek: bytes | None, data_dir: Path) -> Keyring:
    if kek is None and not (data_dir / KEYRING).exists():
        raise BackupFailed(
            "the keyring key of this node is not here",
            fix="run it with the settings and the data folder of the registry",
        )
    return Keyring(kek or keyring_key(data_dir))


async def _head(tx: ReadTx, driver: asyncpg.Connection[Any], keyring: Keyring) -> LogHead:
    state = await log_store.state(driver)
    if state is None:
        raise BackupFailed(
            "this database was never founded", fix="start `tierlink registry` on it first"
        )
    await keyring.check(tx)
    signer = await keyring.signer(tx, Prefix(()), keys.LOG_USE)
    key = NoteKey(state.origin, SIGNED_NOTE, signer.public)
    return LogHead(key.vkey, state.size, state.root.hex(), state.epoch)


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): file_digest(path) for path in files}


def _copy(source: Path, target: Path) -> None:
    """Copy a file that may be missing; only its owner may read the copy."""
    if source.exists():
        target.parent.mkdir(mode=0o700, exist_ok=True)
        shutil.copyfile(source, target)
        target.chmod(0o600)
