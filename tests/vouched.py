"""A container of assemblies that vouch for their parts: a car of axle and seat, an axle of a wheel.

fleet = Fleet(key)             unsigned; `payload(twin, urn)` may be changed
fleet.vouch()                  the DataIntegrity aspects, from the wheel up
fleet.text()                   the document
Hashes are computed here by themselves, not by what is tested.
"""

import hashlib
import json

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from tests.catenax_twins import SERIAL
from tierlink.imports.twins import CONTAINER

INTEGRITY = "urn:bamm:io.catenax.data_integrity:1.0.0#DataIntegrity"
BOM = "urn:bamm:io.catenax.single_level_bom_as_built:1.0.0#SingleLevelBomAsBuilt"
CAR, AXLE, SEAT, WHEEL = (f"urn:uuid:{n}0000000-0000-4000-8000-000000000000" for n in "abcd")
MAKER, SUPPLIER = "BPNL00000003AYRE", "BPNL00000003B0Q0"
NUMBER = "-1.7976931348623157E308"  # as Java writes it; no other printer does
_PLACEHOLDER = "@number"  # stands for the number in Python, in no other place


def written(value):
    """The compact form that is hashed."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return text.replace(f'"{_PLACEHOLDER}"', NUMBER).encode("utf-8", "surrogatepass")


class Fleet:
    def __init__(self, key):
        self.key = key
        self.twins = {}
        for uuid, holder, *parts in (
            (CAR, MAKER, AXLE, SEAT),
            (AXLE, SUPPLIER, WHEEL),
            (SEAT, SUPPLIER),
            (WHEEL, SUPPLIER),
        ):
            self.add(uuid, holder, *parts)

    def add(self, uuid, holder, *parts):
        serial = {"catenaXId": uuid, "name": "Räder/„Ω“ \u2028", "load": _PLACEHOLDER, "few": 1}
        self.twins[uuid] = {"catenaXId": uuid, "bpnl": holder, SERIAL: [serial]}
        if parts:
            rows = [{"catenaXId": part, "businessPartner": SUPPLIER} for part in parts]
            self.twins[uuid][BOM] = [{"catenaXId": uuid, "childItems": rows}]

    def payload(self, uuid, urn):
        return self.twins[uuid][urn][0]

    def entry(self, uuid, part):
        return next(
            item
            for item in self.payload(uuid, INTEGRITY)["childParts"]
            if item["catenaXId"] == part
        )

    def vouch(self):
        for uuid in (AXLE, CAR):
            self.vouch_for_parts(uuid)
        return self

    def vouch_for_parts(self, uuid):
        rows = self.payload(uuid, BOM)["childItems"]
        entries = [
            {"catenaXId": row["catenaXId"], "references": self.references(row["catenaXId"])}
            for row in rows
        ]
        self.twins[uuid][INTEGRITY] = [{"catenaXId": uuid, "childParts": entries}]

    def references(self, uuid):
        aspects = [(name, value) for name, value in self.twins[uuid].items() if "#" in name]
        return [self.reference(urn, payload) for urn, (payload, *_) in aspects]

    def reference(self, urn, payload, key=None):
        digest = hashlib.sha3_256(written(payload)).digest()
        signature = (key or self.key).sign(digest, padding.PKCS1v15(), hashes.SHA256())
        return {"semanticModelUrn": urn, "hash": digest.hex(), "signature": signature.hex()}

    def document(self):
        return {"policies": {}, CONTAINER: list(self.twins.values())}

    def text(self):
        text = json.dumps(self.document(), indent=1)
        return text.replace(f'"{_PLACEHOLDER}"', NUMBER).encode()
