"""Running a witness: its settings, its key, its folder, its server."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import cast

import uvloop
from starlette.types import ASGIApp

from resolver.answers import Answers
from resolver.edge import make_protocol
from resolver.native import negotiate
from schemas.errors import TierlinkError
from schemas.keys import PrivateKey
from tierlink import keyfile, server
from tierlink.settings import load

from .app import create_app
from .cosigning import Witness
from .follow import Followed
from .ledger import Ledger, flush_folder
from .settings import WitnessSettings


def run() -> int:
    """Run a witness until told to stop."""
    server.log_plainly()
    settings = load(WitnessSettings)
    logs = Followed(settings.vkeys, settings.witness_logs_file)
    ledger = Ledger(settings.witness_dir)  # first of all: only its holder may make the key
    try:
        signer = signing_key(settings.key_file, keyfile.passphrase(os.environ))
        witness = Witness(settings.witness_name, signer, logs, ledger, lambda: int(time.time()))
        witness.held()  # what is damaged is said now, not at the first submission
        _serve(witness, settings)
    finally:
        ledger.close()
    return 0


def _serve(witness: Witness, settings: WitnessSettings) -> None:
    if settings.witness_vkey_file is not None:
        _publish(settings.witness_vkey_file, witness.key.vkey)
    sockets = server.listen(settings.host, settings.port)

    async def greet() -> None:
        _say(f"witness {witness.key.vkey}")
        _say(f"tierlink ready {server.url_of(sockets[0], settings.host)}")

    try:
        door = make_protocol(Answers(1), negotiate)  # no answers, the limits of the front door
        uvloop.run(server.serve(cast("ASGIApp", create_app(witness)), door, sockets, greet))
    finally:
        for bound in sockets:
            bound.close()


def signing_key(path: Path, phrase: bytes | None) -> PrivateKey:
    """Return the key of a file, which is made on the first start; whole, or not at all."""
    if not path.exists():
        unfinished = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            unfinished.unlink(missing_ok=True)
            keyfile.save(unfinished, PrivateKey.generate(), phrase)
            with unfinished.open("rb") as file:
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):  # never over a key that is there
                path.hardlink_to(unfinished)
            unfinished.unlink()
            flush_folder(path.parent)
        except OSError as err:
            raise TierlinkError(
                f"the key file cannot be made: {err.strerror}",
                value=str(path),
                fix="set TIERLINK_WITNESS_KEY to a file in a folder that is there",
            ) from err
    return keyfile.load(path, phrase)


def _publish(path: Path, vkey: str) -> None:
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_text(f"{vkey}\n", encoding="ascii")
        unfinished.replace(path)
    except OSError as err:
        raise TierlinkError(
            f"the verification key cannot be written: {err.strerror}",
            value=str(path),
            fix="set TIERLINK_WITNESS_VKEY_FILE",
        ) from err


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201  (the foreground command talks on standard output)
