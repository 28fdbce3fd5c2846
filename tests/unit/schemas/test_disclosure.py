"""Disclosures: what is hidden can be shown to some, and nobody can show anything else."""

import base64
import json

import pytest
from hypothesis import given, strategies as st

from schemas.disclosure import (
    Marked,
    hide,
    hide_attribute,
    hide_target,
    parse_disclosure,
    reveal,
    reveal_all,
    withheld,
)
from schemas.errors import BadRecord, VerifyError
from schemas.identifier import Identifier
from schemas.keys import B64, PrivateKey, b64encode, sha256
from schemas.record import Record, parse_record
from schemas.target import Target

SALT = bytes(range(16))
RECORD = Record(Identifier.parse("88.118.8/A-1"), "item", 7, attributes={"open": "yes"})
MASS = hide_attribute("mass", {"value": "2.5", "unit": "KGM"}, SALT)
PRICE = hide_attribute("price", "9", SALT)
MANUAL = hide_target(Target("gs1:pip", "https://a.example/secret"), SALT)
ALL = (MASS, PRICE, MANUAL)
HIDING = hide(RECORD, ALL)
KEY = PrivateKey.from_seed(bytes(32))


def text(*elements):
    return b64encode(json.dumps(list(elements), sort_keys=True, separators=(",", ":")).encode())


def test_a_record_signs_digests_and_shows_nothing():
    token = HIDING.sign(KEY)
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    assert claims["_sd_alg"] == "sha-256"
    assert claims["attributes"] == {"_sd": sorted([MASS.digest, PRICE.digest]), "open": "yes"}
    assert claims["targets"] == [{"...": MANUAL.digest}]
    assert parse_record(token)[1] == HIDING
    assert withheld([HIDING]) == 3


def test_the_digest_is_that_of_rfc_9901():
    """RFC 9901 §4.2.3: SHA-256 over the ASCII bytes of the base64url text."""
    assert MASS.digest == b64encode(sha256(MASS.text.encode("ascii")))
    salt, name, value = json.loads(base64.urlsafe_b64decode(MASS.text + "=="))
    assert (len(base64.urlsafe_b64decode(salt + "==")), name) == (16, "mass")
    assert value == {"value": "2.5", "unit": "KGM"}


def test_what_is_revealed_is_what_was_hidden():
    shown = reveal(HIDING, ALL)
    assert shown.attributes == {"open": "yes", "mass": MASS.value, "price": "9"}
    assert shown.targets == (Target("gs1:pip", "https://a.example/secret"),)
    assert withheld([shown]) == 0
    some = reveal(HIDING, [PRICE])
    assert (some.attributes, withheld([some])) == ({"open": "yes", "price": "9"}, 2)


@given(st.lists(st.sampled_from(ALL), unique_by=lambda item: item.text), st.randoms())
def test_in_several_steps_or_at_once(chosen, random):
    order = list(chosen)
    random.shuffle(order)
    step = HIDING
    for item in order:
        step = reveal(step, [item])
    assert step == reveal(HIDING, order)
    assert withheld([step]) == 3 - len(order)


REFUSED = {
    "of another record": (HIDING, [hide_attribute("mass", "1", SALT).text], "E_DISCLOSURE"),
    "twice": (HIDING, [PRICE.text, PRICE.text], "E_DISCLOSURE"),
    "an attribute as a target": (
        HIDING, [text(b64encode(SALT), {"rel": "gs1:pip", "href": "https://a.example/"})],
        "E_DISCLOSURE",
    ),
    "no text": (HIDING, [7], "E_DISCLOSURE"),
    "one element": (HIDING, [text(b64encode(SALT))], "E_DISCLOSURE"),
    "four elements": (HIDING, [text(b64encode(SALT), "a", "b", "c")], "E_DISCLOSURE"),
    "an object": (HIDING, [b64encode(b'{"a":1}')], "E_DISCLOSURE"),
    "short salt": (HIDING, [text(b64encode(SALT[:15]), "mass", "1")], "E_DISCLOSURE"),
    "salt is a number": (HIDING, [text(7, "mass", "1")], "E_DISCLOSURE"),
    "reserved name": (HIDING, [text(b64encode(SALT), "_sd", "1")], "E_DISCLOSURE"),
    "reserved ellipsis": (HIDING, [text(b64encode(SALT), "...", "1")], "E_DISCLOSURE"),
    "name is a number": (HIDING, [text(b64encode(SALT), 1, "1")], "E_DISCLOSURE"),
    "padded": (HIDING, [PRICE.text + "="], "E_ENCODING"),
    "not JSON": (HIDING, [b64encode(b"[")], "E_FORMAT"),
    "spaces": (HIDING, [b64encode(b'["AAAAAAAAAAAAAAAAAAAAAA", "a", 1]')], "E_CANON"),
    "float": (HIDING, [b64encode(b'["AAAAAAAAAAAAAAAAAAAAAA","a",1.5]')], "E_CANON"),
    "duplicate member": (HIDING, [b64encode(b'["AAAAAAAAAAAAAAAAAAAAAA","a",{"b":1,"b":2}]')],
                         "E_DUPKEY"),
    "enormous": (HIDING, ["A" * 20_000], "E_LIMIT"),
    "too many": (HIDING, [PRICE.text] * 10_000, "E_LIMIT"),
}  # fmt: skip


@pytest.mark.parametrize(("record", "texts", "code"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(record, texts, code):
    with pytest.raises(VerifyError) as refused:
        reveal_all([record], texts)
    assert refused.value.code == code


def test_nothing_that_is_open_can_be_shadowed():
    shadow = hide_attribute("open", "no", SALT)
    with pytest.raises(VerifyError, match="shadows") as refused:
        reveal(hide(RECORD, [shadow]), [shadow])
    assert refused.value.code == "E_DISCLOSURE"


def test_a_target_has_to_be_one():
    hidden = parse_disclosure(text(b64encode(SALT), {"rel": "gs1:pip"}))
    with pytest.raises(VerifyError) as refused:
        reveal(hide(RECORD, [hidden]), [hidden])
    assert refused.value.code == "E_DISCLOSURE"


@pytest.mark.parametrize("make", [lambda salt: hide_attribute("a", 1, salt)])
def test_a_short_salt_is_not_signed(make):
    with pytest.raises(VerifyError) as refused:
        make(SALT[:15])
    assert refused.value.code == "E_DISCLOSURE"


def claims(**changes):
    return {"identifier": "88.118.8/A-1", "kind": "item"} | changes


DIGEST = B64(MASS.digest)
MALFORMED = {
    "digest twice": ({"attributes": {"_sd": [DIGEST, DIGEST]}, "_sd_alg": "sha-256"}, BadRecord),
    "not sorted": (
        {"attributes": {"_sd": sorted([DIGEST, PRICE.digest], reverse=True)}, "_sd_alg": "sha-256"},
        BadRecord,
    ),
    "no array": ({"attributes": {"_sd": "x"}, "_sd_alg": "sha-256"}, BadRecord),
    "no digest": ({"attributes": {"_sd": ["x"]}, "_sd_alg": "sha-256"}, BadRecord),
    "no algorithm": ({"attributes": {"_sd": [DIGEST]}}, BadRecord),
    "an algorithm for nothing": ({"_sd_alg": "sha-256"}, BadRecord),
    "another algorithm": ({"attributes": {"_sd": [DIGEST]}, "_sd_alg": "sha-512"}, VerifyError),
    "open behind hidden": (
        {
            "targets": [{"...": DIGEST}, {"rel": "gs1:pip", "href": "https://a.example/"}],
            "_sd_alg": "sha-256",
        },
        BadRecord,
    ),
    "a tombstone": (
        {"status": "retired", "attributes": {"_sd": [DIGEST]}, "_sd_alg": "sha-256"},
        BadRecord,
    ),
}


@pytest.mark.parametrize(("members", "error"), MALFORMED.values(), ids=MALFORMED)
def test_records_that_hide_badly(members, error):
    from schemas.record import read_draft  # noqa: PLC0415

    with pytest.raises(error):
        read_draft(claims(**members), 7)


def test_audiences():
    marked = Marked(PRICE, ("88.118.9", "partner"))
    assert marked.shown_to({"partner", "public"})
    assert marked.shown_to({"88.118.9"})
    assert not marked.shown_to({"public", "88.118"})
