"""`tierlink backup` and `tierlink restore`: one node, into a folder and back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import display
from .options import Json

if TYPE_CHECKING:
    from tierlink.backup.restoring import Restored


def backup(
    folder: Annotated[Path, typer.Argument(help="New folder for this backup.")],
    *,
    with_secrets: Annotated[
        bool,
        typer.Option(
            "--with-secrets",
            help="Copy the keyring key and the API keys of the data folder too, in clear.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Back up a node, running or not, with the settings of its registry.

    Hosted keys are in it as the database has them: sealed. What opens them is not, unless asked
    for; keep it apart.
    """
    from tierlink.backup.running import run_backup

    made = run_backup(folder, secrets=with_secrets)
    if as_json:
        display.machine(
            {
                "folder": str(folder),
                "log": {"size": made.log.size, "epoch": made.log.epoch},
                "identifiers": made.tables["identifiers"].rows,
                "waiting": made.waiting,
                "secrets": made.has_secrets,
            }
        )
        return
    display.fact("backup", folder)
    display.fact("identifiers", f"{made.tables['identifiers'].rows:,}")
    display.fact("log", f"{made.log.size:,} leaves, epoch {made.log.epoch}")
    display.fact("waiting", f"{made.waiting:,} changes for the log")
    if made.has_secrets:
        display.fact("secrets", "IN CLEAR in this folder: guard it like the node", "bold yellow")
    else:
        display.fact("secrets", "none: keep the keyring key and operator.json apart from it")


def restore(
    folder: Annotated[Path, typer.Argument(help="Folder of the backup.")],
    *,
    log_copy: Annotated[
        Path | None,
        typer.Option(
            help="The newest log/published.note of the node, from wherever it survived.",
            show_default="that in TIERLINK_DATA_DIR",
        ),
    ] = None,
    nothing_signed_since: Annotated[
        bool,
        typer.Option(
            "--nothing-signed-since",
            help="There is no such file, and no checkpoint was signed after this backup.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Restore a backup into the empty database that the settings name.

    Ends with 1 where the log was signed beyond the backup: then it must not go on, and the
    registry refuses to start; resolvers answer what is in the backup.
    """
    from tierlink.backup.running import run_restore

    done = run_restore(folder, log_copy, nothing_signed_since=nothing_signed_since)
    if as_json:
        display.machine(
            {
                "incarnation": done.incarnation,
                "log": {"size": done.manifest.log.size, "epoch": done.manifest.log.epoch},
                "lost": done.lost,
                "may_go_on": done.may_go_on,
            }
        )
    else:
        _tell(done)
    if not done.may_go_on:
        raise typer.Exit(1)


def _tell(done: Restored) -> None:
    made = done.manifest
    display.fact(
        "restored", f"{made.tables['identifiers'].rows:,} identifiers, every row as it was"
    )
    display.fact("history", f"{done.incarnation}, after {made.incarnation}: old caches are void")
    display.fact("log", f"{made.log.size:,} leaves, epoch {made.log.epoch}, verified")
    if not done.keyring_here:
        display.fact("keys", "put keyring.key into the data folder before the registry starts")
    if done.may_go_on:
        display.fact("next", "start the registry; the log goes on from here")
        return
    display.fact(
        "lost",
        f"{done.lost:,} leaves were signed after this backup, and are not in it. The log must not "
        "go on from here: it would fork, and the registry refuses to start.",
        "bold red",
    )
    display.fact("next", "find a newer backup, or the database up to its last write; until then")
    display.show(" " * 13, "`tierlink resolver` on this database answers what is in the backup")
