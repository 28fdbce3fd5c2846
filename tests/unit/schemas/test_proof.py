"""Proofs: step by step, what a log must say of an answer, and what comes of each fault."""

import json
import socket
from dataclasses import replace

import pytest
from joserfc import jws
from joserfc.jwk import OKPKey

from schemas.batched import build
from schemas.checkpoint import NoteKey, sign_note
from schemas.delegation import Revocation
from schemas.envelope import RECORD, cosign as cosign_envelope, digest
from schemas.errors import VerifyError
from schemas.evidence import LogProof
from schemas.keys import b64encode, sha256
from schemas.proof import MAX_DOCUMENT, consistent, judge, verify
from schemas.verdict import INDETERMINATE, INVALID, VALID
from tests import logbook, parties
from tests.forgeries import CHIP
from tests.logbook import (
    CHAIN,
    LOGGED,
    POLICY,
    SHAFT,
    SHAFT_TOKEN,
    WITNESSES,
    Logbook,
    code,
    edited,
    fillers,
    golden,
    salt,
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
    STRANGER,
    delegation,
    held,
    record,
    refusal,
)

GOLDEN = golden()
BOOK = GOLDEN.book
BUNDLE = GOLDEN.bundle()
ABSENT = GOLDEN.absent()
CLASS_TOKEN, ITEM_TOKEN = parties.GEAR_CLASS.sign(GEAR), parties.GEAR_ITEM.sign(GEAR)
SERIAL = "88.100/GEAR-2026-000777"
COVERED = BOOK.bundle(SERIAL, (CLASS_TOKEN,), CHAIN)
FULL = BOOK.full(parties.golden_answer())


def judged(document, now=NOW, known=None):
    return judge(spelled(document), known or trust(), now)


def words(document, now=NOW, known=None):
    """The three words and the codes of a verdict."""
    found = judged(document, now, known)
    return found.valid_at_issue, found.current, [item.code for item in found.codes]


# what a good one proves


def test_the_golden_bundle():
    found = verify(BUNDLE, trust(), NOW)
    assert (found.state, found.codes) == (VALID, ())
    assert (found.valid_at_issue, found.current) == (VALID, VALID)
    assert (found.identifier.text, found.exists) == ("88.100/SHAFT-7", True)
    assert found.parts.records == (SHAFT,)
    assert found.view["attributes"] == {"steel": "42CrMo4"}
    assert "links" not in found.view  # a bundle is of records
    assert (found.epoch, found.size, found.origin) == (2, 36, logbook.ORIGIN)
    assert found.witnesses == ("w0.example", "w1.example")
    # by the second of two witnesses, and of the last checkpoint by the first of them
    assert (found.proved_at, found.newest_at) == (LOGGED + 1, NOW - 2)
    assert [str(item.subject) for item in found.chain.delegations] == [".", "88", "88.100"]


def test_nothing_is_registered():
    found = verify(ABSENT, trust(), NOW)
    assert (found.state, found.exists, found.parts, found.view) == (VALID, False, None, {})
    assert found.proved_at is None


def test_a_class_answers():
    found = verify(COVERED, trust(), NOW)
    assert (found.state, found.exists) == (VALID, True)
    assert found.view["covered_by"] == "88.100/GEAR"


def test_a_full_answer():
    found = verify(FULL, trust(), NOW)
    assert found.state == VALID
    plain = {name: FULL[name] for name in FULL if name not in {"envelope", "proof"}}
    assert found.view == plain
    assert code(FULL | {"version": 2}) == "E_ANSWER"
    assert code(FULL | {"links": {"upstream": [], "downstream": []}}) == "E_ANSWER"


def test_every_bundle_of_a_growing_log():
    """Each record, by each checkpoint that covers it."""
    book = Logbook()
    for token in CHAIN:
        book.delegate(token)
    tokens = [record(f"88.100/R-{number}").sign(GEAR) for number in range(9)]
    for number, token in enumerate(tokens):
        book.record(token)
        book.publish(ISSUED + number, ISSUED + number)
        for at in book.published:
            for known in tokens[: book.published.index(at) + 1]:
                about = f"88.100/R-{tokens.index(known)}"
                first = book.published[tokens.index(known)]
                bundle = book.bundle(about, (known,), CHAIN, at=at, issued=first)
                found = verify(bundle, trust(), ISSUED + 60)
                assert (found.state, found.proved_at) == (VALID, ISSUED + tokens.index(known))


# P1 the members


def test_p1_bytes_and_json():
    assert code(b"") == "E_FORMAT"
    assert code(b"[]") == "E_FORMAT"
    assert code(b"\xff") == "E_ENCODING"
    assert code(b'{"v":1,"v":1}') == "E_DUPKEY"
    assert code(b'{"v":1.0}') == "E_CANON"
    assert code(b" " * (MAX_DOCUMENT + 1)) == "E_LIMIT"


P1 = {
    "v-2": (edited(BUNDLE, "v", 2), "E_FORMAT"),
    "v-true": (edited(BUNDLE, "v", value=True), "E_FORMAT"),
    "no-v-and-so-an-answer": (edited(BUNDLE, "v"), "E_ANSWER"),
    "unknown-member": (edited(BUNDLE, "note", "x"), "E_FORMAT"),
    "no-identifier": (edited(BUNDLE, "identifier"), "E_FORMAT"),
    "identifier-malformed": (edited(BUNDLE, "identifier", "88.100"), "E_ID"),
    "no-proof": (edited(BUNDLE, "proof"), "E_FORMAT"),
    "proof-a-list": (edited(BUNDLE, "proof", []), "E_FORMAT"),
    "proof-with-links": (edited(BUNDLE, "proof.links", []), "E_FORMAT"),
    "no-log": (edited(BUNDLE, "proof.log"), "E_FORMAT"),
    "log-a-text": (edited(BUNDLE, "proof.log", "x"), "E_FORMAT"),
    "log-with-more": (edited(BUNDLE, "proof.log.more", 1), "E_FORMAT"),
    "answer-without-log": (parties.golden_answer(), "E_FORMAT"),
    "answer-with-v": (FULL | {"v": 1}, "E_FORMAT"),
    "chain-a-text": (edited(BUNDLE, "proof.chain", "x"), "E_FORMAT"),
    "chain-endless": (edited(BUNDLE, "proof.chain", ["x"] * 100_000), "E_LIMIT"),
    "envelope-an-object": (edited(BUNDLE, "envelope", {}), "E_FORMAT"),
    "envelope-left-out": (edited(BUNDLE, "envelope"), "E_INCLUSION"),
    "entry-left-out": (edited(BUNDLE, "proof.log.entries", []), "E_INCLUSION"),
    "ancestors-alone": (edited(ABSENT, "proof.records", [CLASS_TOKEN]), "E_FORMAT"),
    "issued-of-nothing": (
        edited(ABSENT, "proof.log.issued", BUNDLE["proof"]["log"]["issued"]),
        "E_FORMAT",
    ),
    "depth-beyond": (edited(BUNDLE, "proof.log.entries.0.map.depth", 257), "E_FORMAT"),
    "index-true": (edited(BUNDLE, "proof.log.entries.0.index", value=True), "E_FORMAT"),
    "salt-short": (edited(BUNDLE, "proof.log.salt", "AAAA"), "E_FORMAT"),
    "path-not-whole": (edited(BUNDLE, "proof.log.epoch.path", "AAAA"), "E_MAP"),
    "path-padded": (edited(BUNDLE, "proof.log.epoch.path", "AAA="), "E_ENCODING"),
    "path-endless": (edited(BUNDLE, "proof.log.epoch.path", "A" * 4096), "E_LIMIT"),
}


@pytest.mark.parametrize(("document", "expected"), P1.values(), ids=P1)
def test_p1_members(document, expected):
    assert code(document) == expected


# P2 the checkpoint

HEAD = BOOK.checkpoint()


def with_note(note, bundle=BUNDLE):
    return edited(bundle, "proof.log.checkpoint", note)


def with_times(*times):
    """The golden bundle with the last checkpoint cosigned at other times."""
    return with_note(logbook.cosigned(HEAD, *times))


NOTE = GOLDEN.last.note
LINES = NOTE.splitlines(keepends=True)
OTHER = replace(HEAD, origin="registry.example/other")
P2 = {
    "unsigned": (with_note("".join(LINES[:4] + LINES[5:])), "E_CHECKPOINT"),
    "signed-by-another": (
        with_note(sign_note(HEAD, HEAD.origin, STRANGER) + "".join(LINES[5:])),
        "E_CHECKPOINT",
    ),
    "of-another-log": (with_note(logbook.cosigned(OTHER, NOW, NOW)), "E_ORIGIN"),
    "no-witness": (with_note("".join(LINES[:5])), "E_QUORUM"),
    "one-witness": (with_note("".join(LINES[:6])), "E_QUORUM"),
    "one-witness-twice": (with_note("".join([*LINES[:6], LINES[5]])), "E_QUORUM"),
    "issued-by-one-witness": (
        edited(BUNDLE, "proof.log.issued.checkpoint", logbook.cosigned(BOOK.checkpoint(27), NOW)),
        "E_QUORUM",
    ),
    "issued-of-another-log": (
        edited(BUNDLE, "proof.log.issued.checkpoint", logbook.cosigned(OTHER, NOW, NOW)),
        "E_ORIGIN",
    ),
    "issued-of-one-size-and-another-root": (
        edited(
            BUNDLE,
            "proof.log.issued.checkpoint",
            logbook.cosigned(replace(HEAD, root=sha256(b"")), NOW, NOW),
        ),
        "E_FORK",
    ),
    "issued-later": (
        edited(
            BUNDLE,
            "proof.log.issued.checkpoint",
            logbook.cosigned(replace(HEAD, size=HEAD.size + 1), NOW, NOW),
        ),
        "E_FORMAT",
    ),
}


@pytest.mark.parametrize(("document", "expected"), P2.values(), ids=P2)
def test_p2_checkpoint(document, expected):
    assert code(document) == expected


def test_p2_without_a_policy_nobody_vouches_for_the_checkpoint():
    known = trust(policy=None)
    assert words(BUNDLE, known=known) == (INDETERMINATE, INDETERMINATE, ["E_CHECKPOINT"])
    assert judged(BUNDLE, known=known).proved_at is None
    # and yet whatever contradicts itself is refused
    broken = edited(BUNDLE, "proof.log.entries.0.index", 3)
    assert words(broken, known=known) == (INVALID, INVALID, ["E_INCLUSION"])
    assert code(with_note("x"), known=known) == "E_CHECKPOINT"


def test_p2_unknown_witnesses_are_not_counted():
    known = trust(replace(POLICY, witnesses=WITNESSES[1:]))
    assert code(BUNDLE, known=known) == "E_QUORUM"
    assert code(BUNDLE, known=trust(replace(POLICY, witnesses=WITNESSES[:2]))) is None


# P3 the epoch


def unlike(book, **changes):
    """The last epoch of a book with something changed, rightly logged and cosigned."""
    lied = Logbook()
    lied.entries = book.entries[:-1]
    last = replace(book.published[-1].epoch, **changes)
    lied.entries.append(last.entry)
    head = lied.checkpoint()
    document = edited(BUNDLE, "proof.log.checkpoint", logbook.cosigned(head, NOW, NOW))
    log = LogProof.from_json(document["proof"]["log"])
    at = log.entries[0].index
    log = replace(
        log,
        epoch=replace(log.epoch, epoch=last, path=lied.path(head.size - 1, head.size)),
        entries=(replace(log.entries[0], path=lied.path(at, head.size)),),
    )
    return edited(document, "proof.log", log.to_json())


P3 = {
    "another-number": (edited(BUNDLE, "proof.log.epoch.number", 3), "E_MAP"),
    "another-root": (
        edited(BUNDLE, "proof.log.epoch.identifiers", b64encode(sha256(b"x"))),
        "E_MAP",
    ),
    "another-index": (edited(BUNDLE, "proof.log.epoch.index", 34), "E_MAP"),
    "path-cut": (edited(BUNDLE, "proof.log.epoch.path", ""), "E_MAP"),
    "not-the-last-leaf": (
        edited(
            BUNDLE,
            "proof.log.epoch",
            GOLDEN.book.log_proof(
                SHAFT.identifier, (SHAFT_TOKEN,), CHAIN, at=GOLDEN.first
            ).to_json()["epoch"],
        ),
        "E_MAP",
    ),
    "covers-itself": (unlike(BOOK, size=BOOK.published[-1].size), "E_MAP"),
    "covers-less": (unlike(BOOK, size=BOOK.published[-1].size - 2), "E_MAP"),
    "covers-nothing": (unlike(BOOK, size=0), "E_MAP"),
}


@pytest.mark.parametrize(("document", "expected"), P3.values(), ids=P3)
def test_p3_epoch(document, expected):
    assert code(document) == expected


def test_p3_what_is_unlike_in_nothing_verifies():
    assert code(unlike(BOOK)) is None


# P4 the prefixes


def test_p4_members():
    assert code(edited(BUNDLE, "proof.log.prefixes", [])) == "E_MAP"
    above = BUNDLE["proof"]["log"]["prefixes"][1]
    assert code(edited(BUNDLE, "proof.log.prefixes", [above])) == "E_FORMAT"
    holder = BUNDLE["proof"]["log"]["prefixes"][0]
    alone = edited(BUNDLE, "proof.log.prefixes", [holder])
    assert words(alone) == (VALID, INDETERMINATE, ["E_STALE"])  # 88 may be suspended
    assert code(edited(BUNDLE, "proof.log.prefixes", [holder, above, above])) == "E_FORMAT"
    assert code(edited(BUNDLE, "proof.log.prefixes.1.commitment")) == "E_FORMAT"
    assert code(edited(BUNDLE, "proof.log.prefixes", [above | {"index": 1}, above])) == "E_FORMAT"


def test_p4_nobody_chooses_a_salt():
    """Under a salt of one's own everything would be absent."""
    assert code(edited(ABSENT, "proof.log.salt", b64encode(salt("another")))) == "E_DOWNGRADE"


def test_p4_index_is_the_maps():
    assert code(edited(BUNDLE, "proof.log.prefixes.0.index", 2)) == "E_DOWNGRADE"
    assert code(edited(BUNDLE, "proof.log.prefixes.1.index", 1)) == "E_DOWNGRADE"
    assert code(edited(BUNDLE, "proof.log.prefixes.0.index", 35)) == "E_MAP"


def test_p4_the_log_knows_no_such_prefix():
    book = Logbook()
    book.delegate(INDUSTRY_TOKEN)
    book.record(SHAFT_TOKEN)
    book.publish(NOW, NOW)
    log = BUNDLE["proof"]["log"] | book.log_proof(SHAFT.identifier, (SHAFT_TOKEN,), ()).to_json()
    terminal = book.published[-1].prefixes.prove(logbook.prefix_key("88.100")).terminal
    proof = {"depth": 0, "bitmap": "0", "siblings": ""}
    proof |= dict(zip(("key", "value"), map(b64encode, terminal), strict=True))
    log["prefixes"] = [{"index": 0, "map": proof}]
    del log["issued"]
    assert code(edited(BUNDLE, "proof.log", log)) == "E_MAP"


def renewed(**members):
    """A second delegation of 88.100 by 88."""
    members = {"sequence": 2, "prev": digest(GEAR_TOKEN)} | members
    return delegation("88.100", "88", GEAR, **members).sign(INDUSTRY)


def shaft_book(*steps, gear=GEAR_TOKEN, times=(NOW, NOW)):
    """A book with the chain and the shaft, and then whatever `steps` do to it."""
    book = Logbook()
    book.delegate(INDUSTRY_TOKEN)
    book.delegate(gear)
    fillers(book, count=5)
    book.record(SHAFT_TOKEN)
    for step in steps:
        step(book)
    book.publish(*times)
    return book


def shaft_bundle(book, gear=GEAR_TOKEN, **options):
    return book.bundle(SHAFT.identifier.text, (SHAFT_TOKEN,), (INDUSTRY_TOKEN, gear), **options)


def test_p4_an_older_delegation_than_the_logs():
    book = shaft_book(lambda book: book.delegate(renewed()))
    assert code(shaft_bundle(book)) == "E_DOWNGRADE"
    assert code(shaft_bundle(book, renewed())) is None


def test_p4_a_suspended_prefix_and_a_resumed_one():
    book = shaft_book(lambda book: book.suspend(GEAR_TOKEN))
    assert words(shaft_bundle(book)) == (VALID, INVALID, ["E_STATUS"])
    book = shaft_book(lambda book: book.suspend(INDUSTRY_TOKEN))
    assert words(shaft_bundle(book)) == (VALID, INVALID, ["E_STATUS"])
    book = shaft_book(lambda book: book.suspend(GEAR_TOKEN), lambda book: book.resume(GEAR_TOKEN))
    assert code(shaft_bundle(book)) is None


def test_p4_the_trust_bundle_knows_a_newer_delegation():
    """It was the newest in the log's last word; nothing says what has become of it since."""
    known = trust(delegations=(INDUSTRY_TOKEN, renewed()))
    assert words(BUNDLE, known=known) == (VALID, INDETERMINATE, ["E_STALE"])
    assert code(BUNDLE, known=trust(delegations=CHAIN)) is None


def test_p4_the_chain_may_be_known_already():
    bare = edited(BUNDLE, "proof.chain", [])
    assert code(bare) == "E_CHAIN"
    assert code(bare, known=trust(delegations=CHAIN)) is None


# P5 who signed, and when


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, None),
        ({"valid_until": LOGGED + 1}, "E_TIME"),
        ({"valid_from": LOGGED + 2}, "E_TIME"),
        ({"valid_from": LOGGED + 1}, None),
        ({"keys": (held(GEAR, valid_until=LOGGED + 1),)}, "E_CHAIN"),
        ({"keys": (held(GEAR, valid_until=LOGGED + 2),)}, None),
        ({"keys": (held(GEAR, valid_from=LOGGED + 2),)}, "E_CHAIN"),
    ],
)
def test_p5_keys_and_chain_are_valid_when_the_log_had_the_record(members, expected):
    """Not when the record says that it was issued, and not now."""
    gear = delegation("88.100", "88", GEAR, **members).sign(INDUSTRY)
    book = shaft_book(gear=gear, times=(LOGGED, LOGGED + 1))
    first = book.published[0]
    fillers(book, "88.101", 3)
    book.publish(NOW, NOW)
    assert code(shaft_bundle(book, gear, issued=first)) == expected


def test_p5_the_second_of_two_witnesses_counts():
    """So one that is dishonest cannot backdate."""
    gear = delegation("88.100", "88", GEAR, valid_until=LOGGED).sign(INDUSTRY)
    book = shaft_book(gear=gear, times=(ISSUED, LOGGED))
    assert code(shaft_bundle(book, gear), LOGGED - 1) == "E_TIME"
    gear = delegation("88.100", "88", GEAR, valid_until=LOGGED + 1).sign(INDUSTRY)
    book = shaft_book(gear=gear, times=(ISSUED, LOGGED))
    assert code(shaft_bundle(book, gear), LOGGED) is None


def test_p5_without_a_quorum_a_record_speaks_for_its_own_time():
    gear = delegation("88.100", "88", GEAR, valid_until=ISSUED + 1).sign(INDUSTRY)
    book = shaft_book(gear=gear, times=())
    known = trust(replace(POLICY, quorum=0, max_age=None))
    assert code(shaft_bundle(book, gear), ISSUED, known) is None
    assert judged(shaft_bundle(book, gear), ISSUED, known).proved_at is None


def lineage(*, renew=False):
    """A gear with its class; the class signed by a key of one day, and renewed by it or not."""
    chip = parties.key("day")
    gear = delegation(
        "88.100", "88", GEAR, keys=(held(GEAR), held(chip, valid_until=LOGGED + 100))
    ).sign(INDUSTRY)
    class_token = parties.GEAR_CLASS.sign(chip)
    book = Logbook()
    for token in (INDUSTRY_TOKEN, gear):
        book.delegate(token)
    if not renew:
        book.record(class_token)
    book.record(ITEM_TOKEN)
    first = book.publish(LOGGED, LOGGED)
    if renew:
        book.record(class_token)
    fillers(book)
    book.publish(NOW, NOW)
    about = parties.GEAR_ITEM.identifier.text
    return book.bundle(about, (ITEM_TOKEN, class_token), (INDUSTRY_TOKEN, gear), issued=first)


def test_p5_an_ancestor_has_the_time_of_the_checkpoint_that_is_shown_to_cover_it():
    assert words(lineage()) == (VALID, VALID, [])


def test_p5_an_ancestor_newer_than_that_may_have_been_too_late():
    assert words(lineage(renew=True)) == (INDETERMINATE, INDETERMINATE, ["E_TIME"])


def revoking(since, signer=GEAR, subject="88.100", issuer=INDUSTRY, keys=None):
    parent = {"88.100": "88", "88": "."}[subject]
    before = {"88.100": GEAR_TOKEN, "88": INDUSTRY_TOKEN}[subject]
    return delegation(
        subject,
        parent,
        signer,
        sequence=2,
        prev=digest(before),
        keys=keys or (held(signer),),
        revoked=(Revocation(signer.public.kid, "compromised", since),),
    ).sign(issuer)


def test_p5_what_a_key_signed_before_it_was_revoked_stays_valid():
    at = 7  # the shaft's leaf
    for since, expected in ((at + 1, None), (at, "E_REVOKED"), (0, "E_REVOKED")):
        token = revoking(since)
        book = shaft_book(lambda book, token=token: book.delegate(token))
        assert code(shaft_bundle(book, token)) == expected


def test_p5_a_revocation_that_the_trust_bundle_knows_counts():
    """A proof from before the revocation does not bring the key back."""
    known = trust(delegations=(INDUSTRY_TOKEN, revoking(7)))
    assert code(shaft_bundle(shaft_book()), known=known) == "E_REVOKED"
    known = trust(delegations=(INDUSTRY_TOKEN, revoking(8)))
    assert words(shaft_bundle(shaft_book()), known=known) == (VALID, INDETERMINATE, ["E_STALE"])


def test_p5_a_delegation_by_a_revoked_key_is_refused():
    for since, expected in ((2, None), (1, "E_REVOKED")):
        industry = revoking(since, INDUSTRY, "88", ROOT)
        book = shaft_book(lambda book, token=industry: book.delegate(token))
        chain = (industry, GEAR_TOKEN)
        bundle = book.bundle(SHAFT.identifier.text, (SHAFT_TOKEN,), chain)
        assert code(bundle) == expected


def test_p5_an_assertion_by_a_key_since_revoked():
    token = revoking(20)
    book = Logbook()
    for item in (*parties.DELEGATIONS, token):
        book.delegate(item)
    book.record(CLASS_TOKEN)
    book.record(ITEM_TOKEN)
    book.publish(NOW, NOW)
    answer = parties.golden_answer()
    chain = [INDUSTRY_TOKEN, token, parties.STEEL_TOKEN]
    answer = answer | {"proof": answer["proof"] | {"chain": chain}}
    assert words(book.full(answer)) == (INDETERMINATE, INDETERMINATE, ["E_REVOKED"])


P5 = {
    "by-a-stranger": (edited(BUNDLE, "envelope", SHAFT.sign(STRANGER)), "E_CHAIN"),
    "by-another-company": (edited(BUNDLE, "envelope", SHAFT.sign(parties.STEEL)), "E_CHAIN"),
    "a-link": (edited(BUNDLE, "envelope", parties.GEAR_SAYS.sign(GEAR)), "E_TYP"),
    "of-another": (
        edited(edited(BUNDLE, "envelope", ITEM_TOKEN), "identifier", "88.100/SHAFT-7"),
        "E_ID",
    ),
    "asked-for-another": (edited(BUNDLE, "identifier", "88.100/SHAFT-8"), "E_ID"),
    "no-chain": (edited(BUNDLE, "proof.chain", []), "E_CHAIN"),
    "middle-missing": (edited(BUNDLE, "proof.chain", [GEAR_TOKEN]), "E_CHAIN"),
    "ancestor-left-out": (
        BOOK.bundle(parties.GEAR_ITEM.identifier.text, (ITEM_TOKEN,), CHAIN),
        "E_ID",
    ),
}


@pytest.mark.parametrize(("document", "expected"), P5.values(), ids=P5)
def test_p5_signers(document, expected):
    assert code(document) == expected


# P6 the leaves


def test_p6_another_record_than_the_logs():
    """Well signed, the same version, never accepted: what a stolen key might make."""
    forged = replace(SHAFT, attributes={"steel": "C45"}).sign(GEAR)
    assert code(edited(BUNDLE, "envelope", forged)) == "E_INCLUSION"


P6 = {
    "wrong-index": (edited(BUNDLE, "proof.log.entries.0.index", 3), "E_INCLUSION"),
    "index-beyond": (edited(BUNDLE, "proof.log.entries.0.index", 36), "E_INCLUSION"),
    "index-of-the-epoch": (edited(BUNDLE, "proof.log.entries.0.index", 35), "E_INCLUSION"),
    "path-empty": (edited(BUNDLE, "proof.log.entries.0.path", ""), "E_INCLUSION"),
    "issued-path-empty": (edited(BUNDLE, "proof.log.issued.path", ""), "E_INCLUSION"),
    "issued-before-the-record": (
        edited(BUNDLE, "proof.log.issued.checkpoint", logbook.cosigned(BOOK.checkpoint(9), 1, 1)),
        "E_INCLUSION",
    ),
}


@pytest.mark.parametrize(("document", "expected"), P6.values(), ids=P6)
def test_p6_leaves(document, expected):
    assert code(document) == expected


# P7 nothing is newer


def second(**members):
    return SHAFT.next(digest(SHAFT_TOKEN), ISSUED + 60)


def test_p7_an_older_version_than_the_newest():
    book = shaft_book(lambda book: book.record(second().sign(GEAR)))
    assert code(shaft_bundle(book)) == "E_STALE"
    newest = book.bundle(SHAFT.identifier.text, (second().sign(GEAR),), CHAIN)
    assert code(newest) is None


def test_p7_a_tombstone_is_the_newest():
    gone = SHAFT.tombstone(digest(SHAFT_TOKEN), ISSUED + 60).sign(GEAR)
    book = shaft_book(lambda book: book.record(gone))
    assert code(shaft_bundle(book)) == "E_STALE"
    found = judged(book.bundle(SHAFT.identifier.text, (gone,), CHAIN))
    assert (found.state, found.view["status"]) == (VALID, "retired")


def test_p7_two_records_of_one_version():
    twin = replace(SHAFT, attributes={"steel": "C45"}).sign(GEAR)
    book = shaft_book(lambda book: book.record(twin))
    assert code(shaft_bundle(book)) == "E_FORK"


def test_p7_a_map_that_is_behind_the_log():
    class Behind(Logbook):
        def fill(self, identifier, version, digest, what=logbook.What.RECORD):
            before = dict(self._identifiers)
            index = super().fill(identifier, version, digest, what)
            if version > 1:
                self._identifiers = before
            return index

    book = Behind()
    for token in CHAIN:
        book.delegate(token)
    book.record(SHAFT_TOKEN)
    newest = second().sign(GEAR)
    book.record(newest)
    book.publish(NOW, NOW)
    assert code(book.bundle(SHAFT.identifier.text, (newest,), CHAIN)) == "E_MAP"


P7 = {
    "absence-used-as-presence": (
        edited(BUNDLE, "proof.log.entries.0.map", ABSENT["proof"]["log"]["absent"]),
        "E_MAP",
    ),
    "presence-used-as-absence": (
        edited(
            edited(ABSENT, "identifier", "88.100/SHAFT-7"),
            "proof.log.absent",
            BUNDLE["proof"]["log"]["entries"][0]["map"],
        ),
        "E_MAP",
    ),
    "absent-left-out": (edited(ABSENT, "proof.log.absent"), "E_MAP"),
    "absent-left-out-of-a-class": (edited(COVERED, "proof.log.absent"), "E_MAP"),
    "absent-beside-a-record": (
        edited(BUNDLE, "proof.log.absent", ABSENT["proof"]["log"]["absent"]),
        "E_FORMAT",
    ),
    "absent-of-another": (
        edited(ABSENT, "proof.log.absent", COVERED["proof"]["log"]["absent"]),
        "E_MAP",
    ),
}


@pytest.mark.parametrize(("document", "expected"), P7.values(), ids=P7)
def test_p7_newest_and_absent(document, expected):
    assert code(document) == expected


def test_p7_a_class_does_not_hide_a_record_of_ones_own():
    serial = record(SERIAL, parent=parties.GEAR_CLASS.identifier).sign(GEAR)
    book = Logbook()
    for token in CHAIN:
        book.delegate(token)
    book.record(CLASS_TOKEN)
    book.record(serial)
    book.publish(NOW, NOW)
    assert code(book.bundle(SERIAL, (CLASS_TOKEN,), CHAIN)) == "E_MAP"
    assert code(book.bundle(SERIAL, (serial, CLASS_TOKEN), CHAIN)) is None


# P8 now


def test_p8_an_old_checkpoint_says_nothing_of_now():
    """A bundle of the past: as valid as ever it was, and silent about the present."""
    later = NOW - 2 + POLICY.max_age
    assert words(BUNDLE, later) == (VALID, VALID, [])
    assert words(BUNDLE, later + 1) == (VALID, INDETERMINATE, ["E_FRESH"])
    assert code(BUNDLE, later + 10**9, trust(replace(POLICY, max_age=None))) is None


def test_p8_one_witness_does_not_make_it_fresh():
    stale = with_times(NOW - 200, NOW)
    assert words(stale, NOW - 200 + POLICY.max_age) == (VALID, VALID, [])
    assert words(stale, NOW - 199 + POLICY.max_age) == (VALID, INDETERMINATE, ["E_FRESH"])


def test_p8_a_checkpoint_later_than_the_time_asked_about():
    assert words(BUNDLE, NOW - 301) == (VALID, VALID, [])  # clocks differ
    assert words(BUNDLE, NOW - 400) == (INDETERMINATE, INDETERMINATE, ["E_FRESH"])
    one = with_times(NOW, NOW, NOW + 1000)
    assert words(one) == (VALID, VALID, [])
    assert words(with_times(NOW + 301, NOW + 301)) == (
        INDETERMINATE,
        INDETERMINATE,
        ["E_FRESH"],
    )


def test_p8_without_witnesses_there_is_no_age():
    known = trust(replace(POLICY, quorum=0))
    bare = with_note(sign_note(HEAD, HEAD.origin, logbook.LOG_KEY))
    assert words(bare, known=known) == (VALID, INDETERMINATE, ["E_FRESH"])
    assert words(BUNDLE, known=known) == (VALID, VALID, [])  # two say so unasked
    assert words(bare, known=trust(replace(POLICY, quorum=0, max_age=None))) == (VALID, VALID, [])


@pytest.mark.parametrize(
    ("members", "chain", "expected"),
    [
        ({}, {}, (VALID, VALID, [])),
        ({"valid_until": NOW}, {}, (VALID, INVALID, ["E_TIME"])),
        ({"valid_from": NOW + 1}, {}, (VALID, INVALID, ["E_TIME"])),
        ({}, {"valid_until": NOW}, (VALID, INVALID, ["E_TIME"])),
        ({"valid_until": NOW}, {"valid_until": NOW}, (VALID, INVALID, ["E_TIME"])),
    ],
)
def test_p8_what_is_valid_no_longer(members, chain, expected):
    gear = delegation("88.100", "88", GEAR, **chain).sign(INDUSTRY)
    token = replace(SHAFT, **members).sign(GEAR)
    book = Logbook()
    for item in (INDUSTRY_TOKEN, gear):
        book.delegate(item)
    book.record(token)
    book.publish(NOW - 1, NOW - 1)
    bundle = book.bundle(SHAFT.identifier.text, (token,), (INDUSTRY_TOKEN, gear))
    assert words(bundle) == expected


# two notes of one log


def extended():
    """The golden log, and its heads before and after."""
    path = BOOK.consistency(GOLDEN.first.size, GOLDEN.last.size)
    return GOLDEN.first.note, GOLDEN.last.note, path


def test_a_log_that_grows():
    older, newer, path = extended()
    before, after = consistent(older, newer, path, POLICY)
    assert (before.size, after.size) == (GOLDEN.first.size, GOLDEN.last.size)
    assert consistent(newer, newer, (), POLICY)[0] == after


def test_a_fork_keeps_both_notes():
    older, newer, path = extended()
    other = logbook.cosigned(replace(BOOK.checkpoint(), root=sha256(b"other")), NOW, NOW)
    for first, then, proof in (
        (older, newer, path[:-1]),
        (newer, other, ()),
        (newer, older, path),
        (older, other, path),
    ):
        with pytest.raises(VerifyError) as caught:
            consistent(first, then, proof, POLICY)
        assert (caught.value.code, caught.value.value) == ("E_FORK", (first, then))


def test_a_note_of_another_log_is_no_evidence():
    older, newer, path = extended()
    stranger = NoteKey(logbook.ORIGIN, 1, STRANGER.public)
    assert refusal(consistent, older, newer, path, replace(POLICY, log=stranger)) == "E_CHECKPOINT"
    assert refusal(consistent, older, newer, [b"x"], POLICY) == "E_FORK"
    assert refusal(consistent, older, newer, [bytes(32)] * 70, POLICY) == "E_LIMIT"


# bounds


def test_no_socket_is_opened(monkeypatch):
    def opened(*_arguments, **_options):
        pytest.fail("verification opened a socket")

    monkeypatch.setattr(socket.socket, "connect", opened)
    monkeypatch.setattr(socket.socket, "connect_ex", opened)
    monkeypatch.setattr(socket, "getaddrinfo", opened)
    monkeypatch.setattr(socket, "create_connection", opened)
    assert "https://gear.example/" in json.dumps(verify(BUNDLE, trust(), NOW).view)
    assert code(FULL) is None
    assert code(ABSENT) is None


def test_what_cannot_verify_says_so_in_json():
    for document, _ in (*P1.values(), *P2.values(), *P7.values()):
        for item in judged(document).codes:
            json.dumps(item.detail, ensure_ascii=False).encode()


# forms of a record


BOTH = delegation("88.100", "88", GEAR, keys=(held(GEAR), held(CHIP))).sign(INDUSTRY)


def logged(token):
    """The bundle of the shaft in this form, in a log of its own."""
    book = Logbook()
    for item in (INDUSTRY_TOKEN, BOTH):
        book.delegate(item)
    book.record(token)
    book.publish(NOW, NOW)
    return book.bundle(SHAFT.identifier.text, (token,), (INDUSTRY_TOKEN, BOTH))


def test_a_record_that_two_keys_signed():
    token = cosign_envelope(SHAFT_TOKEN, CHIP)
    bundle = logged(token)
    assert code(bundle) is None
    assert code(edited(bundle, "envelope", SHAFT_TOKEN)) == "E_INCLUSION"  # another digest
    assert code(edited(bundle, "envelope", token[:-4] + "AAAA")) in {"E_SIG", "E_ENCODING"}


def test_a_record_of_a_batch_statement():
    others = [record(f"88.100/B-{number}").claims() for number in range(4)]
    said = {"issued_at": ISSUED, "prefix": parties.prefix("88.100")}
    tokens = list(build([SHAFT.claims(), *others], RECORD, GEAR, **said)[1])
    bundle = logged(tokens[0])
    assert code(bundle) is None
    assert code(edited(bundle, "envelope", tokens[1])) == "E_ID"
    assert code(edited(bundle, "envelope", SHAFT_TOKEN)) == "E_INCLUSION"
    moved = tokens[0].replace("~0~", "~1~")
    assert code(edited(bundle, "envelope", moved)) == "E_INCLUSION"


def test_a_rotated_key_speaks_on_for_what_it_signed():
    """The newest delegation is the holder's own, with the old key ended and a new one."""
    fresh = parties.key("fresh")
    base = delegation("88.100", "88", GEAR, next_keys=(fresh.public.kid,)).sign(INDUSTRY)
    rotated = delegation(
        "88.100",
        "88",
        fresh,
        sequence=2,
        prev=digest(base),
        issued_at=ISSUED + 100,
        keys=(held(fresh), held(GEAR, "record", valid_until=ISSUED + 100)),
    ).sign(GEAR, fresh)
    book = Logbook()
    for item in (INDUSTRY_TOKEN, base):
        book.delegate(item)
    book.record(SHAFT_TOKEN)
    first = book.publish(LOGGED, LOGGED)
    book.delegate(rotated)
    book.publish(NOW, NOW)
    chain = (INDUSTRY_TOKEN, base, rotated)
    bundle = book.bundle(SHAFT.identifier.text, (SHAFT_TOKEN,), chain, issued=first)
    assert code(bundle) is None
    assert code(edited(bundle, "proof.chain", [INDUSTRY_TOKEN, base])) == "E_DOWNGRADE"
    assert code(edited(bundle, "proof.chain", [INDUSTRY_TOKEN, rotated])) == "E_CHAIN"
    # without the first checkpoint all that is proved is a time at which the key had ended
    assert code(edited(bundle, "proof.log.issued")) == "E_CHAIN"


def test_another_implementation_verifies_the_envelopes_of_a_bundle():
    for token, signer in (
        (SHAFT_TOKEN, GEAR),
        (GEAR_TOKEN, INDUSTRY),
        (INDUSTRY_TOKEN, ROOT),
        (parties.ROOT_TOKEN, ROOT),
    ):
        key = OKPKey.import_key(dict(signer.public.jwk))
        found = jws.deserialize_compact(token, key, algorithms=["Ed25519"])
        assert json.loads(found.payload)["v"] == 1
