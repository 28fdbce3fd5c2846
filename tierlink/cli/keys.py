"""`tierlink keygen`: making a signing key."""

from __future__ import annotations

from typing import Annotated

import typer

from . import display
from .options import KEY, Json
from .session import Session


def keygen(
    key: Annotated[
        str,
        typer.Argument(metavar=KEY, help="File to write, or token; what is there is let be."),
    ],
    *,
    alg: Annotated[
        str,
        typer.Option(
            help="Ed25519; ES256 for key stores that have nothing else; SM2 where TIERLINK_SM2=1."
        ),
    ] = "Ed25519",
    as_json: Json = False,
) -> None:
    """Make a signing key in a file, mode 0600, or inside a token that never lets it out.

    A file is encrypted where TIERLINK_KEY_PASSPHRASE (or TIERLINK_KEY_PASSPHRASE_FILE) is set. A
    token is named as pkcs11:token=…;object=… (RFC 7512); TIERLINK_PKCS11_MODULE is its library,
    TIERLINK_PKCS11_PIN (or TIERLINK_PKCS11_PIN_FILE) its PIN.
    """
    from schemas.keys import ALGORITHMS, SM2, check_algorithm
    from tierlink import keyfile
    from tierlink.custody import in_token, make_key

    if alg not in ALGORITHMS | {SM2}:
        raise typer.BadParameter(
            f"{alg} is not one of {', '.join(sorted(ALGORITHMS))}, {SM2}", param_hint="--alg"
        )
    check_algorithm(alg)
    environ = Session().environ
    public = make_key(key, environ, alg).public
    kept: dict[str, object] = (
        {"token": key}
        if in_token(key)
        else {"file": key, "encrypted": keyfile.passphrase(environ) is not None}
    )
    if as_json:
        display.machine({**kept, "kid": public.kid, "alg": public.alg, "jwk": dict(public.jwk)})
        return
    display.fact("key", key)
    display.fact("kid", public.kid)
    display.fact("alg", public.alg)
    if "encrypted" in kept:
        display.fact("encrypted", "yes" if kept["encrypted"] else "no")
