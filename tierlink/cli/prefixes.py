"""`tierlink allocate` and `tierlink prefix …`: who holds which namespace."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import display
from .options import As, Json, Url
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
        list[Path] | None,
        typer.Option("--key", help="Key file of the holder, proved here; without, one is hosted."),
    ] = None,
    issuer: Annotated[
        Path | None,
        typer.Option(help="Key file of the parent, where the registry does not host its key."),
    ] = None,
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
    phrase = keyfile.passphrase(session.environ)
    with session.allocator() as client:
        view = client.allocate(
            prefix,
            organisation,
            uscc=uscc,
            lei=lei,
            keys=[NewKey(keyfile.load(path, phrase)) for path in key or ()],
            issuer=keyfile.load(issuer, phrase) if issuer else None,
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
        _print(client.prefix(prefix), as_json=as_json)


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
        _print(client.suspend(prefix), as_json=as_json)


@prefix.command("resume")
def resume(prefix: Prefix, *, url: Url = None, speaker: As = None, as_json: Json = False) -> None:
    """Let a suspended prefix act and answer again."""
    with Session(url, speaker).allocator() as client:
        _print(client.resume(prefix), as_json=as_json)


def _print(view: PrefixView, *, as_json: bool) -> None:
    if as_json:
        display.machine(view.document)
    else:
        _show(view)


def _show(view: PrefixView) -> None:
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
    for kid in view.kids:
        display.fact("kid", kid)
