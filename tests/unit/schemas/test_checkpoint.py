"""Checkpoints: signed notes that come back, and every way in which one must be refused."""

import base64
import re

import pytest

from schemas.checkpoint import (
    COSIGNATURE,
    MAX_SIGNATURES,
    Checkpoint,
    Cosignature,
    NoteKey,
    cosign,
    quorum,
    split_note,
    verify_note,
)
from schemas.keys import sha256
from tests.checkpoints import BY_GEAR, HEAD, LOG, NOTE, NOTES, ORIGIN, SIGNED, WITNESSES
from tests.parties import GEAR, NOW, STRANGER, refusal


def test_a_note_survives():
    assert verify_note(SIGNED, LOG) == (HEAD, ())
    found, cosignatures = verify_note(NOTE, LOG, WITNESSES)
    assert found == HEAD
    assert cosignatures == (Cosignature("gear.example", NOW), Cosignature("steel.example", NOW + 1))
    assert verify_note(NOTE, LOG, WITNESSES[:1])[1] == cosignatures[:1]


def test_the_text_of_a_note():
    body, gap, line = SIGNED.partition("\n\n")
    assert (body.split("\n")[:2], gap) == ([ORIGIN, "70001"], "\n\n")
    assert re.fullmatch(rf"— {re.escape(ORIGIN)} [A-Za-z0-9+/]+=*\n", line)
    assert Checkpoint.parse(HEAD.body) == HEAD
    assert split_note(NOTE)[0] == HEAD.body


@pytest.mark.parametrize("key", [LOG, *WITNESSES], ids=lambda key: key.name)
def test_a_verification_key_survives_its_text(key):
    assert NoteKey.parse(key.vkey) == key
    assert key.vkey.startswith(f"{key.name}+{key.key_id.hex()}+")


def test_the_key_id_of_the_format():
    """SHA-256(name, newline, type, key), its first four bytes."""
    assert LOG.key_id == sha256(ORIGIN.encode() + b"\n\x01" + LOG.raw)[:4]


NAME, KEY_ID, ENCODED = LOG.vkey.split("+", 2)
REFUSED_KEYS = {
    "empty": "",
    "no-key": f"{NAME}+{KEY_ID}",
    "other-id": f"{NAME}+00000000+{ENCODED}",
    "id-in-capitals": f"{NAME}+{KEY_ID.upper()}+{ENCODED}",
    "other-name": f"x{NAME}+{KEY_ID}+{ENCODED}",
    "no-name": f"+{KEY_ID}+{ENCODED}",
    "space-in-name": f"a b+{KEY_ID}+{ENCODED}",
    "not-base64": f"{NAME}+{KEY_ID}+***",
    "short": f"{NAME}+{KEY_ID}+{base64.b64encode(b'x' * 32).decode()}",
    "other-type": f"{NAME}+{KEY_ID}+{base64.b64encode(b'%c' % 6 + LOG.raw).decode()}",
    "small-order": f"{NAME}+{KEY_ID}+{base64.b64encode(bytes([1]) + bytes(32)).decode()}",
    "newline": LOG.vkey + "\n",
}


@pytest.mark.parametrize("vkey", REFUSED_KEYS.values(), ids=REFUSED_KEYS)
def test_refused_verification_keys(vkey):
    assert refusal(NoteKey.parse, vkey) == "E_KEY"


@pytest.mark.parametrize(("note", "code"), NOTES.values(), ids=NOTES)
def test_notes(note, code):
    assert refusal(verify_note, note, LOG, WITNESSES) == code


def test_unknown_signatures_are_ignored():
    unknown = cosign(HEAD.body, "other.example", STRANGER, NOW)
    assert verify_note(unknown_first := SIGNED + unknown + BY_GEAR, LOG, WITNESSES)
    assert verify_note(unknown_first, LOG, WITNESSES)[1] == (Cosignature("gear.example", NOW),)
    assert verify_note(SIGNED + BY_GEAR * (MAX_SIGNATURES - 1), LOG, WITNESSES)[0] == HEAD


def test_a_key_under_two_names_counts_once():
    again = NoteKey("also-gear.example", COSIGNATURE, GEAR.public)
    note = SIGNED + BY_GEAR + cosign(HEAD.body, "also-gear.example", GEAR, NOW)
    assert len(verify_note(note, LOG, (*WITNESSES, again))[1]) == 1


SEEN = [Cosignature(name, time) for name, time in (("a", 30), ("b", 10), ("c", 20))]
QUORUMS = {  # needed, now, oldest age allowed, time or verdict
    "none-needed": (0, 99, None, 99),
    "one": (1, 99, None, 10),
    "two": (2, 99, None, 20),
    "three": (3, 99, None, 30),
    "four": (4, 99, None, "E_QUORUM"),
    "fresh": (2, 40, 10, 20),
    "too-old": (2, 41, 10, "E_FRESH"),
    "clock-behind": (2, 30 - 300, None, 20),
    "of-the-future": (2, 30 - 301, None, "E_FRESH"),
}


@pytest.mark.parametrize(("needed", "now", "age", "expected"), QUORUMS.values(), ids=QUORUMS)
def test_quorum(needed, now, age, expected):
    if isinstance(expected, int):
        assert quorum(SEEN, needed, now, age) == expected
    else:
        assert refusal(quorum, SEEN, needed, now, age) == expected


def test_every_bit_of_a_note_counts():
    """Of the body and of the log's own signature; a name or key id makes a line an unknown one."""
    raw = SIGNED.encode()
    verified = []
    for at in range(8 * len(raw)):
        mutant = bytearray(raw)
        mutant[at >> 3] ^= 1 << (at & 7)
        text = mutant.decode("utf-8", "surrogateescape")
        if refusal(verify_note, text, LOG) is None:
            verified.append(at)
    assert verified == []
