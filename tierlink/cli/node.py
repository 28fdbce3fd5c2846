"""`tierlink up`, `migrate`, `registry`, `resolver`: running a node, by settings TIERLINK_… ."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from importlib import import_module
from typing import Annotated

import typer

from tierlink import collecting


class Role(StrEnum):
    """What a node is among others."""

    ROOT = "root"
    SECONDARY = "secondary"
    ENTERPRISE = "enterprise"
    RECURSIVE = "recursive"


def up(
    role: Annotated[
        Role | None,
        typer.Option(
            show_default=False, help="What the node is, by default TIERLINK_ROLE, else root."
        ),
    ] = None,
) -> None:
    """Run a whole node in the foreground: database, registry, resolver and the sample.

    A secondary or enterprise node joins the node of the prefix above at its first start. A
    recursive one has no database: it resolves, and holds nothing.
    """
    _run("up", "tierlink.up", None if role is None else role.value)


def migrate() -> None:
    """Bring the database to the newest schema."""
    _run("migrate")


def registry() -> None:
    """Run the registry alone, on the database of TIERLINK_DATABASE_URL."""
    _run("registry")


def resolver(
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=256,
            show_default=False,
            help="Processes that answer, by default TIERLINK_WORKERS, else 1.",
        ),
    ] = None,
) -> None:
    """Run a resolver alone, on the same database or a standby of it.

    With several workers, SIGHUP renews them one after another, and SIGTERM ends them all in order.
    """
    _run("run", "tierlink.hosting", workers)


def _run(role: str, module: str = "tierlink.up", *arguments: object) -> None:
    collecting.put_off()
    try:
        composition = import_module(module)
    except ModuleNotFoundError as err:
        if (err.name or "").partition(".")[0] == "tierlink":
            raise
        from schemas.errors import TierlinkError

        raise TierlinkError(
            f"running a node needs {err.name}, which is not installed",
            fix="pip install 'tierlink[server,embedded]'",
        ) from err
    run: Callable[..., int] = getattr(composition, role)
    raise typer.Exit(run(*arguments))
