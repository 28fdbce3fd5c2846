"""What people see: rich on standard output, progress on standard error, nothing that could harm.

Text of other parties is cleaned before it is shown: a title must not be able to move the cursor.
Lines are never wrapped, so that an identifier can be copied whole and found with grep.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tierlink.client import Answer, Neighbour, Verdict

_WIDTH = 12
_STATUS = {"active": "green", "suspended": "bold yellow", "retired": "red"}
_STATE = {
    "mutual": "green",
    "proposed": "yellow",
    "conflicting": "bold red",
    "withdrawn": "bold red",
}
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})


def clean(text: str) -> str:
    """Return text with every character that a terminal might obey written as its escape."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        f"\\u{ord(char):04x}" if unicodedata.category(char) in _HIDDEN else char for char in text
    )


def show(*parts: tuple[str, str] | str) -> None:
    """Print one line of (text, style) parts."""
    from rich.console import Console
    from rich.text import Text

    text = Text()
    for part in parts:
        content, style = (part, "") if isinstance(part, str) else part
        text.append(clean(content), style)
    Console(highlight=False).print(text, soft_wrap=True)


def fact(name: str, value: object, style: str = "") -> None:
    """Print a name and a value, unless there is none."""
    if value is not None and value != "":
        show((name.ljust(_WIDTH), "dim"), " ", (str(value), style))


def machine(document: object) -> None:
    """Print JSON for a program, on one line."""
    print(json.dumps(document, ensure_ascii=False, separators=(",", ":")), flush=True)


def answer(found: Answer) -> None:
    """Print an answer."""
    fact("identifier", found.identifier, "bold")
    fact("status", found.status, _STATUS.get(found.status, ""))
    fact("kind", f"{found.kind}, version {found.version}")
    fact("parent", found.parent)
    fact("covered by", found.covered_by)
    for name, value in found.attributes.items():
        fact(name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    if found.withheld:
        fact("withheld", f"{found.withheld} that only some may see")
    for target in found.targets:
        title = f"  {target.title}" if target.title else ""
        fact("target", f"{target.rel}  {target.href}{title}")
    for direction, ends in (
        ("upstream", found.links.upstream),
        ("downstream", found.links.downstream),
    ):
        for end in ends:
            neighbour(direction, end)
    if found.links.truncated:
        fact("", "… more links than an answer lists; see /v1/links")
    fact("issued", found.issued_at)
    fact("valid until", found.valid_until)
    verdict(found.verified)


def neighbour(direction: str, end: Neighbour) -> None:
    """Print one end of a link."""
    amount = f"  {end.quantity.value} {end.quantity.unit}" if end.quantity else ""
    show(
        (direction.ljust(_WIDTH), "dim"),
        f" {end.identifier}  {end.link_type}{amount}  ",
        (end.state, _STATE.get(end.state, "")),
    )


def verdict(found: Verdict) -> None:
    """Print what was verified, by which key and chain, and what a log proved of it."""
    word = found.state if found.currency != "invalid" else "expired"
    style = {"valid": "green"}.get(word, "yellow")
    codes = "".join(f"  {item.code}" for item in found.codes)
    show(("verdict".ljust(_WIDTH), "dim"), " ", (word, style), codes)
    for item in found.codes if found.logged else ():
        fact("", item.detail)
    fact("signed by", found.kid)
    fact("chain", " → ".join(f"{item.prefix} {item.organisation}".strip() for item in found.chain))
    logged(found)


def logged(found: Verdict) -> None:
    """Print what a log proved."""
    from schemas.answer import rfc3339

    log = found.logged
    if log is None:
        return
    shown = f"version {log.version}, {log.status}" if log.exists else "none of its own"
    fact("record", shown)
    fact("covered by", log.covered_by)
    fact("at issue", found.valid_at_issue)
    fact("log", f"{log.origin}, {log.size} leaves, epoch {log.epoch}")
    fact("witnesses", ", ".join(log.witnesses) or "none")
    fact("logged by", None if log.logged_by is None else rfc3339(log.logged_by))
    newest = "no witness tells when" if log.newest_at is None else rfc3339(log.newest_at)
    fact("newest as of", newest)


def table(rows: Mapping[str, object]) -> None:
    """Print facts, one a line."""
    for name, value in rows.items():
        fact(name, value)


@contextmanager
def progress(total: int | None, *, unit: str) -> Iterator[Callable[[int], None]]:
    """Show progress on standard error where that is a terminal; give what moves it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        task = bars.add_task(unit, total=total)
        yield lambda count: bars.update(task, completed=count)


@contextmanager
def stages(totals: Mapping[str, int]) -> Iterator[Callable[[str, int, int], None]]:
    """Show the progress of several stages; give what moves one: (stage, done, of how many)."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description:<12}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        tasks = {stage: bars.add_task(stage, total=total) for stage, total in totals.items()}
        yield lambda stage, done, total: bars.update(tasks[stage], completed=done, total=total)


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Show on standard error that something of unknown length is going on."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status(what):
        yield


def machine_bytes(raw: bytes) -> None:
    """Print JSON for a program byte for byte as it was received."""
    sys.stdout.flush()
    sys.stdout.buffer.write(raw.rstrip(b"\n") + b"\n")
    sys.stdout.buffer.flush()
