"""Where signing keys are: in a file, or in a hardware token that never lets them out.

A key is named by the path of its file, or by a PKCS#11 URI (RFC 7512) such as
`pkcs11:token=acme;object=records`. Whoever signs gets a `schemas.keys.Signer` of either, and
cannot tell them apart. The registry needs neither: a holder signs where the key is, and sends
what was signed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.errors import BadInput
from schemas.keys import ED25519, PrivateKey, Signer, enable_sm2
from schemas.sm2 import SWITCH
from tierlink import keyfile

from . import uri

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["admit_algorithms", "enable_sm2", "in_token", "make_key", "open_signer"]


def in_token(name: str) -> bool:
    """Tell whether a name is that of a key in a token, not of a file."""
    return name.startswith(uri.SCHEME)


def open_signer(name: str | Path, environ: Mapping[str, str]) -> Signer:
    """Open the key of that name; raise BadInput that tells what is missing, and where to give it.

    A file is unlocked by TIERLINK_KEY_PASSPHRASE(_FILE); a token by the URI's `pin-source` or
    TIERLINK_PKCS11_PIN(_FILE), through the library that TIERLINK_PKCS11_MODULE names.
    """
    text = str(name)
    if not in_token(text):
        return keyfile.load(Path(text), keyfile.passphrase(environ))
    found: Signer = _tokens().open_signer(uri.parse(text), environ)
    return found


def make_key(name: str | Path, environ: Mapping[str, str], alg: str = ED25519) -> Signer:
    """Make a key in a new file, or inside a token; what is there is never overwritten."""
    text = str(name)
    if not in_token(text):
        made = PrivateKey.generate(alg)
        keyfile.save(Path(text), made, keyfile.passphrase(environ))
        return made
    generated: Signer = _tokens().generate(uri.parse(text), alg, environ)
    return generated


def _tokens() -> ModuleType:
    try:
        from . import tokens  # noqa: PLC0415  (needs the extra)
    except ModuleNotFoundError as err:
        if (err.name or "").partition(".")[0] != "pkcs11":
            raise
        raise BadInput(
            "keys in a token need python-pkcs11, which is not installed",
            fix="pip install 'tierlink[hsm]'",
            code="hsm_missing",
        ) from err
    return tokens


def admit_algorithms(environ: Mapping[str, str]) -> None:
    """Switch on what TIERLINK_SM2 asks for: `1` by the system's OpenSSL, a path by that library.

    For whoever starts a process; raise BadInput where the library cannot do it.
    """
    wanted = environ.get(SWITCH) or "0"
    if wanted == "0":
        return
    if wanted != "1" and "/" not in wanted:
        raise BadInput(
            f"{SWITCH} is neither 0 nor 1 nor the path of a libcrypto", value=wanted, fix=SWITCH
        )
    enable_sm2(None if wanted == "1" else wanted)
