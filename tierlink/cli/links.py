"""`tierlink link`: assert a link from one end, or take it back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from . import display
from .options import As, Json, KeyFile, Url
from .session import Session

if TYPE_CHECKING:
    from schemas.canonical import JsonObject
    from tierlink.client import Asserted


def link(
    upstream: Annotated[str, typer.Argument(help="The supply side: component, input.")],
    downstream: Annotated[str, typer.Argument(help="The customer side: assembly, output.")],
    *,
    link_type: Annotated[
        str, typer.Option("--type", help="CONTAINED_IN, CONSUMED_INTO, SHIPPED_AS, ….")
    ] = "CONTAINED_IN",
    side: Annotated[
        str, typer.Option(help="The end that speaks: upstream or downstream.")
    ] = "downstream",
    lifecycle: Annotated[
        str, typer.Option(help="asSpecified, asPlanned, asBuilt or asMaintained.")
    ] = "asBuilt",
    occurrence: Annotated[
        str | None, typer.Option(help="Tells parallel links between the same two ends apart.")
    ] = None,
    quantity: Annotated[
        str | None, typer.Option(metavar="AMOUNT:UNIT", help="Such as 0.19:KGM or 4:H87.")
    ] = None,
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Take it back.")] = False,
    speaker: As = None,
    key: KeyFile = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Assert a link between two identifiers; it is mutual once both ends have said the same."""
    draft: JsonObject = {
        "side": side,
        "type": link_type,
        "upstream": upstream,
        "downstream": downstream,
        "lifecycle": lifecycle,
    }
    if occurrence:
        draft["occurrence"] = occurrence
    if quantity is not None:
        amount, colon, unit = quantity.partition(":")
        if not colon:
            raise typer.BadParameter("is AMOUNT:UNIT, such as 4:H87", param_hint="--quantity")
        draft["quantity"] = {"value": amount, "unit": unit}
    with Session(url, speaker, key).writer() as client:
        done = client.withdraw(draft) if withdraw else client.link(draft)
    _print(done, upstream, downstream, as_json=as_json)


def _print(done: Asserted, upstream: str, downstream: str, *, as_json: bool) -> None:
    if as_json:
        display.machine(
            {
                "link_key": done.link_key,
                "side": done.side,
                "version": done.version,
                "state": done.state,
                "attest": done.attest,
                "digest": done.digest,
                "envelope": done.envelope,
                "created": done.created,
            }
        )
        return
    display.fact("link", f"{upstream} → {downstream}", "bold")
    display.fact("state", f"{done.state} by the {done.side} side, version {done.version}")
    display.fact("attest", done.attest)
    display.fact("key", done.link_key)
