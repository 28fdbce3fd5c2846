"""`tierlink witness`: keeping a transparency log honest, by settings TIERLINK_WITNESS_… ."""

from __future__ import annotations

import typer


def witness() -> None:
    """Run a witness: cosign what logs publish, if it extends what they published before."""
    try:
        from tierlink.witness.running import run
    except ModuleNotFoundError as err:
        if (err.name or "").partition(".")[0] == "tierlink":
            raise
        from schemas.errors import TierlinkError

        raise TierlinkError(
            f"running a witness needs {err.name}, which is not installed",
            fix="pip install 'tierlink[resolver]'",
        ) from err
    raise typer.Exit(run())
