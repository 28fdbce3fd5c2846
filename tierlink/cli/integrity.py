"""`tierlink integrity`: whether the parts of foreign data still fit what was signed of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import display, records
from .options import Json

if TYPE_CHECKING:
    from tierlink.imports.verdicts import Finding, Integrity, Tally

EXIT = {"INVALID": 1, "UNCHECKED": 3}  # by verdict
_STYLE = {"VALID": "green", "INVALID": "bold red"}
_SHOWN = 10  # findings of a vehicle that are printed; all are in the JSON


def integrity(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="A Catena-X test-data container.")],
    *,
    key_file: Annotated[
        Path | None,
        typer.Option(
            "--key",
            metavar="KEYFILE",
            help="RSA key to check signatures by: hex modulus, PEM or JWK.",
            show_default="none: signatures stay unchecked, and nothing is VALID",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check the DataIntegrity aspects of a document, without a registry: a verdict a vehicle.

    Exit code 1 where a vehicle is INVALID, 3 where it cannot be told: without a key, or where the
    document has no vehicle.
    """
    found = checked(records.whole(file), key_file)
    if as_json:
        display.machine(found.document())
    else:
        show(found)
    if found.verdict in EXIT:
        raise typer.Exit(EXIT[found.verdict])


def checked(text: bytes, key_file: Path | None) -> Integrity:
    """Check a document by the key of a file."""
    from tierlink.imports.integrity import check
    from tierlink.imports.rsa_key import MAX_FILE, read_key

    if key_file is None:
        return check(text)
    with key_file.open("rb") as opened:
        return check(text, read_key(opened.read(MAX_FILE + 1)))


def show(found: Integrity) -> None:
    """Print a verdict for each vehicle, its findings, and the figures of the document."""
    for vehicle in found.vehicles:
        display.show(
            (vehicle.verdict.ljust(12), _STYLE.get(vehicle.verdict, "yellow")),
            f" {vehicle.twin}  {len(vehicle.parts)} twins, {vehicle.tally.references} references",
        )
        for item in vehicle.findings[:_SHOWN]:
            _finding(item)
        if len(vehicle.findings) > _SHOWN:
            display.fact("", f"… in all {vehicle.summary()}; --json lists all")
    display.fact("key SHA-256", found.key or "none given")
    display.fact("hashes", f"{found.tally.hashes} of {found.tally.references} right")
    display.fact("signatures", _signatures(found.tally, with_key=found.key is not None))
    if found.unvouched:
        display.fact("unvouched", f"{len(found.unvouched)} twins that no vehicle reaches")


def _finding(item: Finding) -> None:
    name = item.aspect.rpartition("#")[2]
    about = f"{name} of {item.twin}" if name else item.twin
    display.show((item.code.rjust(12), "red"), f" {about}: {item.reason}")


def _signatures(tally: Tally, *, with_key: bool) -> str:
    return f"{tally.signatures} of {tally.references} right" if with_key else "unchecked"
