"""How large a bundle is in a log of a hundred million leaves, computed from the format.

The tree's paths have their exact lengths, from the size alone. A path of a map has log2(n) + 0.33
siblings on average (those of a random trie); one more is counted. Nothing is compressed, for
hashes would hardly be.
"""

import itertools
import json
from math import log2

import pytest

from schemas import merkle
from schemas.checkpoint import Checkpoint
from schemas.delegation import RECORD_USE
from schemas.evidence import EntryProof, EpochProof, IssuedProof, LogProof, PrefixProof
from schemas.keys import sha256
from schemas.leaf import Epoch
from schemas.target import Target
from schemas.verifiable_map import MapProof
from tests import logbook
from tests.parties import GEAR, ISSUED, delegation, held, record

LEAVES = 10**8
IDENTIFIERS = 10**8
PREFIXES = 10**4
WITNESSES = 3
RECORD_BYTES = 1_000
LIMIT = 8_192


def hashed(*name):
    """Bytes that are nothing but long."""
    return sha256(repr(name).encode())


def path(index, size):
    return merkle.inclusion_proof(index, size, hashed)


def map_proof(entries):
    depth = round(log2(entries) + 1.33)
    siblings = tuple(hashed(entries, at) for at in range(depth))
    return MapProof(depth, 2**depth - 1, siblings, (hashed("key"), bytes(40)))


def note(size):
    head = Checkpoint("registry.example/tierlink/88", size, hashed("root"))
    return logbook.cosigned(head, *[ISSUED] * WITNESSES)


def bundle(delegations, *, size=LEAVES, issued=False):
    """A bundle of one record whose chain has so many delegations of one key each."""
    subjects = [".", "88", "88.118", "88.118.108"][: delegations + 1]
    keys = (held(GEAR, RECORD_USE),)
    chain = [
        delegation(below, above, GEAR, keys=keys, organisation={"name": "Gear Works"}).sign(GEAR)
        for above, below in itertools.pairwise(subjects)
    ]
    about = f"{subjects[-1]}/GEAR-2026-000001"
    target = Target("gs1:pip", "https://gear.example/" + "x" * 405)
    token = record(about, targets=(target,), attributes={"title": "Gear"}).sign(GEAR)
    assert abs(len(token) - RECORD_BYTES) < 20, len(token)
    place = size // 3
    log = LogProof(
        note(size),
        EpochProof(
            Epoch(10**6, size - 1, hashed("i"), hashed("p")), size - 1, path(size - 1, size)
        ),
        (EntryProof(place, path(place, size), map_proof(IDENTIFIERS)),),
        tuple(
            PrefixProof(size // 2 + at, map_proof(PREFIXES), hashed("c") if at else None)
            for at in range(delegations)
        ),
        hashed("salt"),
        issued=IssuedProof(note(place + 9), path(place, place + 9)) if issued else None,
    )
    return {
        "v": 1,
        "identifier": about,
        "envelope": token,
        "proof": {"chain": chain, "records": [], "log": log.to_json()},
    }


def sent(document):
    """The bytes of a body."""
    return len(json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode())


@pytest.mark.parametrize("delegations", [1, 2])
def test_a_bundle_fits_eight_kibibytes(delegations):
    assert sent(bundle(delegations)) <= LIMIT


def test_with_three_delegations_it_fits_where_now_does_not_matter():
    """Nodes prove all prefixes of the chain to be the newest; for the past the holder's will do."""
    document = bundle(3)
    assert sent(document) <= LIMIT + 1_536
    del document["proof"]["log"]["prefixes"][1:]
    assert sent(document) <= LIMIT


def test_what_it_grows_by():
    """A hash is 43 characters: a log ten times as large is some fifteen of them larger."""
    small, large = sent(bundle(2)), sent(bundle(2, size=10 * LEAVES))
    assert large - small < 15 * 43
    # The worst of all sizes for an epoch's path: every bit of its index is set.
    assert sent(bundle(2, size=2**27 - 1)) - small < 15 * 43
    # The first checkpoint comes along only where something in the chain expires.
    assert sent(bundle(2, issued=True)) - small < 2_048


if __name__ == "__main__":
    for count in (1, 2, 3):
        print(count, sent(bundle(count)), sent(bundle(count, issued=True)))  # noqa: T201
