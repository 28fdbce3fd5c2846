"""`tierlink up`, `migrate`, `registry`, `resolver`: running a node, by settings TIERLINK_… ."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

import typer


def up() -> None:
    """Run a whole node in the foreground: database, registry, resolver and the sample."""
    _run("up")


def migrate() -> None:
    """Bring the database to the newest schema."""
    _run("migrate")


def registry() -> None:
    """Run the registry alone, on the database of TIERLINK_DATABASE_URL."""
    _run("registry")


def resolver() -> None:
    """Run a resolver alone, on the same database or a standby of it."""
    _run("resolver")


def _run(role: str) -> None:
    try:
        composition = import_module("tierlink.up")
    except ModuleNotFoundError as err:
        if (err.name or "").partition(".")[0] == "tierlink":
            raise
        from schemas.errors import TierlinkError

        raise TierlinkError(
            f"running a node needs {err.name}, which is not installed",
            fix="pip install 'tierlink[server,embedded]'",
        ) from err
    run: Callable[[], int] = getattr(composition, role)
    raise typer.Exit(run())
