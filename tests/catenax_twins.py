"""Small Catena-X containers for tests: a car (CAR) of one company, a wheel (WHEEL) of another."""

import json

from schemas.identifier import Prefix
from tierlink.imports import catenax
from tierlink.imports.twins import CONTAINER

PARENT = Prefix.parse("88.118")
ISSUED = 1_795_000_000
CAR = "urn:uuid:0733946c-59c6-41ae-9570-cb43a6e4c79e"
WHEEL = "urn:uuid:1ae94880-e6b0-4bf3-ab74-8148b63c0640"
AWAY = "urn:uuid:2a0e62d4-3a3e-4bf4-9a29-1c4b4b8f5a10"  # never a twin of the file
MAKER, SUPPLIER, OTHER = "BPNL00000003AYRE", "BPNL00000003B0Q0", "BPNL00000003XXXX"

BOM = "urn:samm:io.catenax.single_level_bom_as_built:3.0.0#SingleLevelBomAsBuilt"
USAGE = "urn:samm:io.catenax.single_level_usage_as_built:3.0.0#SingleLevelUsageAsBuilt"
SERIAL = "urn:bamm:io.catenax.serial_part:1.0.0#SerialPart"


def twin(uuid=CAR, bpnl=MAKER, **aspects):
    """A twin; aspects by their URN, each a payload or a list of payloads."""
    listed = {urn: item if isinstance(item, list) else [item] for urn, item in aspects.items()}
    return {"catenaXId": uuid, "bpnl": bpnl} | listed


def row(uuid=WHEEL, **members):
    return {"catenaXId": uuid, "quantity": {"value": 4, "unit": "unit:piece"}} | members


def bom(*rows):
    return {BOM: {"catenaXId": CAR, "childItems": list(rows)}}


def usage(*rows):
    return {USAGE: {"catenaXId": WHEEL, "parentItems": list(rows)}}


def container(*twins):
    return json.dumps({"policies": {}, CONTAINER: list(twins)})


def planned(*twins, **options):
    """The plan of these twins, and the notes on them."""
    return catenax.plan(container(*twins), PARENT, ISSUED, **options)


def codes(notes):
    return [note.code for note in notes]
