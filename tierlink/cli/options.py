"""Options that several commands have, each written once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from .failing import MACHINE


def _machine(ctx: Any, value: bool) -> bool:  # noqa: FBT001  (a callback of typer)
    ctx.meta[MACHINE] = value
    return value


Json: TypeAlias = Annotated[
    bool, typer.Option("--json", callback=_machine, help="JSON on standard output, nothing else.")
]
Url: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="TIERLINK_URL",
        help="Base URL of the node.",
        show_default="http://127.0.0.1:8088, or TIERLINK_HOST and TIERLINK_PORT",
    ),
]
As: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--as",
        metavar="PREFIX",
        help="Speak for PREFIX with the API key and key file that the data folder has of it.",
    ),
]
KEY = "FILE|pkcs11:…"  # a path, or the PKCS#11 URI of a key in a token
KeyFile: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--key",
        envvar="TIERLINK_KEY",
        metavar=KEY,
        help="Key to sign with; without one the registry signs, if it hosts the key.",
    ),
]
TrustFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--trust",
        help="Trust bundle to judge answers by.",
        show_default="trust.json in TIERLINK_DATA_DIR",
    ),
]
IfMatch: TypeAlias = Annotated[
    str | None,
    typer.Option("--if-match", metavar="VERSION", help="Only if this version still stands."),
]
NextKeys: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--next",
        metavar="KEY|KID",
        help="Rotate key that may come next: a key, its JSON from keygen, or its thumbprint.",
    ),
]
Thresholds: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--threshold", metavar="USE=N", help="How many keys must sign for a use."),
]
Issuers: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--issuer", metavar=KEY, help="Delegate key of the parent, where it is not hosted."
    ),
]


def read_thresholds(given: list[str] | None) -> dict[str, int] | None:
    """Read USE=N; raise BadParameter."""
    if given is None:
        return None
    found: dict[str, int] = {}
    for item in given:
        use, _, number = item.partition("=")
        if use not in ("record", "delegate", "rotate") or not number.isdigit():
            raise typer.BadParameter(f"{item} is not record, delegate or rotate=N")
        found[use] = int(number)
    return found
