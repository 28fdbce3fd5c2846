"""The negative list: 25 families of single mutations of a golden bundle, each with its code.

One test or more for each row, named by its number. Where a row is about something that happens
before there is a bundle (a key is registered, a root is followed, a log is watched), the function
that refuses it is called as whoever calls it would.
"""

import base64
import copy
import gzip
import json
import re
import socket
import sys
import tracemalloc
from dataclasses import replace

import pytest

from schemas import canonical, merkle, proof, sm2
from schemas.answer import verify_answer
from schemas.chain import Chain, anchor, validate
from schemas.checkpoint import cosign, sign_note
from schemas.delegation import Revocation, check_possession, sign_possession
from schemas.disclosure import hide, hide_attribute
from schemas.envelope import RECORD, cosign as cosign_envelope, digest, parse, sign, verify
from schemas.errors import BadInput
from schemas.evidence import LogProof
from schemas.identifier import Identifier, Prefix
from schemas.keys import SM2, PrivateKey, PublicKey, b64decode, b64encode, sha256
from schemas.verifiable_map import MapProof, VerifiableMap, map_key, map_value, verify_map
from tests import forgeries, logbook, parties
from tests.forgeries import CHIP
from tests.logbook import (
    CHAIN,
    LOGGED,
    POLICY,
    SHAFT,
    SHAFT_TOKEN,
    Logbook,
    code,
    edited,
    golden,
    judge,
    spelled,
    trust,
)
from tests.parties import (
    GEAR,
    GEAR_TOKEN,
    INDUSTRY,
    INDUSTRY_TOKEN,
    ISSUED,
    NOW,
    ROOT,
    ROOT_TOKEN,
    STEEL,
    STEEL_TOKEN,
    STRANGER,
    delegation,
    held,
    identifier,
    key,
    prefix,
    record,
    refusal,
)

GOLDEN = golden()
BOOK = GOLDEN.book
BUNDLE = GOLDEN.bundle()
ABSENT = GOLDEN.absent()
HEAD = BOOK.checkpoint()
LOG = BUNDLE["proof"]["log"]
ABOUT = SHAFT.identifier.text
GEAR_PREFIX = Prefix.parse("88.100")
ROOT_CHAIN = Chain((anchor([ROOT_TOKEN]),))


def bundle_of(token=SHAFT_TOKEN, chain=CHAIN, about=ABOUT, steps=()):
    """A good bundle of one record in a log of its own."""
    book = Logbook()
    for item in chain:
        book.delegate(item)
    index = book.record(token)
    for step in steps:
        step(book)
    book.publish(LOGGED, LOGGED)
    return book.bundle(about, (token,), chain), index


def with_chain(*chain, token=SHAFT_TOKEN, about=ABOUT):
    """The verdict on a record whose chain is this, rightly logged, so that it is the only fault."""
    return code(bundle_of(token, chain, about)[0], LOGGED)


def test_every_row_is_here():
    numbers = {int(found) for found in re.findall(r"^def test_row_(\d\d)", source(), re.MULTILINE)}
    assert numbers == set(range(1, 26))


def source():
    with open(__file__, encoding="utf-8") as file:  # noqa: PTH123
        return file.read()


def test_the_golden_bundle_is_good():
    assert code(BUNDLE) is None


# 1 to 9: the envelope of the record

_CHIPPED = delegation("88.100", "88", GEAR, keys=(held(GEAR), held(CHIP))).sign(INDUSTRY)
FORGED_OF = bundle_of(forgeries.GOOD, (INDUSTRY_TOKEN, _CHIPPED), "88.100/A")[0]
_ALG = [name for name, (_, expected) in forgeries.ROWS.items() if expected == "E_ALG"]
_HEADERS = [name for name, (_, expected) in forgeries.ROWS.items() if expected == "E_HEADER"]
_EXTENDED = ("header-crit", "crit-", "b64-", "zip")
_KEYS_AND_URLS = ("header-jwk", "header-jku", "header-x5")


def forged(names):
    return pytest.mark.parametrize("name", sorted(names))


def coded(expected):
    return [name for name, (_, found) in forgeries.ROWS.items() if found == expected]


def refused_as(name):
    """The verdict on the bundle with this forgery for its record."""
    return code(edited(FORGED_OF, "envelope", forgeries.ROWS[name][0]), LOGGED)


def test_the_bundle_that_is_forged_is_good():
    assert code(FORGED_OF, LOGGED) is None


@forged(name for name in _ALG if name.endswith("-unsigned"))
def test_row_01_no_algorithm(name):
    assert refused_as(name) == "E_ALG"


@forged(name for name in _ALG if name.startswith("hs256"))
def test_row_02_the_public_key_as_a_secret(name):
    assert refused_as(name) == "E_ALG"


@forged(name for name in _ALG if not name.endswith("-unsigned") and not name.startswith("hs256"))
def test_row_03_another_algorithm(name):
    assert refused_as(name) == "E_ALG"


@forged(name for name in _HEADERS if name.startswith(_KEYS_AND_URLS))
def test_row_04_keys_and_addresses_in_the_header(name, monkeypatch):
    def opened(*_arguments, **_options):
        pytest.fail("verification opened a socket")

    monkeypatch.setattr(socket.socket, "connect", opened)
    monkeypatch.setattr(socket, "getaddrinfo", opened)
    assert refused_as(name) == "E_HEADER"


@forged(coded("E_DUPKEY"))
def test_row_05_a_member_twice(name):
    assert refused_as(name) == "E_DUPKEY"


@pytest.mark.parametrize("at", ["identifier", "v", "envelope"])
def test_row_05_a_member_of_the_bundle_twice(at):
    raw = spelled(BUNDLE)
    member = canonical.encode({at: BUNDLE[at]})[1:-1]
    assert code(raw.replace(member, member + b"," + member, 1)) == "E_DUPKEY"


@forged(name for name in _HEADERS if name.startswith(_EXTENDED))
def test_row_06_extensions(name):
    assert refused_as(name) == "E_HEADER"


@forged(coded("E_ENCODING"))
def test_row_07_encodings(name):
    assert refused_as(name) == "E_ENCODING"


@forged(coded("E_CANON"))
def test_row_08_spellings(name):
    assert refused_as(name) == "E_CANON"


@forged(coded("E_SIG"))
def test_row_09_signatures(name):
    assert refused_as(name) == "E_SIG"


def test_rows_01_to_09_leave_nothing_out():
    rows = {name for name in forgeries.ROWS if forgeries.ROWS[name][1] == "E_ALG"}
    assert rows == set(_ALG)
    extended = {n for n in _HEADERS if n.startswith(_EXTENDED)}
    named = {n for n in _HEADERS if n.startswith(_KEYS_AND_URLS)}
    assert len(extended) >= 5
    assert len(named) >= 4
    for expected in ("E_DUPKEY", "E_ENCODING", "E_CANON", "E_SIG"):
        assert len(coded(expected)) > 1


# 10: keys

_P = 2**255 - 19
_LOW_ORDER = [
    number.to_bytes(32, "little")
    for y in (0, 1, _P - 1, _P, _P + 1)
    for number in (y, y | 1 << 255)
] + [
    bytes.fromhex(body + last)
    for body, lasts in {
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc": ("05", "85"),
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03": ("7a", "fa"),
    }.items()
    for last in lasts
]


def okp(raw):
    return {"kty": "OKP", "crv": "Ed25519", "x": str(b64encode(raw))}


def test_row_10_all_fourteen_encodings_of_low_order():
    assert len(set(_LOW_ORDER)) == 14
    assert {refusal(PublicKey.from_jwk, okp(raw)) for raw in _LOW_ORDER} == {"E_KEY"}


@pytest.mark.parametrize("y", [_P, _P + 2, 2**255 - 1])
def test_row_10_not_canonical(y):
    assert refusal(PublicKey.from_jwk, okp(y.to_bytes(32, "little"))) == "E_KEY"


def test_row_10_off_the_curve():
    jwk = dict(CHIP.public.jwk)
    assert refusal(PublicKey.from_jwk, jwk | {"y": jwk["x"]}) == "E_KEY"


def test_row_10_in_a_delegation():
    claims = delegation("88.100", "88", GEAR).claims()
    claims["keys"].append({"jwk": okp(_LOW_ORDER[0]), "use": ["record"]})
    token = sign("tierlink-delegation+jws", claims, INDUSTRY)
    assert code(edited(BUNDLE, "proof.chain.1", token)) == "E_KEY"


def test_row_10_no_proof_of_possession():
    mine = prefix("88.100")
    good = sign_possession(GEAR, mine, "n", NOW)
    check_possession(good, GEAR.public, mine, ["n"], NOW)
    for token, nonce in ((None, "n"), ("", "n"), (good, "m"), (SHAFT_TOKEN, "n")):
        assert refusal(check_possession, token, GEAR.public, mine, [nonce], NOW) == "E_KEY"
    # An Ed25519 key off the curve imports like any other; nobody can sign with it.
    off = PublicKey.from_jwk(okp((2).to_bytes(32, "little")))
    forgery = good.replace(b64encode(canonical.encode({})), "")
    assert refusal(check_possession, forgery, off, mine, ["n"], NOW) == "E_KEY"


# 11: time and revocation


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        pytest.param({"valid_until": LOGGED}, "E_TIME", id="expired-at-log-time"),
        pytest.param({"valid_from": LOGGED + 1}, "E_TIME", id="not-yet-valid"),
        pytest.param({"valid_from": LOGGED, "valid_until": LOGGED + 1}, None, id="valid"),
    ],
)
def test_row_11_a_delegation_at_log_time(members, expected):
    gear = delegation("88.100", "88", GEAR, **members).sign(INDUSTRY)
    assert with_chain(INDUSTRY_TOKEN, gear) == expected


def test_row_11_valid_now_but_not_then():
    gear = delegation("88.100", "88", GEAR, valid_from=LOGGED + 1).sign(INDUSTRY)
    found = judge(spelled(bundle_of(chain=(INDUSTRY_TOKEN, gear))[0]), trust(), LOGGED + 100)
    assert (found.state, found.codes[0].code) == ("invalid", "E_TIME")


@pytest.mark.parametrize(("after", "expected"), [(0, "E_REVOKED"), (-1, "E_REVOKED"), (1, None)])
def test_row_11_the_leaf_is_at_or_after_since(after, expected):
    revoked = (Revocation(GEAR.public.kid, "compromised", 2 + after),)
    token = delegation("88.100", "88", GEAR, revoked=revoked).sign(INDUSTRY)
    bundle, index = bundle_of(chain=(INDUSTRY_TOKEN, token))
    assert index == 2
    assert code(bundle, LOGGED) == expected


# 12: scope and spelling


def of(subject, signer=INDUSTRY, parent="88", **members):
    return delegation(subject, parent, GEAR, **members).sign(signer)


def under(subject, *chain):
    """The verdict on a record under a prefix with this chain."""
    token = record(f"{subject}/X").sign(GEAR)
    return with_chain(*chain, token=token, about=f"{subject}/X")


_BELOW = delegation("88", ".", INDUSTRY, resources=(prefix("88.100"),)).sign(ROOT)
_EXCEPT = delegation("88", ".", INDUSTRY, exceptions=(prefix("88.100"),)).sign(ROOT)
_SHALLOW = delegation("88", ".", INDUSTRY, depth=0).sign(ROOT)
SCOPES = {
    "begins-alike": ("88.1001", (_BELOW, of("88.1001"))),
    "sibling": ("88.101", (_BELOW, of("88.101"))),
    "parent-of-what-is-granted": ("88.10", (_BELOW, of("88.10"))),
    "excepted": ("88.100", (_EXCEPT, GEAR_TOKEN)),
    "below-the-excepted": ("88.100.7", (_EXCEPT, of("88.100.7"))),
    "overclaiming": ("88.100", (INDUSTRY_TOKEN, of("88.100", resources=(prefix("88.101"),)))),
    "overclaiming-the-parent": (
        "88.100",
        (INDUSTRY_TOKEN, of("88.100", resources=(prefix("88"),))),
    ),
    "too-deep": ("88.100", (_SHALLOW, GEAR_TOKEN)),
    "leading-zero": ("88.0100", (_BELOW, of("88.0100"))),
}


@pytest.mark.parametrize(("subject", "chain"), SCOPES.values(), ids=SCOPES)
def test_row_12_scope(subject, chain):
    assert under(subject, *chain) == "E_SCOPE"


@pytest.mark.parametrize("subject", ["88.1001", "88.101", "88", "88.100.1", "88.0100"])
def test_row_12_the_key_of_one_prefix_for_another(subject):
    """With the chain of 88.100 nobody speaks for anything else."""
    token = record(f"{subject}/X").sign(GEAR)
    document = edited(edited(BUNDLE, "envelope", token), "identifier", f"{subject}/X")
    assert code(document) is not None
    chain = validate(ROOT_CHAIN, CHAIN, GEAR_PREFIX)
    assert refusal(chain.check_speaker, parse(token, RECORD), prefix(subject), NOW) == "E_SCOPE"


SPELLINGS = {
    "full-width-digits": "88.\uff11\uff10\uff10/SHAFT-7",
    "trailing-dot": "88.100./SHAFT-7",
    "mixed-case": "88.1A0/SHAFT-7",
    "no-suffix": "88.100/",
    "empty-label": "88..100/SHAFT-7",
}


@pytest.mark.parametrize("text", SPELLINGS.values(), ids=SPELLINGS)
def test_row_12_spelling_of_the_identifier(text):
    assert code(edited(BUNDLE, "identifier", text)) == "E_ID"
    claims = SHAFT.claims() | {"id": text}
    assert code(edited(BUNDLE, "envelope", sign(RECORD, claims, GEAR))) == "E_ID"


def test_row_12_decomposed_suffix():
    """Refused as JSON already, for all text is in form NFC."""
    raw = spelled(BUNDLE).replace(b"88.100/SHAFT-7", "88.100/SHAFT-e\u0301".encode(), 1)
    assert code(raw) == "E_CANON"
    with pytest.raises(BadInput):
        Identifier.parse("88.100/SHAFT-e\u0301")


# 13: the chain

_RECORD_KEY = delegation("88", ".", INDUSTRY, keys=(held(INDUSTRY, "record"),)).sign(ROOT)
_TWO = delegation(
    "88", ".", INDUSTRY, thresholds={"delegate": 2}, keys=(held(INDUSTRY), held(STEEL))
)
CHAINS = {
    "middle-missing": [GEAR_TOKEN],
    "swapped": [GEAR_TOKEN, INDUSTRY_TOKEN],
    "iss-is-not-sub": [INDUSTRY_TOKEN, of("88.100", parent="89")],
    "by-a-record-key": [_RECORD_KEY, GEAR_TOKEN],
    "by-one-of-two": [_TWO.sign(ROOT), GEAR_TOKEN],
    "twice-the-same": [INDUSTRY_TOKEN, INDUSTRY_TOKEN, GEAR_TOKEN],
    "back-again": [INDUSTRY_TOKEN, GEAR_TOKEN, INDUSTRY_TOKEN],
    "by-a-stranger": [INDUSTRY_TOKEN, of("88.100", STRANGER)],
    "by-itself": [INDUSTRY_TOKEN, of("88.100", GEAR)],
}


@pytest.mark.parametrize("tokens", CHAINS.values(), ids=CHAINS)
def test_row_13_chain(tokens):
    assert refusal(validate, ROOT_CHAIN, tokens, GEAR_PREFIX) == "E_CHAIN"


@pytest.mark.parametrize(
    "name", ["middle-missing", "iss-is-not-sub", "by-a-record-key", "by-one-of-two", "by-itself"]
)
def test_row_13_chain_of_a_bundle(name):
    assert code(edited(BUNDLE, "proof.chain", CHAINS[name])) == "E_CHAIN"


def test_row_13_one_key_twice_is_one():
    token = of("88.100")
    with pytest.raises(BadInput, match="E_CHAIN"):
        cosign_envelope(token, INDUSTRY)
    head, _, signature = token.split(".")
    doubled = f"{token}~{head}..{signature}"
    chain = [_TWO.sign(ROOT), doubled]
    assert code(edited(BUNDLE, "proof.chain", chain)) == "E_CHAIN"
    both = cosign_envelope(token, STEEL)
    assert with_chain(_TWO.sign(ROOT), both) is None


def test_row_13_a_second_root():
    """Whoever makes a root of his own is not believed: the trust bundle's is the only one."""
    own = parties.root(keys=(held(STRANGER, "rotate", "delegate"),)).sign(STRANGER)
    industry = delegation("88", ".", INDUSTRY).sign(STRANGER)
    assert code(edited(BUNDLE, "proof.chain", [industry, GEAR_TOKEN])) == "E_CHAIN"
    assert code(edited(BUNDLE, "proof.chain", [own, industry, GEAR_TOKEN])) == "E_TYP"


def test_row_13_a_loop():
    loop = delegation("88", "88.100", INDUSTRY).sign(GEAR)
    assert (
        refusal(validate, ROOT_CHAIN, [INDUSTRY_TOKEN, GEAR_TOKEN, loop], GEAR_PREFIX) == "E_SCOPE"
    )
    assert code(edited(BUNDLE, "proof.chain", [loop, GEAR_TOKEN])) == "E_CHAIN"


# 14: one thing for another


def test_row_14_a_link_as_a_record():
    assert code(edited(BUNDLE, "envelope", parties.GEAR_SAYS.sign(GEAR))) == "E_TYP"


def test_row_14_the_same_claims_under_another_type():
    token = sign("tierlink-link+jws", SHAFT.claims(), GEAR)
    assert code(edited(BUNDLE, "envelope", token)) == "E_TYP"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("88.100/SHAFT-8", "E_ID"),
        ("88.100/SHAFT", "E_ID"),
        ("88.101/SHAFT-7", "E_MAP"),  # the prefix is not the one whose delegation is proved
        ("20.500/1", "E_CHAIN"),  # nor is there a chain to this one
    ],
)
def test_row_14_the_record_of_one_for_another(text, expected):
    document = edited(BUNDLE, "identifier", text)
    document["proof"]["chain"].append(STEEL_TOKEN)
    assert code(document) == expected


@pytest.mark.parametrize("text", ["urn:oid:88.100", "urn:epc:id:sgtin:88.100", "/01/88100/21/7"])
def test_row_14_an_identifier_of_another_scheme_is_none(text):
    """Identifiers carry no scheme, so none can be mistaken: other schemes' texts do not parse."""
    assert code(edited(BUNDLE, "identifier", text)) == "E_ID"


def test_row_14_the_checkpoint_of_another_log():
    other = replace(HEAD, origin="registry.example/tierlink/other")
    note = logbook.cosigned(other, NOW, NOW)
    assert code(edited(BUNDLE, "proof.log.checkpoint", note)) == "E_ORIGIN"


# 15: the newest


def later(number=7):
    """The versions of the shaft up to a number."""
    tokens = [SHAFT_TOKEN]
    item = SHAFT
    for at in range(2, number + 1):
        item = item.next(digest(tokens[-1]), ISSUED + at)
        tokens.append(item.sign(GEAR))
    return tokens


def test_row_15_version_6_while_the_map_says_7():
    tokens = later()
    book = Logbook()
    for item in CHAIN:
        book.delegate(item)
    for token in tokens:
        book.record(token)
    book.publish(LOGGED, LOGGED)
    assert code(book.bundle(ABOUT, (tokens[6],), CHAIN), LOGGED) is None
    assert code(book.bundle(ABOUT, (tokens[5],), CHAIN), LOGGED) == "E_STALE"


def test_row_15_two_records_of_one_version():
    twin = replace(SHAFT, attributes={}).sign(GEAR)
    bundle, _ = bundle_of(steps=(lambda book: book.record(twin),))
    assert code(bundle, LOGGED) == "E_FORK"


def test_row_15_versions_follow_by_prev():
    second, third = later(3)[1:]
    proof.check_succession(SHAFT_TOKEN, second)
    other = replace(SHAFT, attributes={}).next(digest(second), ISSUED + 2).sign(GEAR)
    assert refusal(proof.check_succession, SHAFT_TOKEN, other) == "E_FORK"
    assert refusal(proof.check_succession, SHAFT_TOKEN, third) == "E_FORK"
    assert refusal(proof.check_succession, second, SHAFT_TOKEN) == "E_STALE"
    twin = replace(SHAFT, attributes={}).sign(GEAR)
    assert refusal(proof.check_succession, SHAFT_TOKEN, twin) == "E_FORK"


# 16: inclusion

ENTRY = LogProof.from_json(LOG).entries[0]


def with_path(path, **members):
    joined = b64encode(b"".join(path))
    return edited(BUNDLE, "proof.log.entries.0", LOG["entries"][0] | {"path": joined} | members)


INCLUSIONS = {
    "wrong-index": (with_path(ENTRY.path, index=ENTRY.index - 1), "E_INCLUSION"),
    "truncated": (with_path(ENTRY.path[:-1]), "E_INCLUSION"),
    "extended": (with_path((*ENTRY.path, bytes(32))), "E_INCLUSION"),
    "empty": (with_path(()), "E_INCLUSION"),
    "reversed": (with_path(ENTRY.path[::-1]), "E_INCLUSION"),
    "index-is-size": (with_path(ENTRY.path, index=HEAD.size), "E_INCLUSION"),
    "index-beyond": (with_path(ENTRY.path, index=2**53 - 1), "E_INCLUSION"),
    "hash-of-31-bytes": (
        edited(BUNDLE, "proof.log.entries.0.path", b64encode(bytes(31))),
        "E_INCLUSION",
    ),
    "tree-of-nothing": (
        edited(
            edited(BUNDLE, "proof.log.issued"),
            "proof.log.checkpoint",
            logbook.cosigned(replace(HEAD, size=0, root=merkle.EMPTY_ROOT), NOW, NOW),
        ),
        "E_MAP",
    ),
}


@pytest.mark.parametrize(("document", "expected"), INCLUSIONS.values(), ids=INCLUSIONS)
def test_row_16_inclusion(document, expected):
    assert code(document) == expected


def test_row_16_as_the_tree_sees_it():
    root = merkle.leaf_hash(b"")
    for index, size in ((0, 0), (1, 1), (-1, 1)):
        assert refusal(merkle.verify_inclusion, root, index, size, (), root) == "E_INCLUSION"
    assert refusal(merkle.verify_inclusion, root[:31], 0, 1, (), root) == "E_INCLUSION"


def test_row_16_two_hashes_are_no_leaf():
    """A 64-byte entry of two child hashes is another hash than their node."""
    left, right = merkle.leaf_hash(b"l"), merkle.leaf_hash(b"r")
    root = merkle.node_hash(left, right)
    merkle.verify_inclusion(left, 0, 2, (right,), root)
    for size in (1, 2):
        found = refusal(merkle.verify_inclusion, merkle.leaf_hash(left + right), 0, size, (), root)
        assert found == "E_INCLUSION"


# 17: one log, two stories

OTHER_ROOT = replace(HEAD, root=sha256(b"another"))
FORKS = {
    "same-size-other-root": (HEAD, OTHER_ROOT, ()),
    "larger-and-not-joined": (
        BOOK.checkpoint(20),
        OTHER_ROOT,
        BOOK.consistency(20, HEAD.size),
    ),
    "proof-of-nothing": (BOOK.checkpoint(20), HEAD, ()),
    "rolled-back-root": (HEAD, replace(BOOK.checkpoint(20), size=HEAD.size), ()),
    "shrunk": (HEAD, BOOK.checkpoint(20), BOOK.consistency(20, HEAD.size)),
}


@pytest.mark.parametrize(("older", "newer", "path"), FORKS.values(), ids=FORKS)
def test_row_17_a_fork_keeps_both_notes(older, newer, path):
    notes = tuple(logbook.cosigned(item, NOW, NOW) for item in (older, newer))
    with pytest.raises(BadInput) as caught:
        proof.consistent(*notes, path, POLICY)
    assert (caught.value.code, caught.value.value) == ("E_FORK", notes)


def test_row_17_in_one_bundle():
    note = logbook.cosigned(OTHER_ROOT, LOGGED, LOGGED)
    assert code(edited(BUNDLE, "proof.log.issued.checkpoint", note)) == "E_FORK"


# 18: the note

NOTE = LOG["checkpoint"]
LINES = NOTE.splitlines(keepends=True)
BODY, SIGNED, COSIGNED = "".join(LINES[:3]), "".join(LINES[:5]), LINES[5:]


def respelled(old, new):
    """A note over a body that is spelled otherwise, rightly signed."""
    body = BODY.replace(old, new, 1)
    assert body != BODY
    name = HEAD.origin
    blob = logbook.LOG.key_id + logbook.LOG_KEY.sign(body.encode())
    return f"{body}\n\u2014 {name} {base64.b64encode(blob).decode()}\n" + "".join(
        cosign(body, f"w{n}.example", logbook.WITNESS_KEYS[n], NOW) for n in range(2)
    )


SPOILED = base64.b64encode(logbook.LOG.key_id + bytes(64)).decode()
_TWICE = cosign(BODY, "w0.example", logbook.WITNESS_KEYS[0], NOW)
_ELSEWHERE = replace(HEAD, origin="registry.example/other").body
NOTED = {
    "size-with-a-zero": (respelled(f"\n{HEAD.size}\n", f"\n0{HEAD.size}\n"), "E_CHECKPOINT"),
    "carriage-returns": (NOTE.replace("\n", "\r\n"), "E_CHECKPOINT"),
    "no-blank-line": (NOTE.replace("\n\n", "\n", 1), "E_CHECKPOINT"),
    "control-character": (respelled("registry", "registry\x07"), "E_CHECKPOINT"),
    "spoiled-beside-good": (f"{NOTE}\u2014 {HEAD.origin} {SPOILED}\n", "E_CHECKPOINT"),
    "unknown-keys-alone": (
        sign_note(HEAD, HEAD.origin, STRANGER) + cosign(BODY, "x.example", STRANGER, NOW),
        "E_CHECKPOINT",
    ),
    "cosigned-for-another-origin": (
        SIGNED
        + "".join(
            cosign(_ELSEWHERE, f"w{n}.example", logbook.WITNESS_KEYS[n], NOW) for n in range(2)
        ),
        "E_CHECKPOINT",
    ),
    "one-witness-twice": (SIGNED + _TWICE + _TWICE, "E_QUORUM"),
    "one-witness-under-two-names": (
        SIGNED + _TWICE + cosign(BODY, "w1.example", logbook.WITNESS_KEYS[0], NOW),
        "E_QUORUM",
    ),
    "one-of-three": (SIGNED + COSIGNED[0], "E_QUORUM"),
    "of-the-future": (logbook.cosigned(HEAD, NOW + 301, NOW + 301), "E_FRESH"),
    "too-old": (logbook.cosigned(HEAD, NOW - 601, NOW - 601), "E_FRESH"),
}


@pytest.mark.parametrize(("note", "expected"), NOTED.values(), ids=NOTED)
def test_row_18_note(note, expected):
    document = edited(BUNDLE, "proof.log.checkpoint", note)
    assert code(document) == expected
    assert judge(spelled(document), trust(), NOW).state == (
        "indeterminate" if expected == "E_FRESH" else "invalid"
    )


def test_row_18_one_key_under_two_names_in_the_policy():
    document = POLICY.members()
    twin = logbook.NoteKey("twin.example", 4, logbook.WITNESS_KEYS[0].public)
    document["witnesses"].append(twin.vkey)
    assert refusal(type(POLICY).parse, document) == "E_FORMAT"


# 19: the maps

NEWEST = LOG["entries"][0]["map"]
EMPTY = ABSENT["proof"]["log"]["absent"]


def swapped(proof):
    """A map proof with its first two siblings exchanged."""
    raw = b64decode(proof["siblings"])
    return proof | {"siblings": b64encode(raw[32:64] + raw[:32] + raw[64:])}


def of_no_shared_path():
    """An absence proof that ends in the entry of somebody else, who lies elsewhere."""
    value = b64encode(bytes(40))
    return EMPTY | {"key": b64encode(bytes(32)), "value": value}


_ABSENT = "proof.log.absent"
_MAP = "proof.log.entries.0.map"
MAPS = {
    "ends-where-nothing-is-shared": (edited(ABSENT, _ABSENT, of_no_shared_path()), "E_MAP"),
    "presence-as-absence": (
        edited(edited(ABSENT, "identifier", ABOUT), _ABSENT, NEWEST),
        "E_MAP",
    ),
    "absence-as-presence": (edited(BUNDLE, _MAP, EMPTY), "E_MAP"),
    "siblings-reordered": (edited(BUNDLE, _MAP, swapped(NEWEST)), "E_MAP"),
    "siblings-of-absence-reordered": (edited(ABSENT, _ABSENT, swapped(EMPTY)), "E_MAP"),
    "wrong-root": (
        edited(BUNDLE, "proof.log.epoch.identifiers", b64encode(sha256(b"root"))),
        "E_MAP",
    ),
    "roots-exchanged": (
        edited(
            BUNDLE,
            "proof.log.epoch",
            LOG["epoch"]
            | {
                "identifiers": LOG["epoch"]["prefixes"],
                "prefixes": LOG["epoch"]["identifiers"],
            },
        ),
        "E_MAP",
    ),
    "epoch-not-in-the-log": (edited(BUNDLE, "proof.log.epoch.number", 7), "E_MAP"),
    "of-an-older-epoch": (
        edited(
            BUNDLE,
            "proof.log.epoch",
            LOG["epoch"] | {"identifiers": b64encode(GOLDEN.first.epoch.identifiers)},
        ),
        "E_MAP",
    ),
}


@pytest.mark.parametrize(("document", "expected"), MAPS.values(), ids=MAPS)
def test_row_19_maps(document, expected):
    assert code(document) == expected


def test_row_19_the_depth_is_bounded_and_shared():
    key_of = map_key(b"", b"a")
    tree = VerifiableMap([(key_of, map_value(1, bytes(32)))])
    deep = MapProof(257, 0, (), tree.prove(key_of).terminal)
    assert refusal(verify_map, tree.root, key_of, deep) == "E_MAP"


# 20: disclosures

MASS = hide_attribute("mass", "2.5", bytes(16))
HIDING = replace(SHAFT, identifier=identifier("88.100/HIDING"))
HIDING_TOKEN = hide(HIDING, (MASS,)).sign(GEAR)


def disclosed(*texts, token=HIDING_TOKEN):
    """The verdict on an answer with these disclosures, its plain members as they would be."""
    document = parties.answer("88.100/HIDING", (token,), chain=CHAIN)
    document |= {"disclosures": list(texts)}
    return refusal(verify_answer, document, trust(delegations=CHAIN), NOW)


def opened(*elements):
    return b64encode(json.dumps(list(elements), separators=(",", ":")).encode())


def hand_made(text):
    """A record that signs the digest of any text at all."""
    claims = HIDING.claims() | {"_sd_alg": "sha-256"}
    claims["attributes"] = {"_sd": [str(b64encode(sha256(text.encode())))], "steel": "42CrMo4"}
    return sign(RECORD, claims, GEAR)


SALT = str(b64encode(bytes(16)))


def test_row_20_not_among_the_digests():
    assert disclosed(hide_attribute("mass", "2.6", bytes(16)).text) == "E_DISCLOSURE"
    assert disclosed(MASS.text, MASS.text) == "E_DISCLOSURE"


def test_row_20_a_digest_twice():
    claims = hide(HIDING, (MASS,)).claims()
    claims["attributes"] = {"_sd": [MASS.digest, MASS.digest]}
    token = sign(RECORD, claims, GEAR)
    found = refusal(
        verify_answer,
        {"identifier": "88.100/HIDING", "envelope": token},
        trust(delegations=CHAIN),
        NOW,
    )
    assert found == "E_FORMAT"  # of the record: its digests are a set


@pytest.mark.parametrize("name", ["_sd", "...", "steel"])
def test_row_20_a_name_that_is_reserved_or_taken(name):
    text = opened(SALT, name, "x")
    assert disclosed(text, token=hand_made(text)) == "E_DISCLOSURE"


def test_row_20_a_short_salt():
    with pytest.raises(BadInput, match="E_DISCLOSURE"):
        hide_attribute("mass", "1", bytes(15))
    text = opened(str(b64encode(bytes(15))), "mass", "x")
    assert disclosed(text, token=hand_made(text)) == "E_DISCLOSURE"


def test_row_20_another_hash():
    claims = hide(HIDING, (MASS,)).claims() | {"_sd_alg": "sha-1"}
    document = {"identifier": "88.100/HIDING", "envelope": sign(RECORD, claims, GEAR)}
    found = refusal(verify_answer, document, trust(delegations=CHAIN), NOW)
    assert found == "E_DISCLOSURE"


# 21: weaker than it has to be

BOTH = (("Ed25519", "ES256"),)
_HYBRID = delegation(
    "88.100",
    "88",
    GEAR,
    sequence=2,
    prev=digest(GEAR_TOKEN),
    keys=(held(GEAR), held(CHIP)),
    require=BOTH,
).sign(INDUSTRY)


def test_row_21_stripped_to_one_signature():
    token = cosign_envelope(SHAFT_TOKEN, CHIP)
    bundle, _ = bundle_of(token, (INDUSTRY_TOKEN, _HYBRID))
    assert code(bundle, LOGGED) is None
    assert code(edited(bundle, "envelope", SHAFT_TOKEN), LOGGED) == "E_DOWNGRADE"
    assert code(edited(bundle, "envelope", SHAFT.sign(CHIP)), LOGGED) == "E_DOWNGRADE"


def test_row_21_an_older_delegation_that_asks_less():
    """The log has the stricter one, so the laxer one is not what the map has."""
    bundle, _ = bundle_of(steps=(lambda book: book.delegate(_HYBRID),))
    assert code(bundle, LOGGED) == "E_DOWNGRADE"
    # and where the verifier knows the stricter one himself, he needs no log for it
    answer = parties.answer(ABOUT, (SHAFT_TOKEN,), chain=CHAIN)
    known = trust(delegations=(INDUSTRY_TOKEN, _HYBRID))
    assert refusal(verify_answer, answer, known, NOW) == "E_DOWNGRADE"


# 22: the root

NEXT_KEY = key("next root")


def roots(*signers_of_second, **members):
    """Two versions of the root, the second signed by these keys."""
    second = parties.root(
        sequence=2,
        prev=digest(ROOT_TOKEN),
        keys=(held(NEXT_KEY, "rotate", "delegate"), held(ROOT, "delegate")),
        **members,
    )
    token = second.sign(signers_of_second[0])
    for signer in signers_of_second[1:]:
        token = cosign_envelope(token, signer)
    return [ROOT_TOKEN, token]


def known_by(versions, now=NOW):
    return refusal(anchor, versions, now)


def test_row_22_a_root_follows_by_old_and_new_keys():
    assert known_by(roots(ROOT, NEXT_KEY)) is None
    assert code(BUNDLE, known=trust(roots=roots(ROOT, NEXT_KEY))) is None
    assert known_by(roots(NEXT_KEY)) == "E_ROOT"
    assert known_by(roots(ROOT)) == "E_ROOT"
    assert known_by(roots(STRANGER, NEXT_KEY)) == "E_ROOT"


def test_row_22_no_version_is_left_out():
    before = digest(roots(ROOT, NEXT_KEY)[1])
    keys = (held(NEXT_KEY, "rotate", "delegate"),)
    third = parties.root(sequence=3, prev=before, keys=keys).sign(NEXT_KEY)
    assert known_by([*roots(ROOT, NEXT_KEY), third]) is None
    assert known_by([ROOT_TOKEN, third]) == "E_ROOT"


def test_row_22_an_expired_root():
    expiring = [parties.root(valid_until=NOW).sign(ROOT)]
    assert known_by(expiring, NOW - 1) is None
    assert known_by(expiring) == "E_ROOT"
    found = judge(spelled(BUNDLE), trust(roots=expiring), NOW)
    assert (found.state, found.codes[0].code) == ("invalid", "E_ROOT")


# 23: bounds


def bounded(call, *arguments):
    """The code of a refusal that is made in little memory."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    found = refusal(call, *arguments)
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    assert peak < 8 * 1024 * 1024, peak
    return found


def test_row_23_a_chain_of_100_000():
    assert bounded(validate, ROOT_CHAIN, [GEAR_TOKEN] * 100_000, GEAR_PREFIX) == "E_LIMIT"
    assert code(edited(BUNDLE, "proof.chain", ["x"] * 100_000)) == "E_LIMIT"
    raw = spelled(BUNDLE).replace(b'"chain":[', b'"chain":[' + b'"x",' * 1_000_000)
    assert code(raw) == "E_LIMIT"


def test_row_23_a_header_of_a_megabyte():
    head = b64encode(b'{"alg":"Ed25519","kid":"' + b"a" * 1_000_000 + b'","typ":"x"}')
    token = f"{head}.{SHAFT_TOKEN.partition('.')[2]}"
    assert bounded(verify, token, RECORD, {}) == "E_LIMIT"
    assert code(edited(BUNDLE, "envelope", token)) == "E_LIMIT"


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_row_23_json_ten_thousand_deep(opening):
    raw = opening * 10_000
    assert bounded(canonical.decode, raw) == "E_LIMIT"
    closing = {b"[": b"]", b'{"a":': b"1" + b"}" * 10_000}
    whole = raw + (closing[opening] if opening != b"[" else b"]" * 10_000)
    assert code(whole) == "E_LIMIT"
    assert code(spelled(BUNDLE).replace(b'"v":1', b'"v":' + whole)) == "E_LIMIT"


def test_row_23_ten_thousand_signatures():
    note = NOTE + COSIGNED[0] * 10_000
    assert code(edited(BUNDLE, "proof.log.checkpoint", note)) == "E_LIMIT"
    many = SIGNED + "".join(f"\u2014 x{n} AAAAAAAA\n" for n in range(65))
    assert code(edited(BUNDLE, "proof.log.checkpoint", many)) == "E_LIMIT"


def test_row_23_nothing_is_inflated():
    """A status is a leaf of the log, not a list that might be a bomb; nothing is decompressed."""
    bomb = gzip.compress(bytes(64 * 1024 * 1024))
    tracemalloc.start()
    assert code(bomb) == "E_ENCODING"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 1024 * 1024


def test_row_23_digits_without_end():
    raw = spelled(BUNDLE).replace(b'"v":1', b'"v":' + b"1" * 5_000)
    assert code(raw) == "E_CANON"
    assert sys.getrecursionlimit() < 10_000  # so that ten thousand deep is deep


# 24: links


def full(*links):
    """A good full answer about the gear with these assertions."""
    answer = parties.golden_answer()
    tokens = [answer["envelope"], *answer["proof"]["records"]]
    return BOOK.full(parties.answer(answer["identifier"], tokens, links))


SAYS, SAYS_TOO = parties.GEAR_SAYS.sign(GEAR), parties.STEEL_SAYS.sign(STEEL)
PLANNED = parties.assertion("upstream", *parties.MADE_OF, lifecycle="asPlanned").sign(STEEL)


def shown_as_mutual(document):
    """The document, its first link shown as stated by both."""
    mutual = full(SAYS, SAYS_TOO)["links"]["upstream"][0]
    document = copy.deepcopy(document)
    shown = document["links"]["upstream"][0]
    shown |= {name: mutual[name] for name in mutual if name in {"state", "attest", "asserted_by"}}
    return document


def test_row_24_the_links_of_the_golden_answer_are_mutual():
    assert code(full(SAYS, SAYS_TOO)) is None
    assert code(full(SAYS, PLANNED)) is None  # two links, of one side each


def test_row_24_two_links_shown_as_one_mutual():
    assert code(shown_as_mutual(full(SAYS, PLANNED))) == "E_LINK"
    assert code(shown_as_mutual(full(SAYS))) == "E_LINK"


def test_row_24_a_key_without_say_over_its_end():
    by_another = parties.STEEL_SAYS.sign(GEAR)
    document = edited(full(SAYS, SAYS_TOO), "proof.links.1", by_another)
    assert code(document) == "E_LINK"


def test_row_24_mutual_after_one_end_withdrew():
    withdrawn = parties.STEEL_SAYS.withdrawal(digest(SAYS_TOO), ISSUED + 1).sign(STEEL)
    document = edited(full(SAYS, SAYS_TOO), "proof.links.1", withdrawn)
    assert code(document) == "E_LINK"


# 25: SM2


@pytest.fixture
def sm2_keys(sm2_on):
    """An SM2 key of the gear company, and the chain that gives it."""
    signer = PrivateKey.generate(SM2)
    gear = delegation("88.100", "88", GEAR, keys=(held(GEAR), held(signer), held(CHIP))).sign(
        INDUSTRY
    )
    return signer, (INDUSTRY_TOKEN, gear)


def headed(signer, alg, kid, signature=None):
    """The shaft's envelope with any header, signed by anybody."""
    head = canonical.encode({"alg": alg, "kid": kid, "typ": RECORD})
    message = f"{b64encode(head)}.{b64encode(canonical.encode(SHAFT.claims()))}"
    made = signer.sign(message.encode()) if signature is None else signature
    return f"{message}.{b64encode(made)}"


def test_row_25_sm2(sm2_keys):
    signer, chain = sm2_keys
    kid, order = signer.public.kid, sm2.ORDER
    bundle, _ = bundle_of(SHAFT.sign(signer), chain)
    assert code(bundle, LOGGED) is None

    def verdict(token):
        return code(edited(bundle, "envelope", token), LOGGED)

    good = b64decode(SHAFT.sign(signer).rpartition(".")[2])
    r, s = (int.from_bytes(half, "big") for half in (good[:32], good[32:]))

    def pair(first, second):
        return b"".join(number.to_bytes(32, "big") for number in (first, second))

    out_of_range = [(0, s), (r, 0), (order, s), (r, order), (r, order - r), (order - s, s)]
    for numbers in out_of_range:
        assert verdict(headed(signer, SM2, kid, pair(*numbers))) == "E_SIG"
    assert verdict(headed(signer, SM2, kid, good.hex().encode())) == "E_SIG"
    assert verdict(headed(signer, SM2, kid, good[:63])) == "E_SIG"
    # an SM2 key under ES256 and the reverse
    assert verdict(headed(signer, "ES256", kid)) == "E_ALG"
    assert verdict(headed(CHIP, SM2, CHIP.public.kid)) == "E_ALG"
    assert verdict(headed(GEAR, SM2, GEAR.public.kid)) == "E_ALG"


def test_row_25_sm2_is_off_unless_switched_on(sm2_off):
    token = headed(GEAR, SM2, GEAR.public.kid)
    assert code(edited(BUNDLE, "envelope", token)) == "E_ALG"
