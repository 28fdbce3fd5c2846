"""Openings and boxes: good for one trace, one question and one time, and for nobody else."""

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, strategies as st

from schemas import opening
from schemas.envelope import digest
from schemas.errors import VerifyError
from schemas.grant import Grant
from schemas.keys import b64decode, b64encode, sha256
from schemas.opening import (
    MAX_BOX,
    MAX_CONTENT,
    MAX_OPENINGS,
    MIN_BOX,
    Given,
    Walked,
    filled,
    key_of,
    put,
    taken,
    the_one,
)
from tests.parties import GEAR, ISSUED, prefix, refusal

TRACE = "t" * 22
WALKED = Walked(TRACE, "upstream", "recall", 1000 * ISSUED)
OEM, OTHER = prefix("88.101"), prefix("88.102")
GRANT = Grant(prefix("88.100"), "g", ISSUED, OEM)
FIRST = GRANT.sign(GEAR)
KEY = key_of(FIRST)
OPENING = WALKED.opening(KEY)
NONCE = bytes(range(12))
BLIND = b"b" * 32


def recognised(openings, grants, walked=WALKED):
    return the_one(Given(openings, walked, BLIND).matching(grants))


class TestOpenings:
    def test_an_opening_is_of_one_grant_and_one_question(self):
        second = replace(GRANT, version=2, prev=digest(FIRST), depth=3).sign(GEAR)
        others = [
            replace(WALKED, trace="u" * 22),
            replace(WALKED, direction="downstream"),
            replace(WALKED, purpose=""),
            replace(WALKED, until=WALKED.until + 1),
        ]
        made = {item.opening(KEY) for item in [WALKED, *others]} | {WALKED.opening(key_of(second))}
        assert len(made) == 6
        assert dict(WALKED.openings([KEY])) == {OPENING: KEY}

    def test_what_the_log_tells_of_a_grant_leads_nowhere(self):
        assert KEY not in (b64decode(digest(FIRST)), sha256(FIRST.encode()))
        assert key_of(digest(FIRST)) != KEY

    @pytest.mark.parametrize(
        ("count", "size"),
        [(0, 0), (1, 8), (8, 8), (9, 16), (300, 512), (512, 512), (600, MAX_OPENINGS)],
    )
    def test_how_many_there_are_is_hidden(self, count, size):
        real = [b64encode(sha256(b"%d" % number)) for number in range(count)]
        found = filled(real, b"seed")
        assert len(found) == size
        assert list(found) == sorted(set(found))
        assert {len(item) for item in found} <= {43}
        assert set(sorted(real)[:MAX_OPENINGS]) <= set(found)
        assert filled(reversed(real), b"seed") == found
        assert not real or size <= count or filled(real, b"other") != found

    def test_who_asks_is_whom_the_grant_is_to(self):
        openings = filled([OPENING], b"seed")
        found = recognised(openings, [(OTHER, "another grant"), (OEM, FIRST)])
        assert (found.grantee, found.opening, found.key) == (OEM, OPENING, KEY)

    @pytest.mark.parametrize(
        ("openings", "grants", "walked"),
        [
            pytest.param([OPENING], [(OEM, "a newer version")], WALKED, id="replaced"),
            pytest.param([OPENING], [], WALKED, id="revoked"),
            pytest.param([], [(OEM, FIRST)], WALKED, id="none"),
            pytest.param(
                [OPENING], [(OEM, FIRST)], replace(WALKED, trace="u" * 22), id="another trace"
            ),
            pytest.param(
                [OPENING], [(OEM, FIRST)], replace(WALKED, direction="downstream"), id="way"
            ),
            pytest.param([OPENING], [(OEM, FIRST)], replace(WALKED, purpose="audit"), id="purpose"),
            pytest.param(
                [OPENING], [(OEM, FIRST)], replace(WALKED, until=WALKED.until + 1), id="longer"
            ),
            pytest.param(
                [OPENING, WALKED.opening(key_of("x"))],
                [(OEM, FIRST), (OTHER, "x")],
                WALKED,
                id="two",
            ),
        ],
    )
    def test_and_else_nobody(self, openings, grants, walked):
        assert recognised(openings, grants, walked) is None

    def test_several_grants_of_one_are_one(self):
        openings = sorted([OPENING, WALKED.opening(key_of("x"))])
        found = recognised(openings, [(OEM, "x"), (OEM, FIRST)])
        assert (found.grantee, found.opening) == (OEM, openings[0])


NUMBERS = st.lists(st.integers(0, 5), max_size=6)


class TestAgainstAModel:
    @given(NUMBERS, st.sets(st.integers(0, 7)), st.binary(min_size=1, max_size=8))
    def test_one_grantee_of_what_is_shown_is_who_asks(self, granted, shown, seed):
        """Each grant is to one: an even number to the first, an odd one to the other."""
        grants = [((OEM, OTHER)[number % 2], f"grant {number}") for number in granted]
        openings = [WALKED.opening(key_of(f"grant {number}")) for number in shown]
        found = recognised(filled(openings, seed), grants)
        meant = {to for to, text in grants if int(text.split()[1]) in shown}
        assert (None if found is None else found.grantee) == (
            min(meant, key=str) if len(meant) == 1 else None
        )


class TestBoxes:
    @given(st.binary(max_size=3 * MIN_BOX), st.binary(min_size=12, max_size=12))
    def test_what_went_in_comes_out(self, content, nonce):
        box = put(KEY, TRACE, OPENING, content, nonce)
        assert taken(KEY, TRACE, OPENING, box) == content
        size = len(b64decode(box)) - 28
        assert size in (MIN_BOX, 2 * MIN_BOX, 4 * MIN_BOX)

    @pytest.mark.parametrize(
        ("length", "size"),
        [(0, MIN_BOX), (MIN_BOX - 4, MIN_BOX), (MIN_BOX - 3, 2 * MIN_BOX), (MAX_CONTENT, MAX_BOX)],
    )
    def test_its_size_tells_little(self, length, size):
        box = put(KEY, TRACE, OPENING, b"x" * length, NONCE)
        assert len(b64decode(box)) == size + 28
        assert len(taken(KEY, TRACE, OPENING, box)) == length

    def test_what_is_too_much_is_not_put_in(self):
        with pytest.raises(ValueError, match="too much"):
            put(KEY, TRACE, OPENING, b"x" * (MAX_CONTENT + 1), NONCE)
        with pytest.raises(ValueError, match="no nonce"):
            put(KEY, TRACE, OPENING, b"x", b"short")

    def test_every_change_is_seen(self):
        box = put(KEY, TRACE, OPENING, b"content", NONCE)
        raw = b64decode(box)
        for at in [*range(40), *range(len(raw) - 20, len(raw)), len(raw) // 2]:
            changed = bytearray(raw)
            changed[at] ^= 1 << (at % 8)
            assert refusal(taken, KEY, TRACE, OPENING, b64encode(bytes(changed))) == "E_BOX"

    @pytest.mark.parametrize(
        "change",
        [
            {"key": key_of("x")},
            {"trace": "u" * 22},
            {"opening": WALKED.opening(key_of("x"))},
            {"box": ""},
            {"box": "no base64"},
            {"box": b64encode(bytes(MIN_BOX))},
            {"box": b64encode(bytes(MIN_BOX + 28 + 1))},
            {"box": b64encode(bytes(MIN_BOX // 2 + 28))},
            {"box": "A" * (4 * MAX_BOX // 3 + 1000)},
        ],
    )
    def test_it_opens_in_its_place_alone(self, change):
        given = {"key": KEY, "trace": TRACE, "opening": OPENING}
        given["box"] = put(KEY, TRACE, OPENING, b"content", NONCE)
        assert refusal(lambda: taken(**(given | change))) == "E_BOX"

    @pytest.mark.parametrize("padded", [b"\0\0\0\x01xy", b"\0\0\x20\0", b"\xff\xff\xff\xff"])
    def test_it_is_filled_up_with_zeros_and_no_longer_than_it_is(self, padded, monkeypatch):
        class Filled:
            def __init__(self, key):
                self.key = key

            def encrypt(self, nonce, data, about):
                return AESGCM(self.key).encrypt(nonce, padded.ljust(len(data), b"\0"), about)

        with monkeypatch.context() as patch:
            patch.setattr(opening, "AESGCM", Filled)
            box = put(KEY, TRACE, OPENING, b"", NONCE)
        with pytest.raises(VerifyError, match="zeros"):
            taken(KEY, TRACE, OPENING, box)
