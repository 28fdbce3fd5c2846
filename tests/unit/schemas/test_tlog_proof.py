"""Proof files for other tools of logs: written as C2SP says, read strictly, verified in full."""

import base64

import pytest
from hypothesis import given, strategies as st

from schemas.errors import VerifyError
from schemas.leaf import Leaf, What
from schemas.tlog_proof import TlogProof, of_bundle
from tests.logbook import POLICY, golden
from tests.parties import NOW

BOOK = golden()
PROOF = of_bundle(BOOK.bundle())
TEXT = PROOF.encode()


def refusal(text, **changes):
    with pytest.raises(VerifyError) as refused:
        TlogProof.parse(text).verify(**{"policy": POLICY, "now": NOW} | changes)
    return refused.value.code


def test_its_lines_are_those_of_the_specification():
    lines = TEXT.split("\n")
    assert lines[0] == "c2sp.org/tlog-proof@v1"
    assert lines[1].startswith("extra ")
    assert lines[2] == f"index {PROOF.index}"
    gap = lines.index("")
    assert all(len(base64.b64decode(line)) == 32 for line in lines[3:gap])
    assert lines[gap + 1] == POLICY.log.name
    assert TEXT.endswith(BOOK.last.note)
    assert TEXT.endswith("\n")


def test_it_proves_the_leaf_of_the_record():
    read = TlogProof.parse(TEXT)
    assert read == PROOF
    checkpoint = read.verify(POLICY, NOW)
    assert checkpoint.size == BOOK.last.size
    leaf = Leaf.parse(read.entry)
    assert (leaf.what, str(leaf.prefix), leaf.version) == (What.RECORD, "88.100", 1)


def test_without_the_entry_it_needs_one():
    bare = TlogProof(PROOF.index, PROOF.path, PROOF.checkpoint)
    assert TlogProof.parse(bare.encode()) == bare
    assert refusal(bare.encode()) == "E_FORMAT"
    assert bare.verify(POLICY, NOW, PROOF.entry).size == BOOK.last.size
    assert refusal(bare.encode(), entry=b"another") == "E_INCLUSION"


FORMS = {
    "another version": ("@v1", "@v2"),
    "carriage returns": ("\n", "\r\n"),
    "index with a zero before": ("index ", "index 0"),
    "index with a sign": ("index ", "index +"),
    "two indices": ("index ", "index 1\nindex "),
    "extra not base64": ("extra ", "extra !"),
    "extra padded": ("extra ", "extra ===="),
    "no gap": ("\n\n", "\n"),
}


@pytest.mark.parametrize(("old", "new"), FORMS.values(), ids=FORMS)
def test_what_is_no_proof_file(old, new):
    code = refusal(TEXT.replace(old, new, 1) if old != "\n" else TEXT.replace(old, new))
    assert code in {"E_FORMAT", "E_INCLUSION"}


def test_too_much_of_it():
    hashes = "A" * 43 + "=\n"
    head, _, rest = TEXT.partition("\n\n")
    assert refusal(f"{head}\n{hashes * 64}\n{rest}") == "E_LIMIT"
    assert refusal(TEXT + "x" * 10**6) == "E_LIMIT"


def test_a_bundle_of_no_record_has_no_entry():
    with pytest.raises(VerifyError) as refused:
        of_bundle(BOOK.absent())
    assert refused.value.code == "E_FORMAT"


def test_the_wrong_place():
    for index in (PROOF.index + 1, PROOF.index - 1, BOOK.last.size, 10**18):
        moved = TlogProof(index, PROOF.path, PROOF.checkpoint, PROOF.entry)
        assert refusal(moved.encode()) == "E_INCLUSION"


@given(st.data())
def test_no_changed_character_is_proved(data):
    at = data.draw(st.integers(0, len(TEXT) - 1))
    other = data.draw(st.characters(codec="utf-8").filter(lambda c: c != TEXT[at]))
    changed = TEXT[:at] + other + TEXT[at + 1 :]
    try:
        TlogProof.parse(changed).verify(POLICY, NOW)
    except VerifyError:
        return
    # Names of unknown keys aside, which a quorum without them leaves open: nothing may be left.
    raise AssertionError(changed)
