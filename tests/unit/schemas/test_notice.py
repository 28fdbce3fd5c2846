"""Notices of a recall: what they may name, and who may say so."""

import pytest

from schemas.envelope import digest
from schemas.errors import BadIdentifier, BadNotice
from schemas.notice import (
    MAX_MARKED,
    Notice,
    check_notice,
    parse_notice,
    read_draft_notice,
    read_notice,
)
from tests.parties import DELEGATIONS, GEAR, ISSUED, STEEL, identifier, prefix, refusal, trust

DRAFT = {"iss": "88.100", "id": "2026-7", "of": ["88.100/GEAR"], "reason": "cracks"}
CLAIMS = DRAFT | {"v": 1, "ver": 1, "iat": ISSUED, "state": "issued", "kind": "recall"}
NOTICE = Notice(
    prefix("88.100"),
    "2026-7",
    ISSUED,
    (identifier("88.100/GEAR"), identifier("88.100/LOT-9")),
    "cracks in the hub",
    "https://gear.example/recall/7",
)


def test_a_notice_survives_its_envelope_and_may_be_lifted():
    token = NOTICE.sign(GEAR)
    envelope, read = parse_notice(token)
    assert read == NOTICE
    assert (
        refusal(check_notice, envelope, read, trust(*DELEGATIONS).chain(prefix("88.100"))) is None
    )
    lifted = NOTICE.lifted(digest(token), ISSUED + 5, "found harmless")
    assert parse_notice(lifted.sign(GEAR))[1] == lifted
    assert (lifted.version, lifted.state, lifted.of) == (2, "lifted", NOTICE.of)


def test_only_the_holder_recalls_what_is_his():
    envelope, read = parse_notice(NOTICE.sign(STEEL))
    chains = trust(*DELEGATIONS)
    assert refusal(check_notice, envelope, read, chains.chain(prefix("88.100"))) == "E_CHAIN"
    assert refusal(check_notice, envelope, read, chains.chain(prefix("88.101"))) == "E_SCOPE"


def test_a_draft_is_the_first_version():
    assert read_draft_notice(DRAFT, ISSUED) == Notice(
        prefix("88.100"), "2026-7", ISSUED, (identifier("88.100/GEAR"),), "cracks"
    )


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"of": []}, "names nothing"),
        ({"of": ["88.101/STEEL"]}, "not under 88.100"),
        ({"of": ["88.100/GEAR", "88.100/GEAR"]}, "twice"),
        ({"of": ["88.100"]}, "slash|suffix"),
        ({"of": [7]}, r"of\[0\] is not an identifier"),
        ({"of": ["88.100/G"] * (MAX_MARKED + 1)}, "the limit is 1000"),
        ({"reason": ""}, "reason is not a non-empty"),
        ({"href": "javascript:alert(1)"}, "href is not an absolute URI"),
        ({"kind": "rumour"}, "kind is not one of"),
        ({"id": "a/b"}, "other characters"),
        ({"ver": 2}, "prev belongs to"),
        ({"more": 1}, "unknown members"),
    ],
)
def test_what_is_no_notice_is_refused(change, why):
    with pytest.raises((BadNotice, BadIdentifier), match=why):
        read_notice(CLAIMS | change)
