"""`tierlink verify` and `tierlink trust`: checking offline, and what to check against."""

from __future__ import annotations

import datetime as dt
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from . import display
from .options import Json, TrustFile, Url
from .session import Session

MAX_INPUT = 16 * 1024 * 1024


def verify(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="Answer (JSON) or envelope.")],
    *,
    at: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Judge validity at this time (RFC 3339 or seconds)."),
    ] = None,
    trust: TrustFile = None,
    as_json: Json = False,
) -> None:
    """Verify a resolve answer or a bare envelope offline, against the trust bundle.

    Exit code 1 and a verdict code where anything is not exactly what was signed, or holds no more.
    """
    from schemas.errors import VerifyError
    from tierlink.client.verdict import judge

    moment = int(time.time()) if at is None else read_time(at)
    raw = _content(file)
    try:
        verdict = judge(raw, Session(trust_file=trust).trust(), moment)
    except VerifyError as err:
        if not as_json:
            raise
        display.machine({"valid": False, **err.problem()})
        raise typer.Exit(1) from err
    if as_json:
        display.machine(verdict.document())
    else:
        display.fact(verdict.thing, verdict.about, "bold")
        display.verdict(verdict)
    if not verdict.current:
        raise typer.Exit(1)


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
