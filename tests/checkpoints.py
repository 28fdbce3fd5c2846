"""Checkpoint notes of one log and two witnesses: good ones, and ones that must be refused.

`NOTES` maps a name to (note, verdict code or None); `NOTE_KEYS` is the log's key and the two
witnesses'.
"""

import base64

from schemas.checkpoint import (
    COSIGNATURE,
    MAX_SIGNATURES,
    SIGNED_NOTE,
    Checkpoint,
    NoteKey,
    cosign,
    sign_note,
)
from schemas.keys import sha256
from tests.parties import GEAR, NOW, ROOT, STEEL, STRANGER

ORIGIN = "registry.example/tierlink/88"
HEAD = Checkpoint(ORIGIN, 70_001, sha256(b"root"))
LOG = NoteKey(ORIGIN, SIGNED_NOTE, ROOT.public)
WITNESSES = (
    NoteKey("gear.example", COSIGNATURE, GEAR.public),
    NoteKey("steel.example", COSIGNATURE, STEEL.public),
)
NOTE_KEYS = (LOG, *WITNESSES)
SIGNED = sign_note(HEAD, ORIGIN, ROOT)
BY_GEAR = cosign(HEAD.body, "gear.example", GEAR, NOW)
BY_STEEL = cosign(HEAD.body, "steel.example", STEEL, NOW + 1)
NOTE = SIGNED + BY_GEAR + BY_STEEL


def forged(old, new, note=NOTE):
    assert old in note
    return note.replace(old, new, 1)


def signed_body(body, name=ORIGIN, signer=ROOT):
    """A note over any body at all, rightly signed."""
    key = NoteKey(name, SIGNED_NOTE, signer.public)
    blob = key.key_id + signer.sign(body.encode())
    return f"{body}\n— {name} {base64.b64encode(blob).decode()}\n"


ROOT64 = base64.b64encode(HEAD.root).decode()
SIGNATURE = SIGNED.split()[-1]
OTHER_ORIGIN = Checkpoint("registry.example/tierlink/89", 70_001, HEAD.root)
NOTES = {
    "signed": (SIGNED, None),
    "cosigned": (NOTE, None),
    "unknown-beside": (SIGNED + cosign(HEAD.body, "other.example", STRANGER, NOW), None),
    "empty": ("", "E_CHECKPOINT"),
    "body-alone": (HEAD.body, "E_CHECKPOINT"),
    "no-signature": (HEAD.body + "\n", "E_CHECKPOINT"),
    "no-blank-line": (forged("\n\n", "\n"), "E_CHECKPOINT"),
    "no-last-newline": (NOTE[:-1], "E_CHECKPOINT"),
    "blank-line-more": (NOTE + "\n", "E_CHECKPOINT"),
    "carriage-returns": (NOTE.replace("\n", "\r\n"), "E_CHECKPOINT"),
    "control-character": (forged("70001", "70001\x00"), "E_CHECKPOINT"),
    "tab": (forged("— ", "—\t"), "E_CHECKPOINT"),
    "hyphen-for-dash": (forged("— ", "- "), "E_CHECKPOINT"),
    "size-changed": (forged("70001", "70002"), "E_CHECKPOINT"),
    "root-changed": (forged(ROOT64, base64.b64encode(bytes(32)).decode()), "E_CHECKPOINT"),
    "size-with-zero": (signed_body(f"{ORIGIN}\n070001\n{ROOT64}\n"), "E_CHECKPOINT"),
    "size-signed": (signed_body(f"{ORIGIN}\n+70001\n{ROOT64}\n"), "E_CHECKPOINT"),
    "size-full-width": (signed_body(f"{ORIGIN}\n\uff17\n{ROOT64}\n"), "E_CHECKPOINT"),
    "size-enormous": (signed_body(f"{ORIGIN}\n{'9' * 5000}\n{ROOT64}\n"), "E_CHECKPOINT"),
    "extension-line": (signed_body(f"{ORIGIN}\n7\n{ROOT64}\nmore\n"), "E_CHECKPOINT"),
    "line-missing": (signed_body(f"{ORIGIN}\n7\n"), "E_CHECKPOINT"),
    "no-origin": (signed_body(f"\n7\n{ROOT64}\n"), "E_CHECKPOINT"),
    "root-short": (signed_body(f"{ORIGIN}\n7\n{ROOT64[:40]}\n"), "E_CHECKPOINT"),
    "root-unpadded": (signed_body(f"{ORIGIN}\n7\n{ROOT64[:-1]}\n"), "E_CHECKPOINT"),
    "root-trailing-bits": (signed_body(f"{ORIGIN}\n7\n{'A' * 42}B=\n"), "E_CHECKPOINT"),
    "another-log": (sign_note(OTHER_ORIGIN, ORIGIN, ROOT), "E_ORIGIN"),
    "another-log-rightly": (sign_note(OTHER_ORIGIN, OTHER_ORIGIN.origin, ROOT), "E_ORIGIN"),
    "unknown-key-alone": (sign_note(HEAD, ORIGIN, STRANGER), "E_CHECKPOINT"),
    "known-key-other-name": (sign_note(HEAD, "x.example", ROOT), "E_CHECKPOINT"),
    "witnesses-alone": (HEAD.body + "\n" + BY_GEAR + BY_STEEL, "E_CHECKPOINT"),
    "signature-spoiled": (forged(SIGNATURE, SIGNATURE[:-4] + "AAA="), "E_CHECKPOINT"),
    "good-beside-spoiled": (
        NOTE + f"— {ORIGIN} {base64.b64encode(LOG.key_id + bytes(64)).decode()}\n",
        "E_CHECKPOINT",
    ),
    "signature-short": (
        HEAD.body + f"\n— {ORIGIN} {base64.b64encode(LOG.key_id + b'x').decode()}\n",
        "E_CHECKPOINT",
    ),
    "signature-none": (
        HEAD.body + f"\n— {ORIGIN} {base64.b64encode(LOG.key_id).decode()}\n",
        "E_CHECKPOINT",
    ),
    "witness-for-another-origin": (
        SIGNED + cosign(OTHER_ORIGIN.body, "gear.example", GEAR, NOW),
        "E_CHECKPOINT",
    ),
    "witness-time-changed": (
        SIGNED
        + "— gear.example "
        + base64.b64encode(
            WITNESSES[0].key_id + (NOW + 1).to_bytes(8) + base64.b64decode(BY_GEAR.split()[-1])[12:]
        ).decode()
        + "\n",
        "E_CHECKPOINT",
    ),
    "witness-short": (
        SIGNED + f"— gear.example {base64.b64encode(WITNESSES[0].key_id + b'xyz').decode()}\n",
        "E_CHECKPOINT",
    ),
    "many-signatures": (SIGNED + BY_GEAR * MAX_SIGNATURES, "E_LIMIT"),
    "ten-thousand-signatures": (SIGNED + BY_GEAR * 10_000, "E_LIMIT"),
}
