"""`tierlink resolve`, `register`, `update`, `retire`, `export`: identifiers and their records."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from . import display, records
from .options import As, IfMatch, Json, KeyFile, TrustFile, Url
from .session import Session, sole

if TYPE_CHECKING:
    from tierlink.client import Client, Registered

Kind = Annotated[str, typer.Option(help="class, batch, item, document or asset.")]
Status = Annotated[str | None, typer.Option(help="active or suspended.")]
Title = Annotated[str | None, typer.Option(help="Attribute title.")]
Parent = Annotated[str | None, typer.Option(help="Identifier that this one belongs to.")]
Targets = Annotated[
    list[str] | None, typer.Option("--target", metavar="REL=HREF", help="May be repeated.")
]
Attributes = Annotated[
    list[str] | None, typer.Option("--attribute", metavar="NAME=VALUE", help="May be repeated.")
]
DraftFile = Annotated[
    str | None, typer.Option("--file", metavar="FILE|-", help="JSON draft, or {envelope}.")
]


def resolve(
    identifiers: Annotated[list[str], typer.Argument(help="One or more; - reads lines.")],
    *,
    url: Url = None,
    trust: TrustFile = None,
    speaker: As = None,
    named: Annotated[
        bool, typer.Option("--named", help="Ask under your API key; --as implies it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Resolve identifiers; every answer is verified before it is shown.

    With --named one answer shows what only your organisation may see as well. With --json one
    answer is printed as it was received; several are printed one a line. Exit code 1 where one is
    not found or does not verify.
    """
    with Session(url, speaker, trust_file=trust).reader() as client:
        if identifiers == ["-"]:
            with records.opened("-") as lines:
                _resolve_many(client, _texts(lines), as_json=as_json)
        elif len(identifiers) > 1:
            _resolve_many(client, identifiers, as_json=as_json)
        else:
            found = client.resolve(identifiers[0], named=named or speaker is not None)
            if as_json:
                display.machine_bytes(found.raw)
            else:
                display.answer(found)


def _texts(lines: Iterable[bytes]) -> Iterator[str]:
    return (line.decode("utf-8", "replace") for line in lines if line)


def _resolve_many(client: Client, identifiers: Iterable[str], *, as_json: bool) -> None:
    from .failing import line as failure

    missing = 0
    for number, found in enumerate(client.resolve_many(identifiers)):
        if found.answer is not None and as_json:
            display.machine_bytes(found.answer.raw)
        elif found.answer is not None:
            if number:
                display.show("")
            display.answer(found.answer)
        elif found.error is not None:
            missing += 1
            if as_json:
                display.machine({"identifier": found.identifier, **found.error.problem()})
            print(failure(found.error), file=sys.stderr)
    if missing:
        raise typer.Exit(1)


def register(
    identifier: Annotated[str | None, typer.Argument(help="Such as 88.118.9/ABC-1.")] = None,
    *,
    kind: Kind = "item",
    status: Status = None,
    title: Title = None,
    parent: Parent = None,
    target: Targets = None,
    attribute: Attributes = None,
    file: DraftFile = None,
    batch: Annotated[
        str | None,
        typer.Option(metavar="FILE|-", help="NDJSON: drafts or envelopes, of records or links."),
    ] = None,
    batch_statement: Annotated[
        bool,
        typer.Option(
            "--batch-statement", help="Sign the drafts of a batch together, by one signature."
        ),
    ] = False,
    url: Url = None,
    speaker: As = None,
    key: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Register one record, from options or a JSON file, or any number from NDJSON.

    With a key file what is sent is signed here; without, the registry signs with its hosted key.
    A line of a batch that is refused is reported with its number and costs no other.
    With --batch-statement one signature is for up to a million lines, and each verifies alone.
    """
    if batch_statement and batch is None:
        raise typer.BadParameter("--batch-statement belongs to --batch")
    if sum(given is not None for given in (identifier, file, batch)) != 1:
        raise typer.BadParameter("give one of IDENTIFIER, --file and --batch")
    with Session(url, speaker, key).writer() as client:
        if batch is not None:
            _register_many(client, batch, statement=batch_statement, as_json=as_json)
            return
        if identifier is not None:
            given: object = records.draft(
                identifier,
                kind=kind,
                status=status,
                title=title,
                parent=parent,
                targets=target or (),
                attributes=attribute or (),
            )
        else:
            given = _document(file or "-")
        _print(client.register(given), as_json=as_json)  # type: ignore[arg-type]


def _register_many(client: Client, batch: str, *, statement: bool, as_json: bool) -> None:
    with records.opened(batch) as lines, display.progress(None, unit="registering") as move:
        results = client.load_many(lines, statement=statement, progress=move)
        records.report(results, as_json=as_json)


def _document(file: str) -> object:
    """Read a draft, or the envelope in {"envelope": …}."""
    from schemas import canonical

    document = canonical.decode_object(records.whole(file))
    return document["envelope"] if set(document) == {"envelope"} else document


def update(
    identifier: Annotated[str | None, typer.Argument(help="What to update.")] = None,
    *,
    kind: Kind = "item",
    status: Status = None,
    title: Title = None,
    parent: Parent = None,
    target: Targets = None,
    attribute: Attributes = None,
    file: DraftFile = None,
    if_match: IfMatch = None,
    url: Url = None,
    speaker: As = None,
    key: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Replace the record of an identifier by what is given here; nothing of the old one stays."""
    if (identifier is None) == (file is None):
        raise typer.BadParameter("give one of IDENTIFIER and --file")
    with Session(url, speaker, key).writer() as client:
        if identifier is not None:
            given: object = records.draft(
                identifier,
                kind=kind,
                status=status,
                title=title,
                parent=parent,
                targets=target or (),
                attributes=attribute or (),
            )
        else:
            given = _document(file or "-")
        _print(client.update(given, if_match=_version(if_match)), as_json=as_json)  # type: ignore[arg-type]


def _version(if_match: str | None) -> int | str | None:
    return int(if_match) if if_match and if_match.isascii() and if_match.isdigit() else if_match


def retire(
    identifier: Annotated[str, typer.Argument(help="What to retire.")],
    *,
    if_match: IfMatch = None,
    url: Url = None,
    speaker: As = None,
    key: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Retire an identifier for good: it answers 410 and is never issued again."""
    with Session(url, speaker, key).writer() as client:
        _print(client.retire(identifier, if_match=_version(if_match)), as_json=as_json)


def _print(found: Registered, *, as_json: bool) -> None:
    if as_json:
        display.machine(
            {
                "identifier": found.identifier,
                "version": found.version,
                "kind": found.kind,
                "status": found.status,
                "digest": found.digest,
                "envelope": found.envelope,
                "created": found.created,
            }
        )
        return
    display.fact("identifier", found.identifier, "bold")
    display.fact("version", f"{found.version}, {found.status}")
    display.fact("digest", found.digest)


def export(
    prefix: Annotated[str, typer.Argument(help="Whose identifiers and links.")],
    *,
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write; one that is there is let be.")
    ] = None,
    url: Url = None,
    speaker: As = None,
    trust: TrustFile = None,
    as_json: Json = False,
) -> None:
    """Write all that a prefix has signed as NDJSON envelopes, for `tierlink register --batch`.

    Records come with all their versions, a parent before its children, then links, tombstones
    last. It loads wherever the same prefix is delegated to the same keys.
    """
    from schemas.identifier import Prefix
    from tierlink.client.call import encode
    from tierlink.client.export import export as envelopes

    named = Prefix.parse(prefix)
    with (
        Session(url, speaker or sole(prefix), trust_file=trust).reader() as client,
        display.progress(None, unit="exporting") as move,
        _written(out) as file,
    ):
        count = 0
        for token in envelopes(client, named, move):
            file.write(encode({"envelope": token}) + b"\n")
            count += 1
    if out is not None and as_json:
        display.machine({"prefix": prefix, "envelopes": count, "file": str(out)})
    elif out is not None:
        display.fact("exported", f"{count} envelopes to {out}")


@contextmanager
def _written(out: Path | None) -> Iterator[IO[bytes]]:
    if out is None:
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with out.open("xb") as file:
        yield file
