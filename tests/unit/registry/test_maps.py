"""The stored maps: the reference after each epoch and at every past one, in few statements."""

import random

import pytest
from sqlalchemy import select

from registry.log import maps as maps_module
from registry.log.buckets import Bucket, bucket_of
from registry.log.maps import Maps, Tops
from registry.log.tops import finish
from registry.store import maps as store_of_maps
from registry.store.maps import IDENTIFIERS, PREFIXES
from registry.store.tables import map_bucket
from schemas.errors import VerifyError
from schemas.identifier import Prefix
from schemas.keys import b64encode, sha256
from schemas.leaf import Epoch, Leaf, What
from schemas.verifiable_map import ZERO, VerifiableMap, map_value, prefix_key, prefix_value

EIGHTY_EIGHT = Prefix.parse("88")
LAST = 2**62


def leaf(what, subject=b"", version=1, says="x", prefix="88"):
    digest = b64encode(sha256(str(says).encode()))
    return Leaf(what, Prefix.parse(prefix), b64encode(subject or sha256(b"s")), version, digest)


def key(bucket, rest=0):
    """A commitment in a bucket of the map of identifiers."""
    return bucket.to_bytes(2, "big") + rest.to_bytes(30, "big")


class Story:
    """Epochs of leaves, and what the reference says of each."""

    def __init__(self, store):
        self.store = store
        self.maps = Maps()
        self.size = self.epoch = 0
        self.identifiers, self.prefixes = {}, {}
        self.past = []

    async def go_on(self, *leaves):
        self.epoch += 1
        entries = [(self.size + n, item.entry) for n, item in enumerate(leaves)]
        for (index, _), item in zip(entries, leaves, strict=True):
            self._remember(index, item)
        self.size += len(leaves)
        async with self.store.write() as tx:
            staged = await self.maps.stage(tx, self.epoch, entries)
        self.maps.adopt(staged)
        reference = [VerifiableMap(list(m.items())) for m in (self.identifiers, self.prefixes)]
        assert [staged.identifiers, staged.prefixes] == [item.root for item in reference]
        self.past.append(reference)
        return staged

    def _remember(self, index, item):
        subject, digest = b64(item.subject), b64(item.digest)
        if item.what in {What.RECORD, What.LINK}:
            value = map_value(item.version, digest)
            self.identifiers[subject] = max(value, self.identifiers.get(subject, b""))
        elif item.what in {What.DELEGATION, What.STATUS}:
            self.prefixes[prefix_key(str(item.prefix))] = prefix_value(index, subject, digest)

    async def check(self, epoch, keys):
        """Every key is proven at an epoch as the reference of that epoch proves it."""
        async with self.store.read() as tx:
            driver = await tx.driver()
            tops = Tops().put(await store_of_maps.find_heads(driver, epoch))
            for number, reference in enumerate(self.past[epoch - 1] if epoch else ()):
                assert tops.of(number).root == reference.root
                for each in keys:
                    way = tops.of(number).way(each)
                    bucket = await contents(driver, number, way.bucket, epoch)
                    assert finish(way, each, bucket) == reference.prove(each)


def b64(text):
    from schemas.keys import b64decode  # noqa: PLC0415

    return b64decode(text)


async def contents(driver, number, bucket, epoch):
    if bucket is None:
        return None
    (found,) = await store_of_maps.find_contents(driver, [(number, bucket)], epoch)
    return Bucket(found.data)


@pytest.fixture
def story(store):
    return Story(store)


async def test_each_kind_of_leaf_goes_where_it_belongs(story):
    link = leaf(What.LINK, key(9), 2, "link")
    entries = [
        leaf(What.DELEGATION, says="given", prefix="."),
        leaf(What.DELEGATION, says="given"),
        leaf(What.RECORD, key(7), 1, "first"),
        link,
        leaf(What.REVOCATION, key(8)),
        leaf(What.BATCH, key(8)),
        leaf(What.RECORD, key(7), 2, "second"),
        leaf(What.STATUS, says="halted"),
    ]
    staged = await story.go_on(*entries)
    assert len(staged.after.identifiers) == 2
    assert len(staged.after.prefixes) == 2
    assert story.identifiers[key(7)][:8] == (2).to_bytes(8, "big")
    assert story.prefixes[prefix_key("88")][:8] == (7).to_bytes(8, "big")
    await story.check(1, [key(7), key(8), key(9), prefix_key("88"), prefix_key(".")])


async def test_the_highest_version_counts_in_whatever_order_the_log_has_them(story):
    await story.go_on(*(leaf(What.RECORD, key(7), version, version) for version in (2, 3, 1)))
    assert story.identifiers[key(7)][:8] == (3).to_bytes(8, "big")
    await story.go_on(leaf(What.RECORD, key(7), 2, "late"), leaf(What.RECORD, key(8)))
    assert story.identifiers[key(7)][:8] == (3).to_bytes(8, "big")
    await story.check(2, [key(7), key(8)])


async def test_chunks_make_the_same_maps(story, monkeypatch):
    monkeypatch.setattr(maps_module, "CHUNK", 3)
    for epoch in (1, 2):
        records = [leaf(What.RECORD, key(n % 11, n), epoch) for n in range(30)]
        held = [leaf(What.DELEGATION, prefix=f"88.{n}", says=epoch) for n in range(10)]
        await story.go_on(*records, *held)
    await story.check(1, [key(3, 3), prefix_key("88.3")])


async def test_epoch_leaves_are_passed_over_and_nonsense_is_refused(store):
    epoch = Epoch(1, 0, ZERO, ZERO).entry
    maps = Maps()
    async with store.write() as tx:
        staged = await maps.stage(tx, 1, [(0, epoch)])
        assert (staged.identifiers, staged.prefixes) == (ZERO, ZERO)
        with pytest.raises(VerifyError):
            await maps.stage(tx, 1, [(0, b"tierlink-leaf/v9\n")])


NEARLY = {  # a leaf, if it were not for this
    "no prefix": (b"\n88.7\n", b"\n88..7\n"),
    "too long a label": (b"\n88.7\n", b"\n" + b"8" * 129 + b"\n"),
    "a zero before": (b"\n12\n", b"\n012\n"),
    "no number": (b"\n12\n", b"\n1e2\n"),
    "bits behind the last byte": (b"A\n12\n", b"B\n12\n"),
    "padding": (b"A\n12\n", b"A=\n12\n"),
    "the other alphabet": (b"A\n12\n", b"+\n12\n"),
    "a line more": (b"\n12\n", b"\n12\n\n"),
    "no such kind": (b"record", b"records"),
}


async def test_nearly_a_leaf_is_refused(store):
    """The usual leaves are read by a rule of their own, which lets nothing pass."""
    entry = leaf(What.RECORD, bytes(32), 12, prefix="88.7").entry
    async with store.write() as tx:
        await Maps().stage(tx, 1, [(0, entry)])
        for old, new in NEARLY.values():
            assert old in entry
            with pytest.raises(VerifyError):
                await Maps().stage(tx, 2, [(0, entry.replace(old, new))])


async def test_leaves_of_any_version_are_read(store):
    versions = [0, 1, 12, 10**17, 10**18, 2**63 - 1]
    kinds = [What.RECORD, What.LINK]
    cases = [(what, version) for what in kinds for version in versions]
    entries = [leaf(what, key(n), version).entry for n, (what, version) in enumerate(cases)]
    values = [(key(n), map_value(case[1], sha256(b"x"))) for n, case in enumerate(cases)]
    async with store.write() as tx:
        staged = await Maps().stage(tx, 1, enumerate(entries))
    assert staged.identifiers == VerifiableMap(values).root


async def test_many_epochs_over_few_buckets_and_every_past_one(story):
    draw = random.Random(1)
    space = [key(draw.choice((0, 1, 2, 0x8000, 0xFFFF)), n % 7 << 200 | n) for n in range(60)]
    names = [f"88.{n}" for n in range(20)]
    for _ in range(25):
        records = [
            leaf(What.RECORD, draw.choice(space), draw.randrange(9), draw.random())
            for _ in range(draw.randrange(9))
        ]
        held = [
            leaf(draw.choice((What.DELEGATION, What.STATUS)), says=draw.random(), prefix=name)
            for name in draw.sample(names, draw.randrange(4))
        ]
        await story.go_on(*records, *held)
    probes = [*space[::4], key(3), key(0x8000, 1 << 239), *(prefix_key(n) for n in names[::5])]
    for epoch in range(26):
        await story.check(epoch, probes)
    # Whoever comes later, after a restart, has the same tops, and goes on from there.
    again = Maps()
    async with story.store.read() as tx:
        await again.load(tx)
    assert again._tops.identifiers.root == story.maps._tops.identifiers.root
    assert again._tops.prefixes.root == story.maps._tops.prefixes.root
    story.maps = again
    await story.go_on(leaf(What.RECORD, space[0], 99, "last"))


async def test_only_what_changed_is_told_between_two_epochs(story):
    await story.go_on(leaf(What.RECORD, key(1)), leaf(What.RECORD, key(2)))
    await story.go_on(leaf(What.RECORD, key(2, 5)))
    third = await story.go_on(leaf(What.RECORD, key(2, 6)), leaf(What.RECORD, key(3)))
    async with story.store.read() as tx:
        driver = await tx.driver()
        first = Tops().put(await store_of_maps.find_heads(driver, 1))
        changed = await store_of_maps.find_changed(driver, 1, 3)
    assert [(head.bucket, head.epoch, head.entries) for head in changed] == [(2, 3, 3), (3, 3, 1)]
    assert first.put(changed).identifiers.root == third.identifiers


async def test_a_row_for_each_bucket_and_epoch_that_changed_it(story):
    await story.go_on(leaf(What.RECORD, key(1)), leaf(What.RECORD, key(2)))
    await story.go_on(leaf(What.RECORD, key(2, 5)))
    await story.go_on()
    columns = (map_bucket.c.map, map_bucket.c.bucket, map_bucket.c.epoch, map_bucket.c.entries)
    async with story.store.read() as tx:
        rows = await tx.connection.execute(select(*columns).order_by(*columns))
        assert [tuple(row) for row in rows] == [(0, 1, 1, 1), (0, 2, 1, 1), (0, 2, 2, 2)]


async def test_what_is_rolled_back_was_never_staged(story):
    await story.go_on(leaf(What.RECORD, key(1)))
    before = story.maps._tops
    with pytest.raises(ZeroDivisionError):
        await _staged_and_lost(story)
    assert story.maps._tops is before
    await story.go_on(leaf(What.RECORD, key(3)))


async def _staged_and_lost(story):
    async with story.store.write() as tx:
        await story.maps.stage(tx, 2, [(1, leaf(What.RECORD, key(2)).entry)])
        raise ZeroDivisionError


async def test_two_epochs_are_not_staged_at_once(store):
    maps = Maps()
    async with store.write() as tx:
        first = await maps.stage(tx, 1, [(0, leaf(What.RECORD, key(1)).entry)])
        second = await maps.stage(tx, 2, [(1, leaf(What.RECORD, key(2)).entry)])
    maps.adopt(first)
    with pytest.raises(AssertionError):
        maps.adopt(second)


async def test_statements(store, sql_recorder):
    maps = Maps()
    entries = [(n, leaf(What.RECORD, key(n % 40, n)).entry) for n in range(400)]
    entries += [(400 + n, leaf(What.DELEGATION, prefix=f"88.{n}").entry) for n in range(50)]
    async with sql_recorder(store.engine) as statements, store.read() as tx:
        await maps.load(tx)
    assert len(statements) == 2, statements  # the first opens the snapshot
    async with sql_recorder(store.engine) as statements, store.write() as tx:
        await maps.stage(tx, 1, entries)
    assert len(ours(statements)) == 3, statements
    assert statements[-1].startswith("COPY map_bucket (")


def ours(statements):
    """Leave out what the driver asks once per connection: about the types of arrays."""
    return [each for each in statements if "pg_type" not in each and "'jit'" not in each]


async def test_the_index_finds_the_newest_rows(store):
    maps = Maps()
    for epoch in range(1, 40):
        entries = [(n, leaf(What.RECORD, key(n % 13, n * epoch)).entry) for n in range(100)]
        async with store.write() as tx:
            staged = await maps.stage(tx, epoch, entries)
        maps.adopt(staged)
    async with store.write() as tx:
        driver = await tx.driver()
        await driver.execute("SET LOCAL enable_seqscan = off")
        for sql, given in (
            (store_of_maps.HEADS, (LAST,)),
            (store_of_maps.CONTENTS, ([IDENTIFIERS, PREFIXES], [3, 3], LAST)),
            (store_of_maps.HEADS_CHANGED, (30, LAST)),
        ):
            plan = "\n".join(row[0] for row in await driver.fetch(f"EXPLAIN {sql}", *given))
            assert "Seq Scan on map_bucket" not in plan, plan
        heads = await store_of_maps.find_heads(driver, 20)
    assert {head.bucket for head in heads} == set(range(13))
    assert {head.epoch for head in heads} == {20}


async def test_keys_are_spread_over_the_buckets():
    numbers = {bucket_of(prefix_key(f"88.{n}")) for n in range(1_000)}
    assert len(numbers) > 980
