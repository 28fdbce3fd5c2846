"""`tierlink import`: foreign data in, companies with prefixes and signed links out."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import display
from .options import As, Json, Url
from .session import Session

if TYPE_CHECKING:
    from schemas.identifier import Prefix
    from tierlink.imports.plan import Plan
    from tierlink.imports.report import Company, Note, Report

FORMATS = ("catenax",)


def import_(
    file: Annotated[Path, typer.Argument(help="The document to import.")],
    *,
    parent: Annotated[str, typer.Option(help="Prefix under which each company gets one.")],
    file_format: Annotated[
        str, typer.Option("--format", help="catenax: traceability test data of Catena-X.")
    ] = "catenax",
    usage_quantity: Annotated[
        bool,
        typer.Option(help="Take the quantities of usage aspects too; in published data they are"),
    ] = False,
    keys_out: Annotated[
        Path | None,
        typer.Option(
            help="File that keeps the companies' API keys, mode 0600.",
            show_default="import-PARENT.json in TIERLINK_DATA_DIR",
        ),
    ] = None,
    speaker: As = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Import a document: one prefix per company, one identifier per twin, links of both ends.

    It can be repeated: what is there already with the same content is left as it is.
    """
    from schemas.errors import BadInput
    from schemas.identifier import Prefix
    from tierlink.imports import catenax

    if file_format not in FORMATS:
        raise typer.BadParameter(f"is one of {', '.join(FORMATS)}", param_hint="--format")
    above = Prefix.parse(parent)
    if above.is_root:
        raise BadInput("the companies need a prefix above them", value=parent)
    plan, notes = catenax.plan(
        file.read_bytes(), above, int(time.time()), usage_quantity=usage_quantity
    )
    session = Session(url, speaker)
    keys = _Keys.read(keys_out or session.data_dir / f"import-{above}.json", str(above))
    report = _deliver(session, above, plan, notes, keys)
    _print(report, as_json=as_json)
    raise typer.Exit(0 if report.complete else 1)


@dataclass
class _Keys:
    """The API keys of an import, kept in a file as soon as each is known."""

    path: Path
    parent: str
    parent_key: str | None = None
    companies: dict[str, tuple[str, str]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path, parent: str) -> _Keys:
        """Read the file, if there is one."""
        keys = cls(path, parent)
        if path.exists():
            document = json.loads(path.read_bytes())
            keys.parent_key = document.get("parent_api_key")
            for item in document.get("companies", ()):
                keys.companies[item["prefix"]] = (item["name"], item["api_key"])
        return keys

    def keep(self, company: Company) -> None:
        """Add a company and write the file."""
        assert company.api_key is not None
        self.companies[company.prefix] = (company.name, company.api_key)
        self.write()

    def write(self) -> None:
        """Write the file, mode 0600."""
        from tierlink.keyfile import write_private

        document: dict[str, object] = {"parent": self.parent}
        if self.parent_key is not None:
            document["parent_api_key"] = self.parent_key
        document["companies"] = [
            {"prefix": prefix, "name": name, "api_key": api_key}
            for prefix, (name, api_key) in sorted(self.companies.items())
        ]
        write_private(self.path, json.dumps(document, ensure_ascii=False, indent=1).encode())


def _deliver(
    session: Session, parent: Prefix, plan: Plan, notes: tuple[Note, ...], keys: _Keys
) -> Report:
    from schemas.identifier import Prefix as AnyPrefix
    from tierlink.imports.delivery import IDENTIFIERS, LINKS, PREFIXES, Delivery, deliver

    totals = {
        PREFIXES: len(plan.holders),
        IDENTIFIERS: len(plan.records),
        LINKS: len(plan.assertions),
    }
    known = {AnyPrefix.parse(text): pair[1] for text, pair in keys.companies.items()}
    parent_key = _parent_key(session, parent, keys)
    with display.stages(totals) as progress:
        delivery = Delivery(session.connect, parent_key, known, keys.keep, progress)
        return asyncio.run(deliver(delivery, plan, notes))


def _parent_key(session: Session, parent: Prefix, keys: _Keys) -> str:
    """Return the parent's API key: given, kept, or of a parent that is allocated now."""
    from schemas.errors import PrefixNotFound, Unauthenticated

    given = session.api_key() or keys.parent_key or session.kept_key(str(parent))
    if given is not None:
        return given
    with session.allocator() as client:
        try:
            client.prefix(parent)
        except PrefixNotFound:
            once = f"import-parent-{parent}"
            view = client.allocate(parent, f"imports under {parent}", idempotency_key=once)
            assert view.api_key is not None
            keys.parent_key = view.api_key
            keys.write()
            return view.api_key
    raise Unauthenticated(
        f"{parent} is allocated, and its API key is not here",
        value=str(parent),
        fix="set TIERLINK_API_KEY to the key of its holder",
    )


def _print(report: Report, *, as_json: bool) -> None:
    if as_json:
        document = report.document()
        # API keys are in the file; standard output may go anywhere.
        document["companies"] = [_public(item) for item in report.companies]
        display.machine(document)
        return
    figures = report.reciprocity
    display.show(
        f"{len(report.companies)} companies, {report.identifiers} identifiers, "
        f"{report.assertions} assertions"
    )
    display.show(
        f"{figures.links} links: {figures.mutual} mutual by their ends "
        f"({figures.conflicting} with different quantities), {figures.downstream_only} said by the"
        f" customer side alone, {figures.upstream_only} by the supply side alone"
    )
    for code, count in report.tally().items():
        display.show((f"{count:6} ", "dim"), code)
    for note in report.refused:
        print(f"refused: {display.clean(note.place)}: {note.code}: {note.reason}", file=sys.stderr)


def _public(company: Company) -> Mapping[str, str]:
    return {"prefix": company.prefix, "name": company.name}
