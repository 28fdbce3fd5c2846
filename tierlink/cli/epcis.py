"""`tierlink epcis`: events become statements of links."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from . import display, records
from .options import As, Json, Url
from .session import Session

if TYPE_CHECKING:
    from tierlink.client import Captured

epcis = typer.Typer(help="Supply chain events (GS1 EPCIS 2.0).", no_args_is_help=True)


@epcis.callback()
def events() -> None:
    """Supply chain events (GS1 EPCIS 2.0)."""


@epcis.command("capture")
def capture(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="An EPCISDocument, JSON-LD.")],
    *,
    proceed: Annotated[
        bool, typer.Option("--proceed", help="Go on without events that are refused.")
    ] = False,
    lenient: Annotated[
        bool, typer.Option("--lenient", help="Take GS1 keys whose check digit is wrong.")
    ] = False,
    url: Url = None,
    speaker: As = None,
    as_json: Json = False,
) -> None:
    """Capture events: your sides of the links they speak of, each event as the evidence.

    Without --proceed all events are captured or none. What was captured before changes nothing.
    Exit code 1 where an event was refused.
    """
    raw = records.whole(file)
    with Session(url, speaker).holder() as client, display.waiting("capturing"):
        found = client.capture(raw, proceed=proceed, lenient=lenient)
    if as_json:
        display.machine(found.document)
    else:
        _print(found)
    if found.refused:
        raise typer.Exit(1)


def _print(found: Captured) -> None:
    from .failing import line as failure

    told = Counter(event.outcome for event in found.events)
    display.table(
        {
            "capture": found.capture_id,
            "events": ", ".join(f"{count} {outcome}" for outcome, count in told.items()),
            "links": sum(event.links for event in found.events),
        }
    )
    for event in found.refused:
        if event.error is not None:
            said = failure(event.error).removeprefix("tierlink: ")
            print(said, file=sys.stderr)
