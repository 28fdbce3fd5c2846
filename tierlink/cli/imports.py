"""`tierlink import`: foreign data becomes prefixes, records and links."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import display, integrity, records
from .options import As, Json, Url
from .session import Session, required

if TYPE_CHECKING:
    from schemas.identifier import Prefix
    from tierlink.imports.plan import Plan
    from tierlink.imports.report import Company, Note, Report

FORMATS = ("catenax",)
_SHOWN = 10  # notes and refusals that are printed; all are in the JSON


def import_(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="The document to import.")],
    *,
    parent: Annotated[
        str, typer.Option(metavar="PREFIX", help="Each company gets a prefix below this one.")
    ],
    data_format: Annotated[
        str, typer.Option("--format", help="catenax: traceability test data.")
    ] = "catenax",
    keys_out: Annotated[
        Path | None,
        typer.Option(
            help="File of the companies' API keys, mode 0600; read first, so that an import can be"
            " made again.",
            show_default="import-PREFIX.json in TIERLINK_DATA_DIR",
        ),
    ] = None,
    usage_quantity: Annotated[
        bool, typer.Option("--usage-quantity", help="Take quantities of usage aspects too.")
    ] = False,
    key_file: Annotated[
        Path | None,
        typer.Option(
            "--integrity",
            metavar="KEYFILE",
            help="Check the DataIntegrity aspects first, by this RSA key (hex modulus, PEM or"
            " JWK), and report on each vehicle.",
        ),
    ] = None,
    require_integrity: Annotated[
        bool,
        typer.Option(
            "--require-integrity",
            help="With --integrity: send nothing but what a VALID vehicle vouches for.",
        ),
    ] = False,
    opened: Annotated[
        bool,
        typer.Option("--open", help="Show everybody the links, by a grant of each company."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be registered, and send nothing.")
    ] = False,
    url: Url = None,
    speaker: As = None,
    as_json: Json = False,
) -> None:
    """Import a document: a prefix per company, an identifier per twin, links of both ends.

    It may be run again: what is there is left as it is. Exit code 1 where something was refused,
    or withheld by --require-integrity.
    """
    from schemas.identifier import Prefix
    from tierlink.imports import catenax
    from tierlink.imports.integrity import withhold

    if data_format not in FORMATS:
        raise typer.BadParameter(
            f"{data_format} is not one of {', '.join(FORMATS)}", param_hint="--format"
        )
    if require_integrity and key_file is None:
        raise typer.BadParameter(
            "it needs the key: --integrity KEYFILE", param_hint="--require-integrity"
        )
    above = Prefix.parse(parent)
    text = records.whole(file)
    checked = None if key_file is None else integrity.checked(text, key_file)
    plan, notes = catenax.plan(text, above, int(time.time()), usage_quantity=usage_quantity)
    withheld: tuple[Note, ...] = ()
    if checked is not None and require_integrity:
        plan, withheld = withhold(plan, checked)
    session = Session(url, speaker)
    path = keys_out or session.data_dir / f"import-{above}.json"
    if dry_run:
        report = _planned(plan, notes)
    else:
        report = _send(session, plan, notes, Keys(path, above), opened=opened)
    report = replace(report, refused=withheld + report.refused, integrity=checked)
    if as_json:
        display.machine(_without_keys(report))
    else:
        _print(report, None if dry_run else path)
    if not report.complete:
        raise typer.Exit(1)


class Keys:
    """The file of the companies' API keys: written anew, whole, with each key that arrives."""

    def __init__(self, path: Path, parent: Prefix) -> None:
        self._path = path
        self._parent = parent
        self._companies: dict[str, dict[str, str]] = {}
        if path.exists():
            found = json.loads(path.read_bytes())
            self._companies = {item["prefix"]: item for item in found["companies"]}

    def known(self) -> dict[Prefix, str]:
        """Return the API keys of former imports."""
        from schemas.identifier import Prefix

        return {Prefix.parse(prefix): item["api_key"] for prefix, item in self._companies.items()}

    def keep(self, company: Company) -> None:
        """Write a new key down before it is used."""
        from tierlink.keyfile import write_private

        self._companies[company.prefix] = {
            "prefix": company.prefix,
            "name": company.name,
            "api_key": company.api_key or "",
        }
        document = {"parent": str(self._parent), "companies": list(self._companies.values())}
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(self._path, json.dumps(document, indent=1, ensure_ascii=False).encode())


def _send(
    session: Session, plan: Plan, notes: tuple[Note, ...], keys: Keys, *, opened: bool
) -> Report:
    import asyncio

    from tierlink.imports.delivery import IDENTIFIERS, LINKS, PREFIXES, Delivery, deliver

    totals = {
        PREFIXES: len(plan.holders),
        IDENTIFIERS: len(plan.records),
        LINKS: len(plan.assertions),
    }
    with display.stages(totals) as move:
        delivery = Delivery(
            connect=session.connect,
            parent_key=required(session.operator_key()),
            known=keys.known(),
            keep=keys.keep,
            progress=move,
            opened=opened,
        )
        return asyncio.run(deliver(delivery, plan, notes))


def _planned(plan: Plan, notes: tuple[Note, ...]) -> Report:
    from tierlink.imports.report import Company, Report

    return Report(
        companies=tuple(Company(str(item.prefix), item.organisation) for item in plan.holders),
        identifiers=len(plan.records),
        assertions=len(plan.assertions),
        reciprocity=plan.reciprocity,
        notes=notes,
        agreement=plan.agreement,
    )


def _without_keys(report: Report) -> dict[str, object]:
    """Return the report as JSON; the API keys are in their file, not on a screen."""
    document = report.document()
    document["companies"] = [
        {"prefix": item.prefix, "name": item.name} for item in report.companies
    ]
    return document


def _print(report: Report, path: Path | None) -> None:
    found = report.reciprocity
    if report.integrity is not None:
        integrity.show(report.integrity)
    display.table(
        {
            "companies": len(report.companies),
            "identifiers": report.identifiers,
            "assertions": report.assertions,
            "links": f"{found.links}: {found.mutual} mutual ({found.conflicting} conflicting), "
            f"{found.one_sided} one-sided",
            "quantities": f"{report.agreement.equal} equal of {report.agreement.compared} that both"
            " ends state",
            "API keys": path,
        }
    )
    for code, count in report.tally().items():
        display.fact("note", f"{count} x {code}")
    for note in report.refused[:_SHOWN]:
        display.show(("refused".ljust(12), "red"), f" {note.place}: {note.code}: {note.reason}")
    if len(report.refused) > _SHOWN:
        display.fact("", f"… and {len(report.refused) - _SHOWN} more; --json lists all")
