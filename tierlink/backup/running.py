"""`tierlink backup` and `tierlink restore`, on the database that the settings name."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

from tierlink.node import Node

from .failure import BackupFailed
from .manifest import Manifest
from .restoring import Restored, restore
from .taking import take


def run_backup(folder: Path, *, secrets: bool) -> Manifest:
    """Back up the node of the environment's settings."""
    node = Node.read()
    with _existing(node) as url:
        return asyncio.run(
            take(url, node.node.data_dir, folder, kek=node.registry.kek, secrets=secrets)
        )


def run_restore(folder: Path, log_copy: Path | None, *, nothing_signed_since: bool) -> Restored:
    """Restore into the empty database of the environment's settings."""
    node = Node.read()
    data_dir = node.node.data_dir
    with node.database() as url:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        return asyncio.run(
            restore(
                url,
                data_dir,
                folder,
                log_copy=log_copy,
                nothing_signed_since=nothing_signed_since,
            )
        )


@contextlib.contextmanager
def _existing(node: Node) -> Iterator[str]:
    """Give the URL of the database, which may be the embedded one of a node that runs."""
    data_dir = node.node.data_dir
    if node.registry.url is None:
        from tierlink import embedded  # noqa: PLC0415  (an extra)

        if not (data_dir / "pg").exists():
            raise BackupFailed(
                f"there is no database in {data_dir}",
                value=str(data_dir),
                fix="set TIERLINK_DATA_DIR or TIERLINK_DATABASE_URL as for the node",
            )
        found = embedded.guest(data_dir)
        if found is not None:
            yield found
            return
    with node.database() as url:
        yield url
