"""`tierlink keygen`: making a signing key."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import display
from .options import Json
from .session import Session


def keygen(
    file: Annotated[Path, typer.Argument(help="File to write; one that is there is let be.")],
    *,
    alg: Annotated[
        str, typer.Option(help="Ed25519, or ES256 for key stores that have nothing else.")
    ] = "Ed25519",
    as_json: Json = False,
) -> None:
    """Make a signing key in a file, mode 0600.

    It is encrypted where TIERLINK_KEY_PASSPHRASE (or TIERLINK_KEY_PASSPHRASE_FILE) is set.
    """
    from schemas.keys import ALGORITHMS, PrivateKey
    from tierlink import keyfile

    if alg not in ALGORITHMS:
        raise typer.BadParameter(
            f"{alg} is not one of {', '.join(sorted(ALGORITHMS))}", param_hint="--alg"
        )
    phrase = keyfile.passphrase(Session().environ)
    key = PrivateKey.generate(alg)
    keyfile.save(file, key, phrase)
    if as_json:
        made = {"file": str(file), "kid": key.public.kid, "alg": alg, "jwk": dict(key.public.jwk)}
        display.machine(made | {"encrypted": phrase is not None})
        return
    display.fact("key file", file)
    display.fact("kid", key.public.kid)
    display.fact("alg", alg)
    display.fact("encrypted", "yes" if phrase else "no")
