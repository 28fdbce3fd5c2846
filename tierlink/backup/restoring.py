"""Restoring a backup into an empty database, as the beginning of another history.

    R1  every file is what was backed up, and this release knows its schema
    R2  the database is empty
    R3  the newest copy of the log that there is, given, or in the data folder; it lies in the data
        folder before anything is loaded, so that no start can pass it by                       I10
    R4  pg_restore, in one transaction. The database has no name yet: nobody answers from it
    R5  in one transaction: every table has the rows that it had, the log is where it was, and the
        history gets a name of its own: what anybody keeps of the old one is void
    R6  migrations, where this release is newer
    R7  the whole log is derived again from its entries, and compared with R3
    R8  trust.json and, where they are in the backup, the keys; none that is there is overwritten

Positions are transaction ids of a server, so none of the old server's is kept: the log goes on from
the changes that wait, and resolvers begin anew. Where the log was signed beyond the backup it must
never go on from there: R3 sees to it that `tierlink registry` refuses.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from alembic.script import ScriptDirectory
from alembic.util import CommandError

from registry.log.check import check_log
from registry.log.copy import Copy
from registry.store import backup as store, log as log_store
from registry.store.engine import Store, WriteTx
from schemas.checkpoint import Checkpoint
from schemas.policy import LogPolicy
from tierlink import migrations
from tierlink.database import opened
from tierlink.log import COPY
from tierlink.settings import KEYRING, private_write

from . import tools
from .failure import BackupFailed
from .manifest import DUMP, NOTE, SECRETS, TRUST, WAITING, LogHead, Manifest

INCARNATION_BYTES = 8


@dataclass(frozen=True, slots=True)
class Restored:
    """What stands now; `lost` are leaves that were signed after the backup, and are not in it."""

    manifest: Manifest
    incarnation: str
    lost: int
    keyring_here: bool

    @property
    def may_go_on(self) -> bool:
        """Tell whether the log may be written on from here."""
        return not self.lost


async def restore(
    url: str,
    data_dir: Path,
    folder: Path,
    *,
    log_copy: Path | None = None,
    nothing_signed_since: bool = False,
) -> Restored:
    """Restore a backup; raise BackupFailed, and LogBroken where its log is not whole.

    One of `log_copy`, the newest copy of published.note that there is, the same file in
    `data_dir`, and the statement that no checkpoint was signed after the backup has to be given.
    """
    # R1
    manifest = Manifest.read(folder)
    _check_schema(url, manifest)
    async with opened(url, 2) as database:
        # R2
        async with database.statement() as driver:
            if not await store.is_empty(driver):
                raise BackupFailed(
                    "the database is not empty",
                    fix="restore into an empty database, or another TIERLINK_DATA_DIR",
                )
        # R3
        head = _place_copy(
            manifest.log,
            data_dir / COPY,
            folder / NOTE,
            log_copy,
            nothing_signed_since=nothing_signed_since,
        )
        # R4
        how = ("--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges")
        await tools.run(url, "pg_restore", *how, "--dbname=", folder / DUMP)
        # R5
        incarnation = secrets.token_hex(INCARNATION_BYTES)
        async with database.write() as tx:
            await _begin(tx, manifest, incarnation, folder / WAITING)
        # R6
        await asyncio.to_thread(migrations.upgrade, url)
        # R7
        lost = max(0, (head.size if head else 0) - manifest.log.size)
        await _check_log(database, manifest.log, None if lost else data_dir / COPY)
        async with database.statement() as driver:
            await store.analyze(driver)
    # R8
    _keep_files(folder, data_dir)
    return Restored(manifest, incarnation, lost, (data_dir / KEYRING).exists())


def _check_schema(url: str, manifest: Manifest) -> None:
    scripts = ScriptDirectory.from_config(migrations.configured(url))
    try:
        scripts.get_revision(manifest.schema)
    except CommandError as err:
        raise BackupFailed(
            f"the backup was made by tierlink {manifest.release}, whose schema "
            f"{manifest.schema} this release does not know",
            fix="restore it with that release or a newer one",
        ) from err


def _place_copy(
    log: LogHead,
    place: Path,
    backed_up: Path,
    given: Path | None,
    *,
    nothing_signed_since: bool,
) -> Checkpoint | None:
    """Put the newest copy where it belongs, and return what it says (R3)."""
    if given is not None and not given.exists():
        raise BackupFailed(f"there is no {given}", value=str(given))
    found = [
        (head.size, path, head)
        for path in (backed_up, place, given)
        if path is not None and (head := Copy(path, log.key).read()) is not None
    ]
    if given is None and not place.exists() and not nothing_signed_since:
        raise BackupFailed(
            "nothing tells up to where the log of this node was signed",
            fix="name the newest log/published.note of the node (--log-copy); if it is lost and "
            "the node was stopped before this backup was made, or never ran again after it, say "
            "--nothing-signed-since. Where that is not true the log forks, and everybody who "
            "follows it sees that",
        )
    if not found:
        return None
    size, path, head = max(found, key=lambda item: item[0])
    if nothing_signed_since and size > log.size:
        raise BackupFailed(
            f"a checkpoint of {size} leaves was signed after this backup, which has {log.size}",
            value=str(path),
            fix="leave --nothing-signed-since out",
        )
    if path != place:
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        private_write(place, path.read_text(encoding="utf-8"))
    return head


async def _begin(tx: WriteTx, manifest: Manifest, incarnation: str, waiting: Path) -> None:
    driver = await tx.driver()
    await store.patient(driver)
    sums = await store.sums(driver)
    amiss = sorted(name for name, item in manifest.tables.items() if sums.get(name) != item)
    if amiss:
        raise BackupFailed(f"the rows of {', '.join(amiss)} are not those that were backed up")
    state = await log_store.state(driver)
    here = None if state is None else (state.size, state.root.hex(), state.epoch)
    if here != (manifest.log.size, manifest.log.root, manifest.log.epoch):
        raise BackupFailed("the log is not where it was when it was backed up")
    if await store.begin(driver, incarnation, waiting) != manifest.waiting:
        raise BackupFailed("the changes that waited for the log are not all there")


async def _check_log(database: Store, log: LogHead, copy: Path | None) -> None:
    async with database.read() as tx:
        await store.patient(await tx.driver())
        await check_log(tx, LogPolicy(log.key), None if copy is None else Copy(copy, log.key))


def _keep_files(folder: Path, data_dir: Path) -> None:
    if (folder / TRUST).exists() and not (data_dir / TRUST).exists():
        shutil.copyfile(folder / TRUST, data_dir / TRUST)
    if (folder / SECRETS).is_dir():
        for path in sorted((folder / SECRETS).iterdir()):
            private_write(data_dir / path.name, path.read_text(encoding="utf-8"), keep=True)
