"""`tierlink verify`, `proof` and `trust`: checking offline, and what to check by."""

from __future__ import annotations

import datetime as dt
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import display
from .options import Json, TrustFile, Url
from .session import Session

if TYPE_CHECKING:
    from tierlink.client import Verdict

MAX_INPUT = 16 * 1024 * 1024
VALID = "valid"
EXIT = {"invalid": 1, "indeterminate": 3}  # by state


def verify(
    file: Annotated[
        str, typer.Argument(metavar="FILE|-", help="Answer, proof bundle (JSON) or envelope.")
    ],
    *,
    at: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Judge validity at this time (RFC 3339 or seconds)."),
    ] = None,
    trust: TrustFile = None,
    as_json: Json = False,
) -> None:
    """Verify a resolve answer, a proof bundle or a bare envelope offline, by the trust bundle.

    Exit code 1 and a verdict code where anything is not exactly what was signed and logged, or
    holds no more; 3 where it cannot be told, as when the proof is older than the trust bundle
    allows (E_FRESH).
    """
    from schemas.errors import VerifyError
    from tierlink.client.verdict import judge, refused

    moment = int(time.time()) if at is None else read_time(at)
    raw = _content(file)
    try:
        verdict = judge(raw, Session(trust_file=trust).trust(), moment)
    except VerifyError as err:
        if not as_json:
            raise
        display.machine(refused(err))
        raise typer.Exit(1) from err
    _tell(verdict, as_json=as_json)


def _tell(verdict: Verdict, *, as_json: bool) -> None:
    """Print a verdict, and end with its exit code."""
    if as_json:
        display.machine(verdict.document())
    else:
        display.fact(verdict.thing, verdict.about, "bold")
        display.verdict(verdict)
    if verdict.state != VALID:
        raise typer.Exit(EXIT[verdict.state])


def proof(
    identifier: Annotated[str, typer.Argument(help="What to prove, such as 88.118.9/ABC-1.")],
    *,
    at: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="As of this time (RFC 3339 or Unix seconds)."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write; one that is there is let be.")
    ] = None,
    tlog: Annotated[
        Path | None,
        typer.Option("--tlog", help="File to write for other tools of logs (C2SP tlog-proof)."),
    ] = None,
    url: Url = None,
    trust: TrustFile = None,
    as_json: Json = False,
) -> None:
    """Fetch the proof bundle of an identifier, verify it, and keep it with --out.

    It proves the record, its chain, and that the log has nothing newer, or nothing at all, as of a
    time; `tierlink verify` checks the file again without a network. With --json and without --out
    the bundle itself is printed. Exit code 3 where it cannot be told whether it is current.
    """
    with Session(url, trust_file=trust).reader() as client:
        found = client.proof(identifier, at=None if at is None else read_time(at))
    if tlog is not None:
        from schemas import canonical, tlog_proof

        with tlog.open("x", encoding="utf-8") as text:
            text.write(tlog_proof.of_bundle(canonical.decode_object(found.raw)).encode())
    if out is not None:
        with out.open("xb") as file:
            file.write(found.raw)
    elif as_json:
        display.machine_bytes(found.raw)
        if found.verified.state != VALID:
            raise typer.Exit(EXIT[found.verified.state])
        return
    _tell(found.verified, as_json=as_json)


def read_time(text: str) -> int:
    """Read RFC 3339 or Unix seconds; without an offset it is UTC."""
    if text.isascii() and text.isdigit():
        return int(text)
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text} is neither a time such as 2026-07-01T08:00:00Z nor Unix seconds",
            param_hint="--at",
        ) from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp())


def _content(file: str) -> bytes:
    if file == "-":
        return sys.stdin.buffer.read(MAX_INPUT)
    with Path(file).open("rb") as opened:
        return opened.read(MAX_INPUT)


def trust(
    *,
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write; one that is there is let be.")
    ] = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Fetch the trust bundle of a node: trust on first use.

    Whoever relies on it compares the root's kid with one told by another way.
    """
    from schemas.chain import Trust

    with Session(url).plain() as client:
        raw = client.trust_document()
    if out is not None:
        with out.open("xb") as file:
            file.write(raw)
    if as_json:
        display.machine_bytes(raw)
        return
    root = Trust.parse(raw).root.holder
    display.fact("bundle", out or "not stored; name a file with --out")
    for item in root.keys:
        display.fact("root kid", item.key.kid, "bold")
