"""`tierlink register`, `update`, `retire`, `resolve`, `export`: identifiers and their records."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, TypeAlias

import typer

from . import display
from .failing import line
from .options import As, IfMatch, Json, KeyFile, TrustFile, Url
from .session import Session

if TYPE_CHECKING:
    from schemas.canonical import JsonObject
    from tierlink.client import Client, Listed, Registered, Result

Kind: TypeAlias = Annotated[
    str, typer.Option("--kind", help="class, batch, item, document or asset.")
]
Status: TypeAlias = Annotated[
    str | None, typer.Option("--status", help="active (the default) or suspended.")
]
Parent: TypeAlias = Annotated[
    str | None, typer.Option("--parent", help="Identifier to inherit targets from.")
]
Title: TypeAlias = Annotated[
    str | None, typer.Option("--title", help="Name for people; the attribute `title`.")
]
Targets: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--target", metavar="REL=HREF", help="Where to find what; may be repeated."),
]
Attributes: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--attribute", metavar="NAME=VALUE", help="A fact; may be repeated."),
]
FromFile: TypeAlias = Annotated[
    Path | None, typer.Option("--file", help="JSON file with the draft, instead of options.")
]


def resolve(
    identifier: Annotated[str, typer.Argument(help="prefix/suffix")],
    *,
    trust: TrustFile = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Resolve an identifier and verify the answer offline before it is shown."""
    with Session(url, trust_file=trust).reader() as client:
        found = client.resolve(identifier)
    if as_json:
        display.machine_bytes(found.raw)
        return
    display.answer(found)


def register(
    identifier: Annotated[str | None, typer.Argument(help="prefix/suffix")] = None,
    *,
    kind: Kind = "item",
    status: Status = None,
    parent: Parent = None,
    title: Title = None,
    target: Targets = None,
    attribute: Attributes = None,
    file: FromFile = None,
    batch: Annotated[
        str | None,
        typer.Option("--batch", metavar="FILE|-", help="NDJSON, a record or envelope a line."),
    ] = None,
    speaker: As = None,
    key: KeyFile = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Register an identifier, or a stream of them.

    With a key file the record is signed here and the registry never sees the key.
    """
    content = _Content(kind, status, parent, title, target or [], attribute or [])
    with Session(url, speaker, key).writer() as client:
        if batch is not None:
            raise typer.Exit(_stream(client, batch, as_json=as_json))
        draft = _draft(identifier, file, content)
        _print(client.register(draft), as_json=as_json)


def update(
    identifier: Annotated[str | None, typer.Argument(help="prefix/suffix")] = None,
    *,
    kind: Kind = "item",
    status: Status = None,
    parent: Parent = None,
    title: Title = None,
    target: Targets = None,
    attribute: Attributes = None,
    file: FromFile = None,
    if_match: IfMatch = None,
    speaker: As = None,
    key: KeyFile = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Replace what an identifier resolves to; what is not said again is gone."""
    content = _Content(kind, status, parent, title, target or [], attribute or [])
    draft = _draft(identifier, file, content)
    with Session(url, speaker, key).writer() as client:
        _print(client.update(draft, if_match=if_match), as_json=as_json)


def retire(
    identifier: Annotated[str, typer.Argument(help="prefix/suffix")],
    *,
    if_match: IfMatch = None,
    speaker: As = None,
    key: KeyFile = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Retire an identifier for good: it answers 410 and is never issued again."""
    with Session(url, speaker, key).writer() as client:
        _print(client.retire(identifier, if_match=if_match), as_json=as_json)


def export(
    prefix: Annotated[str, typer.Argument(help="The prefix whose holder you are.")],
    *,
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write instead of standard output.")
    ] = None,
    speaker: As = None,
    trust: TrustFile = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Write every record and link assertion of a prefix as signed, NDJSON, parents first.

    `tierlink register --batch` loads it into another registry. Retired identifiers are left out.
    """
    del as_json  # always NDJSON
    with Session(url, speaker or prefix, trust_file=trust).reader() as client, _sink(out) as sink:
        listed = _parents_first(client.listing(prefix))
        with display.progress(len(listed), unit="identifiers") as advance:
            for number, (name, token) in enumerate(_statements(client, listed, prefix), 1):
                sink.write(token)
                advance(min(number, len(listed)) if name else len(listed))


def _statements(client: Client, listed: list[str], prefix: str) -> Iterator[tuple[str, bytes]]:
    """Yield the records in order, then what the prefix asserts of each."""
    from schemas import canonical
    from schemas.link import parse_assertion

    asserted: list[str] = []
    for found in client.resolve_many(listed):
        if found.answer is None:
            if found.error is not None and found.error.code != "retired":
                raise found.error
            continue
        yield found.identifier, _line({"envelope": found.answer.envelope})
        if found.answer.links.truncated:
            pages = client.links(found.identifier)
            asserted += [token for link in pages for token in link.envelopes]
            continue
        document = canonical.decode_object(found.answer.raw)
        proof = document.get("proof")
        links = proof.get("links") if isinstance(proof, dict) else None
        asserted += [str(token) for token in links] if isinstance(links, list) else []
    for token in dict.fromkeys(asserted):
        if str(parse_assertion(token)[1].asserter.prefix) == prefix:
            yield "", _line({"envelope": token})


def _parents_first(listed: Iterable[Listed]) -> list[str]:
    parents = {item.identifier: item.parent for item in listed if item.status != "retired"}
    depths: dict[str, int] = {}
    for name, parent in parents.items():
        depth, at = 0, parent
        while at is not None:
            depth, at = depth + 1, parents.get(at)
        depths[name] = depth
    return sorted(depths, key=lambda name: (depths[name], name))


def _line(document: JsonObject) -> bytes:
    from tierlink.client.call import encode

    return encode(document) + b"\n"


@contextmanager
def _sink(out: Path | None) -> Iterator[BinaryIO]:
    if out is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with out.open("wb") as file:
        yield file


@dataclass(frozen=True, slots=True)
class _Content:
    """What the options say of a record."""

    kind: str
    status: str | None
    parent: str | None
    title: str | None
    targets: list[str]
    attributes: list[str]

    def draft(self, identifier: str) -> JsonObject:
        """Return the draft of these options."""
        facts: JsonObject = dict(_pair(item, "--attribute") for item in self.attributes)
        if self.title is not None:
            facts["title"] = self.title
        pairs = [_pair(item, "--target") for item in self.targets]
        members: JsonObject = {
            "identifier": identifier,
            "kind": self.kind,
            "status": self.status,
            "parent": self.parent,
            "attributes": facts,
            "targets": [{"rel": rel, "href": href} for rel, href in pairs],
        }
        return {name: value for name, value in members.items() if value}


def _draft(identifier: str | None, file: Path | None, content: _Content) -> JsonObject:
    """Build a draft from a file, or from options."""
    if file is not None:
        from schemas import canonical

        draft = canonical.decode_object(file.read_bytes())
        return draft if identifier is None else {**draft, "identifier": identifier}
    if identifier is None:
        raise typer.BadParameter("give an identifier, --file or --batch")
    return content.draft(identifier)


def _pair(text: str, option: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name or not value:
        raise typer.BadParameter(f"{text} is not of the form name=value", param_hint=option)
    return name, value


def _stream(client: Client, source: str, *, as_json: bool) -> int:
    """Send a stream of lines; tell of each one that is refused; return the exit code."""
    refused = accepted = 0
    with (
        _source(source) as lines,
        display.progress(None, unit="lines") as advance,
    ):
        for result in client.load_many(item for item in lines if item.strip()):
            accepted += result.ok
            refused += not result.ok
            advance(result.line)
            _told(result, as_json=as_json)
    if as_json:
        display.machine({"accepted": accepted, "refused": refused})
    else:
        display.show(f"{accepted} accepted, {refused} refused")
    return 1 if refused else 0


def _told(result: Result, *, as_json: bool) -> None:
    if result.error is None:
        return
    if as_json:
        display.machine({"line": result.line, **result.error.problem()})
    else:
        print(f"line {result.line}: {line(result.error)}", file=sys.stderr)


@contextmanager
def _source(name: str) -> Iterator[BinaryIO]:
    if name == "-":
        yield sys.stdin.buffer
        return
    with Path(name).open("rb") as file:
        yield file


def _print(done: Registered, *, as_json: bool) -> None:
    if as_json:
        display.machine(
            {
                "identifier": done.identifier,
                "version": done.version,
                "kind": done.kind,
                "status": done.status,
                "digest": done.digest,
                "envelope": done.envelope,
                "created": done.created,
            }
        )
        return
    display.fact("identifier", done.identifier, "bold")
    display.fact("status", done.status)
    display.fact("kind", f"{done.kind}, version {done.version}")
    display.fact("digest", done.digest)
    if not done.created:
        display.fact("", "was there already, or replaces the version before")
