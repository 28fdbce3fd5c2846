"""`tierlink link`: what one end says of a link."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from . import display, records
from .options import As, Json, KeyFile, Url
from .session import Session

if TYPE_CHECKING:
    from tierlink.client import Asserted, Client


def link(
    upstream: Annotated[
        str | None, typer.Argument(metavar="UP", help="The supply side: component, input.")
    ] = None,
    downstream: Annotated[
        str | None, typer.Argument(metavar="DOWN", help="The customer side: assembly, output.")
    ] = None,
    *,
    link_type: Annotated[
        str, typer.Option("--type", help="CONTAINED_IN, CONSUMED_INTO, SHIPPED_AS, …")
    ] = "CONTAINED_IN",
    side: Annotated[
        str | None,
        typer.Option(
            metavar="upstream|downstream", help="Which end you are; with --as, it is seen."
        ),
    ] = None,
    quantity: Annotated[
        str | None, typer.Option(metavar="VALUE:UNIT", help="Such as 0.19:KGM (UNECE Rec 20).")
    ] = None,
    lifecycle: Annotated[
        str, typer.Option(help="asSpecified, asPlanned, asBuilt or asMaintained.")
    ] = "asBuilt",
    occurrence: Annotated[str | None, typer.Option(help="Tells parallel links apart.")] = None,
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Take it back.")] = False,
    batch: Annotated[
        str | None, typer.Option(metavar="FILE|-", help="NDJSON: drafts or envelopes of links.")
    ] = None,
    url: Url = None,
    speaker: As = None,
    key: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Assert from one end that UP is in DOWN; the link is mutual when both ends say so."""
    if (batch is None) != (upstream is not None and downstream is not None):
        raise typer.BadParameter("give UP and DOWN, or --batch")
    with Session(url, speaker, key).writer() as client:
        if batch is not None or upstream is None or downstream is None:
            _link_many(client, batch or "-", as_json=as_json)
            return
        draft: dict[str, object] = {
            "side": side or _side(speaker, upstream, downstream),
            "type": link_type,
            "upstream": upstream,
            "downstream": downstream,
            "lifecycle": lifecycle,
        }
        if occurrence:
            draft["occurrence"] = occurrence
        if quantity is not None:
            draft["quantity"] = _quantity(quantity)
        _print(client.withdraw(draft) if withdraw else client.link(draft), as_json=as_json)


def _link_many(client: Client, batch: str, *, as_json: bool) -> None:
    with records.opened(batch) as lines, display.progress(None, unit="linking") as move:
        records.report(client.link_many(lines, progress=move), as_json=as_json)


def _side(speaker: str | None, upstream: str, downstream: str) -> str:
    ours = [
        side
        for side, end in (("upstream", upstream), ("downstream", downstream))
        if end.partition("/")[0] == speaker
    ]
    if len(ours) != 1:
        raise typer.BadParameter(
            "say which end you are: upstream or downstream", param_hint="--side"
        )
    return ours[0]


def _quantity(text: str) -> dict[str, str]:
    value, colon, unit = text.partition(":")
    if not colon or not value or not unit:
        raise typer.BadParameter(
            f"{text} is not VALUE:UNIT, such as 0.19:KGM", param_hint="--quantity"
        )
    return {"value": value, "unit": unit}


def _print(found: Asserted, *, as_json: bool) -> None:
    if as_json:
        display.machine(
            {
                "link_key": found.link_key,
                "side": found.side,
                "version": found.version,
                "state": found.state,
                "link_state": found.link_state,
                "digest": found.digest,
                "envelope": found.envelope,
                "created": found.created,
            }
        )
        return
    display.table(
        {
            "link": found.link_key,
            "side": found.side,
            "said": f"{found.state}, version {found.version}",
            "state": found.link_state,
        }
    )
