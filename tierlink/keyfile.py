"""Signing keys in files: PKCS#8 PEM, readable by their owner alone, locked by scrypt on request.

Secrets come as text or as the name of a file that holds it: `TIERLINK_KEY_PASSPHRASE` or
`TIERLINK_KEY_PASSPHRASE_FILE`. The first form is seen by whoever may list processes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from schemas.errors import BadInput, VerifyError
from schemas.keys import PrivateKey

from . import pkcs8

PASSPHRASE = "TIERLINK_KEY_PASSPHRASE"  # noqa: S105  the name of a variable, not a secret
MAX_FILE = 64 * 1024

_OTHERS = 0o007


def secret(environ: Mapping[str, str], name: str) -> str | None:
    """Return the secret of `name`, or the content of the file that `name`_FILE names."""
    text, file = environ.get(name) or None, environ.get(f"{name}_FILE") or None
    if text is not None and file is not None:
        raise BadInput(f"{name} and {name}_FILE are both set", fix="set one of them")
    if file is None:
        return text
    try:
        return Path(file).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as err:
        raise BadInput(f"{name}_FILE cannot be read: {reason(err)}", value=file) from err


def reason(err: Exception) -> str:
    """Say why a file could not be used, without the path that stands beside it."""
    return (err.strerror if isinstance(err, OSError) else None) or str(err)


def passphrase(environ: Mapping[str, str]) -> bytes | None:
    """Return the passphrase for key files, None where there is none."""
    found = secret(environ, PASSPHRASE)
    return found.encode() if found else None


def write_private(path: Path, content: bytes) -> None:
    """Write a file that its owner alone may read, whole or not at all, over what was there."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with _create(beside) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _create(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def save(path: Path, key: PrivateKey, phrase: bytes | None = None) -> None:
    """Write a key into a new file, mode 0600; a file that is there is never overwritten."""
    pem = pkcs8.to_pem(key.pkcs8(), phrase or None)
    try:
        with _create(path) as file:
            file.write(pem)
    except FileExistsError:
        raise BadInput(
            "a file of that name is there already",
            value=str(path),
            fix="choose another name; a key that is lost cannot be made again",
        ) from None
    except OSError as err:
        raise BadInput(f"the key file cannot be written: {reason(err)}", value=str(path)) from err


def load(path: Path, phrase: bytes | None = None) -> PrivateKey:
    """Read a key file; raise BadInput where it is none, is open to others, or stays locked."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            pem = file.read(MAX_FILE)
    except OSError as err:
        raise BadInput(f"the key file cannot be read: {reason(err)}", value=str(path)) from err
    if mode & _OTHERS:
        raise BadInput(
            f"the key file is open to everybody (mode {mode & 0o777:03o})",
            value=str(path),
            fix=f"chmod 600 '{path}', and replace the key if others may have read it",
        )
    return _unlock(path, pem, phrase)


def _unlock(path: Path, pem: bytes, phrase: bytes | None) -> PrivateKey:
    encrypted = b"ENCRYPTED" in pem
    if encrypted and phrase is None:
        raise BadInput(
            "the key file is encrypted",
            value=str(path),
            fix=f"set {PASSPHRASE} or {PASSPHRASE}_FILE",
        )
    try:
        # A passphrase for other files does not hinder the reading of one without.
        return _read(pem, phrase if encrypted else None)
    except VerifyError as err:
        fix = err.fix or "make one with `tierlink keygen`"
        raise BadInput(err.detail, value=str(path), fix=fix) from None
    except UnsupportedAlgorithm:
        raise BadInput(
            "the key file is of a kind that is not read here",
            value=str(path),
            fix=f"convert it: openssl pkcs8 -topk8 -scrypt -in '{path}' -out …",
        ) from None
    except (ValueError, TypeError):
        why = "another passphrase locks the key file" if encrypted else "not a PEM private key"
        fix = f"correct {PASSPHRASE}" if encrypted else "make one with `tierlink keygen`"
        raise BadInput(why, value=str(path), fix=fix) from None


def _read(pem: bytes, phrase: bytes | None) -> PrivateKey:
    raw = pkcs8.from_pem(pem, phrase)
    if raw is not None:
        return PrivateKey.from_pkcs8(raw)
    return PrivateKey.from_handle(load_pem_private_key(pem, phrase))
