"""Buckets and tops, without a database: roots and proofs are those of the reference, always."""

from hypothesis import given, settings, strategies as st

from registry.log.buckets import BUCKET_BITS, ENTRY_BYTES, Bucket, bucket_of
from registry.log.tops import Top, finish, value_at
from schemas.keys import sha256
from schemas.verifiable_map import VALUE_BYTES, ZERO, MapProof, VerifiableMap, map_leaf, verify_map

bounded = settings(deadline=None, max_examples=200)

# Few keys that share buckets, and within one share short and long prefixes.
FIRST = ("0000", "0001", "0100", "8000", "ffff")
NEXT = ("00", "01", "80")
LAST = ("00", "01", "ff")
KEYS = [bytes.fromhex(a + b + "00" * 28 + c) for a in FIRST for b in NEXT for c in LAST]

keys = st.sampled_from(KEYS)
values = st.integers(0, 255).map(lambda n: bytes([n]) * VALUE_BYTES)
epochs = st.lists(st.dictionaries(keys, values, min_size=1, max_size=6), max_size=8)


class Stored:
    """A map as it is stored: buckets and their top."""

    def __init__(self, buckets=None, top=None):
        self.buckets = buckets or {}
        self.top = top or Top()

    def put(self, entries):
        buckets = dict(self.buckets)
        for number in {bucket_of(key) for key in entries}:
            mine = {key: value for key, value in entries.items() if bucket_of(key) == number}
            buckets[number] = buckets.get(number, Bucket()).put(mine)
        heads = {n: (len(buckets[n]), buckets[n].root) for n in {bucket_of(k) for k in entries}}
        return Stored(buckets, self.top.put(heads))

    def prove(self, key):
        way = self.top.way(key)
        bucket = None if way.bucket is None else self.buckets[way.bucket]
        return finish(way, key, bucket), value_at(way, key, bucket)


def agree(stored, entries):
    reference = VerifiableMap(list(entries.items()))
    assert stored.top.root == reference.root
    assert len(stored.top) == len(entries)
    for key in KEYS:
        proof, value = stored.prove(key)
        assert proof == reference.prove(key)
        assert verify_map(reference.root, key, proof) == value == entries.get(key)


@bounded
@given(epochs)
def test_after_every_epoch_it_is_the_reference(epochs):
    stored, entries, past = Stored(), {}, []
    agree(stored, entries)
    for changed in epochs:
        stored, entries = stored.put(changed), {**entries, **changed}
        past.append((stored, entries))
        agree(stored, entries)
    for before in past:  # what came later has changed none of them
        agree(*before)


@bounded
@given(epochs)
def test_all_at_once_is_the_same_as_in_turns(epochs):
    entries = {key: value for changed in epochs for key, value in changed.items()}
    stored = Stored()
    for changed in epochs:
        stored = stored.put(changed)
    assert stored.top.root == Stored().put(entries).top.root


@bounded
@given(st.dictionaries(keys, values, min_size=1), st.dictionaries(keys, values, min_size=1))
def test_a_bucket_stays_sorted_and_finds_what_was_put(first, then):
    bucket = Bucket().put(first).put(then)
    merged = {**first, **then}
    assert [bucket.entry(n) for n in range(len(bucket))] == sorted(merged.items())
    assert len(bucket.data) == ENTRY_BYTES * len(merged)
    assert all(bucket.value(key) == merged.get(key) for key in KEYS)


def test_many_random_keys():
    entries = {sha256(bytes([n // 256, n % 256])): bytes([n % 251]) * 40 for n in range(3_000)}
    stored, reference = Stored().put(entries), VerifiableMap(list(entries.items()))
    assert stored.top.root == reference.root
    for key in [*list(entries)[:300], *(sha256(bytes([n])) for n in range(200))]:
        assert stored.prove(key)[0] == reference.prove(key)


def test_small_maps():
    assert Stored().top.root == ZERO
    assert Stored().prove(KEYS[0]) == (MapProof(0, 0, (), None), None)
    assert Bucket().root == ZERO
    single = Stored().put({KEYS[0]: bytes(40)})
    assert single.top.root == map_leaf(KEYS[0], bytes(40))
    proof, value = single.prove(KEYS[-1])
    assert (proof.depth, proof.terminal, value) == (0, (KEYS[0], bytes(40)), None)


def test_two_keys_of_one_bucket_that_part_at_its_root_or_at_the_last_bit():
    for last in (b"\x80" + bytes(29), bytes(29) + b"\x01"):
        pair = {bytes(32): bytes(40), bytes(2) + last: bytes(40)}
        agree(Stored().put(pair), pair)


def test_nothing_changed_is_the_same_top():
    top = Stored().put({KEYS[0]: bytes(40)}).top
    assert top.put({}) is top


def test_what_did_not_change_is_shared():
    before = Stored().put({key: bytes(40) for key in KEYS})
    after = before.put({KEYS[0]: b"\x01" * 40})
    assert after.top._node.right is before.top._node.right
    assert after.top._node.left is not before.top._node.left


def test_bucket_numbers_are_the_first_bits():
    assert bucket_of(b"\x12\x34" + bytes(30)) == 0x1234
    assert bucket_of(b"\xff" * 32) == 2**BUCKET_BITS - 1


def test_representations_show_sizes_and_no_contents():
    stored = Stored().put({KEYS[0]: bytes(40)})
    assert repr(stored.top) == "Top(1 entries)"
    assert repr(stored.buckets[0]) == "Bucket(1 entries)"
