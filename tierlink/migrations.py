"""Runs the migrations from the checkout or from the wheel, whichever this is."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config

import registry
from schemas.errors import TierlinkError

_IN_WHEEL = Path(registry.__file__).parent / "_migrations"
_IN_CHECKOUT = Path(registry.__file__).parents[1] / "migrations"


def folder() -> Path:
    """Return where the migrations are; raise TierlinkError where this installation has none."""
    for found in (_IN_WHEEL, _IN_CHECKOUT):
        if (found / "env.py").exists():
            return found
    raise TierlinkError("this installation has no migrations", fix="install tierlink anew")


def configured(url: str) -> Config:
    """Return Alembic's configuration for a database."""
    config = Config()
    config.set_main_option("script_location", str(folder()).replace("%", "%%"))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


def upgrade(url: str) -> None:
    """Bring a database to the newest schema. Blocks, and runs an event loop of its own."""
    command.upgrade(configured(url), "head")
