"""`tierlink allocate` and `tierlink prefix …`: who holds which namespace."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import display
from .options import KEY, As, Issuers, Json, NextKeys, Thresholds, Url, read_thresholds
from .session import Session

if TYPE_CHECKING:
    from tierlink.client import PrefixView

Prefix = Annotated[str, typer.Argument(metavar="PREFIX", help="Such as 88.118.9.")]


def allocate(
    prefix: Prefix,
    organisation: Annotated[str, typer.Option("--organisation", "-o", help="Name of the holder.")],
    *,
    uscc: Annotated[
        str | None, typer.Option(help="Unified social credit code (统一社会信用代码).")
    ] = None,
    lei: Annotated[str | None, typer.Option(help="Legal entity identifier, ISO 17442.")] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(
            "--key", metavar=KEY, help="Key of the holder, proved here; without, one is hosted."
        ),
    ] = None,
    following: NextKeys = None,
    threshold: Thresholds = None,
    issuer: Issuers = None,
    keep: Annotated[
        Path | None,
        typer.Option("--api-key-out", help="File to write the API key to, mode 0600."),
    ] = None,
    url: Url = None,
    speaker: As = None,
    as_json: Json = False,
) -> None:
    """Allocate a prefix below yours; the new API key is shown this once.

    Without an API key, that of the operator in the data folder is used.
    """
    from tierlink import keyfile
    from tierlink.client import NewKey

    session = Session(url, speaker)
    with session.allocator() as client:
        view = client.allocate(
            prefix,
            organisation,
            uscc=uscc,
            lei=lei,
            keys=[NewKey(session.open_key(name)) for name in key or ()],
            issuer=session.open_keys(issuer),
            next_keys=[session.kid(name) for name in following or ()],
            thresholds=read_thresholds(threshold),
        )
    assert view.api_key is not None  # the client refuses a reply without one
    if keep is not None:
        keyfile.write_private(keep, f"{view.api_key}\n".encode())
    if as_json:
        display.machine({**view.document, "api_key": view.api_key})
        return
    _show(view)
    display.fact("API key", f"in {keep}" if keep else view.api_key, "bold")
    if keep is None:
        display.fact("", "kept nowhere else: store it now")


prefix = typer.Typer(help="Show, suspend and resume prefixes.", no_args_is_help=True)


@prefix.command("show")
def show(prefix: Prefix, *, url: Url = None, as_json: Json = False) -> None:
    """Show who holds a prefix, and with which keys."""
    with Session(url).plain() as client:
        tell(client.prefix(prefix), as_json=as_json)


@prefix.command("list")
def listing(
    parent: Annotated[str | None, typer.Argument(help="Only those right below it.")] = None,
    *,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """List prefixes; with --json one a line."""
    with Session(url).plain() as client:
        for view in client.prefixes(parent):
            if as_json:
                display.machine(view.document)
            else:
                display.show(view.prefix, "  ", view.status, "  ", view.organisation)


@prefix.command("suspend")
def suspend(prefix: Prefix, *, url: Url = None, speaker: As = None, as_json: Json = False) -> None:
    """Stop a prefix and everything below it, until it is resumed."""
    with Session(url, speaker).allocator() as client:
        tell(client.suspend(prefix), as_json=as_json)


@prefix.command("resume")
def resume(prefix: Prefix, *, url: Url = None, speaker: As = None, as_json: Json = False) -> None:
    """Let a suspended prefix act and answer again."""
    with Session(url, speaker).allocator() as client:
        tell(client.resume(prefix), as_json=as_json)


def tell(view: PrefixView, *, as_json: bool) -> None:
    """Print who holds a prefix, for people or for a program."""
    if as_json:
        display.machine(view.document)
    else:
        _show(view)


def _show(view: PrefixView) -> None:
    from schemas.delegation import parse_delegation

    display.table(
        {
            "prefix": view.prefix,
            "parent": view.parent,
            "holder": view.organisation,
            "status": view.status,
            "delegation": f"number {view.sequence}",
            "key": "hosted by the registry" if view.hosted else "kept by the holder",
        }
    )
    delegation = parse_delegation(view.delegation)[1] if view.parent else None
    for kid in view.kids:
        revoked = delegation.revocation(kid) if delegation else None
        since = f"  revoked since entry {revoked.since}, {revoked.reason}" if revoked else ""
        display.fact("kid", f"{kid}{since}")
    for kid in delegation.next_keys if delegation else ():
        display.fact("next", kid)
    display.fact("recovery", view.recovered_at, "bold yellow")
