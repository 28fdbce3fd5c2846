"""How a command fails: one line with code, value and cure, exit code 1, never a traceback."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from .display import clean

if TYPE_CHECKING:
    from schemas.errors import TierlinkError

MACHINE = "tierlink.json"  # in the context: standard output is for a program


class Commands(TyperGroup):
    """Translates the exceptions of schemas.errors, once, for every command."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        from schemas.errors import TierlinkError

        try:
            if os.environ.get("TIERLINK_SM2"):
                from tierlink.custody import admit_algorithms

                admit_algorithms(os.environ)
            return super().invoke(ctx)
        except TierlinkError as err:
            if ctx.meta.get(MACHINE):
                print(json.dumps(err.problem(), ensure_ascii=False))
            print(line(err), file=sys.stderr)
        except BrokenPipeError:
            # Whoever read us has read enough; nothing more can be said on that pipe.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except OSError as err:
            where = f"{err.filename}: " if err.filename else ""
            print(f"tierlink: {clean(where)}{err.strerror or err}", file=sys.stderr)
        raise typer.Exit(1)


def line(err: TierlinkError) -> str:
    """Return the one line that tells of a failure."""
    said = f"tierlink: {err.code}: {err.detail}"
    value = err.problem().get("value")
    if value is not None and str(value) not in err.detail:
        said += f" ({value})"
    return clean(f"{said}; {err.fix}" if err.fix else said)
