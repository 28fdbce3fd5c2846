"""Batch statements: each record verifies alone, and nothing else passes for one of them."""

import tracemalloc

import pytest
from hypothesis import given, settings, strategies as st

from schemas import batched, canonical, envelope, signed
from schemas.answer import verify_record
from schemas.batched import MAX_RECORDS, STATEMENT, Batch, build, parse_statement
from schemas.envelope import DELEGATION, LINK, RECORD, cosign, digest
from schemas.errors import VerifyError
from schemas.keys import b64decode, b64encode, sha256
from schemas.link import parse_assertion
from schemas.merkle import leaf_hash, root_of
from schemas.record import parse_record
from tests.parties import (
    DELEGATIONS,
    GEAR,
    ISSUED,
    NOW,
    STEEL,
    STRANGER,
    assertion,
    prefix,
    record,
    refusal,
    trust,
)

GEARS = prefix("88.100")
KEYS = {GEAR.public.kid: GEAR.public}
RECORDS = [record(f"88.100/A-{number}", attributes={"n": number}) for number in range(11)]
CLAIMS = [item.claims() for item in RECORDS]


def under(claims, typ=RECORD, signer=GEAR, *, of=GEARS, issued_at=ISSUED):
    """The statement and the tokens of some claims."""
    statement, tokens = build(claims, typ, signer, issued_at=issued_at, prefix=of)
    return statement, list(tokens)


STATEMENT_TOKEN, TOKENS = under(CLAIMS)
GOOD = TOKENS[5]
PAYLOAD, INDEX, PATH, _ = GOOD.split("~")


def spelled(payload=PAYLOAD, index=INDEX, path=PATH, statement=STATEMENT_TOKEN):
    return f"{payload}~{index}~{path}~{statement}"


def stating(signer=GEAR, typ=STATEMENT, **members):
    """The good token under a statement with members changed (None: left out), and signed anew."""
    claims = parse_statement(STATEMENT_TOKEN).envelope.claims | members
    kept = {name: value for name, value in claims.items() if value is not None}
    return spelled(statement=envelope.sign(typ, kept, signer))


def hashes(path=PATH):
    raw = b64decode(path)
    return [raw[at : at + 32] for at in range(0, len(raw), 32)]


def joined(*items):
    return b64encode(b"".join(items))


def canonically(**members):
    return b64encode(canonical.encode(CLAIMS[5] | members))


class TestGood:
    @pytest.mark.parametrize("number", range(len(TOKENS)))
    def test_each_record_verifies_alone(self, number):
        found, read = parse_record(TOKENS[number])
        assert read == RECORDS[number]
        assert (found.typ, found.alg, found.kid) == (RECORD, "Ed25519", GEAR.public.kid)
        assert found.claims == CLAIMS[number]
        assert found.statement.token == STATEMENT_TOKEN
        assert found.digest == digest(TOKENS[number]) == b64encode(sha256(TOKENS[number].encode()))
        assert signed.check(found, KEYS) is GEAR.public
        assert signed.signers(found, KEYS) == (GEAR.public,)
        assert signed.verify(TOKENS[number], RECORD, KEYS) == found

    def test_the_statement(self):
        found = parse_statement(STATEMENT_TOKEN)
        payloads = [canonical.encode(item) for item in CLAIMS]
        assert found.envelope.claims == {
            "v": 1,
            "prefix": "88.100",
            "of": RECORD,
            "count": 11,
            "root": b64encode(root_of(11, lambda level, at: subtree(payloads, level, at))),
            "iat": ISSUED,
        }
        assert envelope.check(found.envelope, KEYS) is GEAR.public

    def test_under_the_chain_of_the_prefix(self):
        found = verify_record(GOOD, trust(*DELEGATIONS), NOW)
        assert found.current
        assert found.parts.records == (RECORDS[5],)

    @pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 9, 255, 256, 257])
    def test_trees_of_any_shape(self, count):
        claims = [record(f"88.100/B-{number}").claims() for number in range(count)]
        _, tokens = under(claims)
        for number in {0, count // 2, count - 1}:
            assert signed.verify(tokens[number], RECORD, KEYS).claims == claims[number]

    def test_one_record_needs_no_path(self):
        statement, (token,) = under(CLAIMS[:1])
        assert token == f"{canonically_of(CLAIMS[0])}~0~~{statement}"

    def test_links_too(self):
        said = assertion("upstream", "88.100/A-1", "88.101/B-1")
        _, (token,) = under([said.claims()], LINK)
        found, read = parse_assertion(token)
        assert read == said
        assert signed.check(found, KEYS) is GEAR.public

    def test_several_signatures_of_the_statement(self):
        keys = KEYS | {STEEL.public.kid: STEEL.public}
        both = spelled(statement=cosign(STATEMENT_TOKEN, STEEL))
        found = signed.parse(both, RECORD)
        assert found.kids == (GEAR.public.kid, STEEL.public.kid)
        assert signed.signers(found, keys) == (GEAR.public, STEEL.public)
        assert refusal(signed.check, found, KEYS) == "E_CHAIN"
        assert found.digest != digest(GOOD)


def canonically_of(claims):
    return b64encode(canonical.encode(claims))


def subtree(payloads, level, index):
    """The hash of a complete subtree, as RFC 6962 defines it and not as `Batch` makes it."""
    if level == 0:
        return leaf_hash(payloads[index])
    left, right = (subtree(payloads, level - 1, 2 * index + side) for side in (0, 1))
    return sha256(b"\x01" + left + right)


BAD = {
    # B1
    "nothing": ("~", "E_FORMAT"),
    "three parts": (f"{PAYLOAD}~{INDEX}~{PATH}", "E_FORMAT"),
    "not ASCII": (spelled(index="\N{FULLWIDTH DIGIT FIVE}"), "E_FORMAT"),
    "too long": ("A" * 100_000 + "~0~~", "E_LIMIT"),
    # B2
    "no statement": (spelled(statement=""), "E_FORMAT"),
    "a statement too long": (spelled(statement="A" * 9000), "E_LIMIT"),
    "a record as statement": (spelled(statement=RECORDS[5].sign(GEAR)), "E_TYP"),
    "a statement of another typ": (stating(typ=RECORD), "E_TYP"),
    "a batched statement": (spelled(statement=GOOD), "E_ENCODING"),
    "a member too many": (stating(note="x"), "E_FORMAT"),
    "no prefix": (stating(prefix=None), "E_FORMAT"),
    "a bad prefix": (stating(prefix="88..1"), "E_ID"),
    "no root": (stating(root=None), "E_FORMAT"),
    "a short root": (stating(root="AAAA"), "E_FORMAT"),
    "a root in other letters": (stating(root="=" * 43), "E_ENCODING"),
    "no count": (stating(count=None), "E_FORMAT"),
    "of nothing": (stating(count=0), "E_FORMAT"),
    "of too many": (stating(count=MAX_RECORDS + 1), "E_LIMIT"),
    "count is true": (stating(count=True), "E_FORMAT"),
    "no time of issue": (stating(iat=None), "E_FORMAT"),
    "of delegations": (stating(of=DELEGATION), "E_FORMAT"),
    "of statements": (stating(of=STATEMENT), "E_FORMAT"),
    "before it is valid": (stating(nbf=ISSUED + 1), "E_TIME"),
    "after it was valid": (stating(exp=ISSUED), "E_TIME"),
    # B3
    "of links": (stating(of=LINK), "E_TYP"),
    # B4
    "an empty index": (spelled(index=""), "E_FORMAT"),
    "a leading zero": (spelled(index="05"), "E_FORMAT"),
    "a sign": (spelled(index="+5"), "E_FORMAT"),
    "a space": (spelled(index="5 "), "E_FORMAT"),
    "a newline": (spelled(index="5\n"), "E_FORMAT"),
    "seven digits": (spelled(index="1000000"), "E_FORMAT"),
    "another index": (spelled(index="4"), "E_INCLUSION"),
    "an index beyond": (spelled(index="11"), "E_INCLUSION"),
    # B5
    "an empty payload": (spelled(payload=""), "E_FORMAT"),
    "a padded payload": (spelled(payload=PAYLOAD + "="), "E_ENCODING"),
    "a payload with a dot": (spelled(payload=PAYLOAD + "."), "E_FORMAT"),
    "a spaced payload": (spelled(payload=b64encode(b'{"v": 1}')), "E_CANON"),
    "another version": (spelled(payload=canonically(v=2)), "E_FORMAT"),
    "too much": (spelled(payload=b64encode(b"x" * 49153)), "E_LIMIT"),
    "a member twice": (spelled(payload=b64encode(b'{"v":1,"v":1}')), "E_DUPKEY"),
    # B6
    "issued later": (spelled(payload=canonically(iat=ISSUED + 1)), "E_TIME"),
    "issued never": (spelled(payload=b64encode(b'{"v":1}')), "E_TIME"),
    # B7
    "another payload": (spelled(payload=canonically(ver=7)), "E_INCLUSION"),
    "no path": (spelled(path=""), "E_INCLUSION"),
    "half a hash more": (spelled(path=joined(*hashes(), bytes(16))), "E_INCLUSION"),
    "a hash less": (spelled(path=joined(*hashes()[:-1])), "E_INCLUSION"),
    "a hash more": (spelled(path=joined(*hashes(), bytes(32))), "E_INCLUSION"),
    "hashes swapped": (spelled(path=joined(*reversed(hashes()))), "E_INCLUSION"),
    "a path too long": (spelled(path="A" * 860), "E_LIMIT"),
    "a path in other letters": (spelled(path=PATH[:-1] + "="), "E_ENCODING"),
    "another root": (stating(root=b64encode(bytes(32))), "E_INCLUSION"),
    "another count": (stating(count=6), "E_INCLUSION"),
}


@pytest.mark.parametrize(("token", "code"), BAD.values(), ids=BAD)
def test_refused(token, code):
    assert refusal(signed.verify, token, RECORD, KEYS) == code


@pytest.mark.parametrize("token", [None, 7, b"a~0~~b", [GOOD]])
def test_a_batched_record_is_a_string(token):
    assert refusal(batched.parse, token, RECORD) == "E_FORMAT"
    assert refusal(parse_statement, token) == "E_FORMAT"


class TestSignature:
    def test_by_another_key(self):
        found = signed.parse(stating(STRANGER), RECORD)
        assert refusal(signed.check, found, KEYS) == "E_CHAIN"

    def test_that_does_not_hold_is_not_remembered(self):
        head, _, _ = STATEMENT_TOKEN.rpartition(".")
        token = spelled(statement=f"{head}.{b64encode(bytes(64))}")
        for _ in range(2):
            assert refusal(signed.verify, token, RECORD, KEYS) == "E_SIG"

    def test_that_holds_is_remembered_for_its_key_alone(self):
        found = signed.parse(GOOD, RECORD)
        assert signed.check(found, KEYS) is GEAR.public
        assert refusal(signed.check, found, {}) == "E_CHAIN"
        assert refusal(signed.check, found, {STEEL.public.kid: STEEL.public}) == "E_CHAIN"

    def test_is_checked_once_for_all(self, monkeypatch):
        checked = []
        original = envelope.signers
        monkeypatch.setattr(
            envelope, "signers", lambda *given: checked.append(given) or original(*given)
        )
        _, tokens = under([record(f"88.100/C-{number}").claims() for number in range(100)])
        for token in tokens:
            signed.verify(token, RECORD, KEYS)
        assert len(checked) == 1


class TestSpeaks:
    @pytest.mark.parametrize(
        ("claims", "of", "code"),
        [
            (CLAIMS, prefix("88.101"), "E_SCOPE"),
            (CLAIMS, prefix("88"), "E_SCOPE"),
            ([record("88.101/A").claims()], GEARS, "E_SCOPE"),
            ([record("88.100.1/A").claims()], GEARS, "E_CHAIN"),
        ],
        ids=["another prefix", "the prefix above", "of another's record", "of one below"],
    )
    def test_for_its_own_prefix_alone(self, claims, of, code):
        _, tokens = under(claims, of=of)
        assert refusal(verify_record, tokens[0], trust(*DELEGATIONS), NOW) == code

    def test_within_its_time_alone(self):
        found = signed.parse(stating(nbf=ISSUED, exp=ISSUED + 10), RECORD)
        signed.check_speaks(found, GEARS, ISSUED)
        signed.check_speaks(found, GEARS, ISSUED + 9)
        for at in (ISSUED - 1, ISSUED + 10):
            assert refusal(signed.check_speaks, found, GEARS, at) == "E_TIME"

    def test_an_envelope_is_not_asked(self):
        found = signed.parse(RECORDS[0].sign(GEAR), RECORD)
        signed.check_speaks(found, prefix("88.101"), 0)


class TestSeam:
    def test_both_forms_read_alike(self):
        alone = parse_record(RECORDS[5].sign(GEAR))
        together = parse_record(GOOD)
        assert alone[1] == together[1]
        assert alone[0].claims == together[0].claims
        assert alone[0].statement is None

    def test_what_a_token_states(self):
        assert signed.type_of(GOOD) == signed.type_of(RECORDS[5].sign(GEAR)) == RECORD
        assert signed.type_of(cosign(RECORDS[5].sign(GEAR), STEEL)) == RECORD
        assert signed.type_of(spelled(statement="A.A.A")) is None
        assert signed.type_of("") is None
        assert signed.type_of(None) is None

    def test_which_is_a_jws_in_compact_form(self):
        assert signed.is_compact(RECORDS[5].sign(GEAR))
        assert not signed.is_compact(cosign(RECORDS[5].sign(GEAR), STEEL))
        assert not signed.is_compact(GOOD)

    def test_a_statement_is_not_a_record(self):
        assert refusal(signed.parse, STATEMENT_TOKEN, RECORD) == "E_TYP"


class TestBuilding:
    def test_the_largest_token_is_within_the_limit(self):
        room = canonical.MAX_BYTES - len(canonical.encode(CLAIMS[0] | {"a": ""}))
        batch = Batch(RECORD, GEARS, ISSUED)
        payload = batch.add(CLAIMS[0] | {"a": "x" * room})
        statement = batch.sign(GEAR)
        assert len(batch.token(0, payload, statement)) <= signed.MAX_TOKEN
        assert refusal(batch.add, CLAIMS[0] | {"a": "x" * (room + 1)}) == "E_LIMIT"

    def test_the_longest_prefix_fits_a_statement_with_eight_signatures(self):
        long = prefix(".".join(["1" * 128] * 7))
        batch = Batch(RECORD, long, ISSUED)
        batch.add(CLAIMS[0])
        token = batch.sign(GEAR, valid_from=0, valid_until=2**53 - 1)
        for name in range(7):
            token = cosign(token, type(GEAR).from_seed(bytes([name] * 32)))
        assert len(parse_statement(token).envelope.kids) == 8

    def test_what_is_not_issued_with_it(self):
        batch = Batch(RECORD, GEARS, ISSUED + 1)
        assert refusal(batch.add, CLAIMS[0]) == "E_TIME"

    def test_of_nothing(self):
        assert refusal(Batch(RECORD, GEARS, ISSUED).sign, GEAR) == "E_LIMIT"

    def test_of_delegations(self):
        assert refusal(Batch, DELEGATION, GEARS, ISSUED) == "E_TYP"

    def test_with_too_many(self, monkeypatch):
        monkeypatch.setattr(batched, "MAX_RECORDS", 2)
        batch = Batch(RECORD, GEARS, ISSUED)
        batch.add(CLAIMS[0])
        batch.add(CLAIMS[1])
        assert refusal(batch.add, CLAIMS[2]) == "E_LIMIT"

    def test_a_record_after_signing_makes_another_tree(self):
        batch = Batch(RECORD, GEARS, ISSUED)
        payloads = [batch.add(claims) for claims in CLAIMS[:2]]
        first = batch.sign(GEAR)
        payloads.append(batch.add(CLAIMS[2]))
        second = batch.sign(GEAR)
        assert parse_statement(first).count == 2
        for index, payload in enumerate(payloads):
            assert signed.verify(batch.token(index, payload, second), RECORD, KEYS)

    def test_its_time(self):
        batch = Batch(RECORD, GEARS, ISSUED)
        batch.add(CLAIMS[0])
        found = parse_statement(batch.sign(GEAR, valid_from=ISSUED - 5, valid_until=ISSUED + 5))
        assert (found.valid_from, found.valid_until) == (ISSUED - 5, ISSUED + 5)
        assert refusal(batch.sign, GEAR, valid_until=ISSUED) == "E_TIME"

    def test_memory_is_the_hashes(self):
        count = 20_000
        claims = Repeated(count)
        tracemalloc.start()
        _, tokens = build(claims, RECORD, GEAR, issued_at=ISSUED, prefix=GEARS)
        for _ in tokens:
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 3 * 32 * count + 1_000_000


class Repeated:
    """So many claims, made when they are asked for."""

    def __init__(self, count):
        self._count = count

    def __iter__(self):
        return (CLAIMS[0] | {"ver": number} for number in range(1, self._count + 1))


@given(st.integers(1, 70), st.data())
@settings(max_examples=60)
def test_every_record_of_every_tree(count, data):
    claims = [CLAIMS[0] | {"attributes": {"n": number}} for number in range(count)]
    _, tokens = under(claims)
    index = data.draw(st.integers(0, count - 1))
    assert signed.verify(tokens[index], RECORD, KEYS).claims == claims[index]


@given(st.integers(0, len(GOOD) - 1), st.characters(min_codepoint=1, max_codepoint=0x2FF))
@settings(max_examples=1500)
def test_no_character_may_change(at, character):
    """Whatever is put in the place of a character: it does not verify, or is the same text."""
    changed = GOOD[:at] + character + GOOD[at + 1 :]
    if changed == GOOD:
        return
    with pytest.raises(VerifyError):
        signed.verify(changed, RECORD, KEYS)


@given(st.integers(0, len(TOKENS) - 1), st.integers(0, len(TOKENS) - 1))
def test_parts_of_two_records_do_not_join(one, other):
    payload, index, path, statement = TOKENS[one].split("~")
    for spelling in (
        f"{payload}~{TOKENS[other].split('~')[1]}~{path}~{statement}",
        f"{payload}~{index}~{TOKENS[other].split('~')[2]}~{statement}",
        f"{TOKENS[other].split('~')[0]}~{index}~{path}~{statement}",
    ):
        if spelling not in TOKENS:
            assert refusal(signed.verify, spelling, RECORD, KEYS) == "E_INCLUSION"


def test_a_record_signed_alone_and_together_has_two_digests():
    assert parse_record(GOOD)[1] == parse_record(RECORDS[5].sign(GEAR))[1]
    assert digest(GOOD) != digest(RECORDS[5].sign(GEAR))
