"""Records as a person writes them on a command line, or in a file."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from . import display

if TYPE_CHECKING:
    from tierlink.client import Result


def draft(
    identifier: str,
    *,
    kind: str,
    status: str | None = None,
    title: str | None = None,
    parent: str | None = None,
    targets: Sequence[str] = (),
    attributes: Sequence[str] = (),
) -> dict[str, object]:
    """Build a draft from options; what it may hold is for the readers of `schemas` to judge."""
    named = dict(pair(item, "--attribute", "name=value") for item in attributes)
    if title is not None:
        named["title"] = title
    members: dict[str, object | None] = {
        "identifier": identifier,
        "kind": kind,
        "status": status,
        "parent": parent,
        "targets": [
            dict(zip(("rel", "href"), pair(item, "--target", "rel=href"), strict=True))
            for item in targets
        ],
        "attributes": named,
    }
    return {name: value for name, value in members.items() if value}


def pair(text: str, option: str, form: str) -> tuple[str, str]:
    """Split `name=value`; a usage error where it is none."""
    name, equals, value = text.partition("=")
    if not equals or not name or not value:
        raise typer.BadParameter(f"{text} is not {form}", param_hint=option)
    return name, value


@contextmanager
def opened(file: str) -> Iterator[Iterator[bytes]]:
    """Open a file, or standard input for `-`, line by line."""
    if file == "-":
        yield _lines(sys.stdin.buffer)
        return
    with Path(file).open("rb") as lines:
        yield _lines(lines)


def _lines(lines: Iterable[bytes]) -> Iterator[bytes]:
    for line in lines:
        yield line.strip()


def whole(file: str) -> bytes:
    """Read one document from a file, or from standard input for `-`."""
    return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()


def report(results: Iterable[Result], *, as_json: bool) -> None:
    """Print what became of the lines of a batch; exit code 1 where one was refused."""
    from .failing import line as failure

    accepted = refused = 0
    for result in results:
        accepted += result.ok
        refused += not result.ok
        if as_json:
            display.machine(
                {"line": result.line, "identifier": result.identifier, "status": result.status}
                | ({"version": result.version} if result.version is not None else {})
                | (result.error.problem() if result.error else {})
            )
        elif result.error is not None:
            said = failure(result.error).removeprefix("tierlink: ")
            print(f"line {result.line}: {said}", file=sys.stderr)
    if not as_json:
        display.fact("accepted", accepted)
        display.fact("refused", refused)
    if refused:
        raise typer.Exit(1)
