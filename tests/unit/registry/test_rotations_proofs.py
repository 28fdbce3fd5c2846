"""Rotations, revocations and recoveries in a real log: what they leave provable, and what not."""

import pytest

from registry.config import RECOVERY_SECONDS
from registry.log.check import check_log
from schemas.envelope import digest
from schemas.errors import VerifyError
from schemas.leaf import RECOVERY, Leaf, What, commitment, recovery_digest
from schemas.verdict import VALID
from tests.unit.registry.test_proofs import GEAR, gears, ledger

__all__ = ["gears", "ledger"]  # fixtures

PATH = "/v1/prefixes/88.100"


async def codes(ledger, identifier, at=None):
    _, verdict = await ledger.proven(identifier, at)
    return verdict.state, [code for code, _ in verdict.codes]


async def leaves(ledger):
    """The leaves about prefixes, in order: kind, version, digest, what the subject is."""
    registry = ledger.registry
    async with registry.store.statement() as driver:
        rows = await driver.fetch("SELECT leaf FROM log_entry ORDER BY idx")
        salts = {r["prefix"]: r["salt"] for r in await driver.fetch("SELECT * FROM prefixes")}
    found = [Leaf.parse(row["leaf"]) for row in rows if row["leaf"].startswith(b"tierlink-leaf")]
    return found, salts


async def checked(ledger):
    async with ledger.registry.store.read() as tx:
        return await check_log(tx, ledger.policy)


async def test_a_rotation_keeps_old_records_proven(gears):
    registry = gears.registry
    registry.clock.now += 1000
    answer = await registry.post(f"{PATH}/rotate", {}, key=gears.key)
    assert answer.status_code == 200, answer.text
    await gears.register("88.100/NEW-1")
    await gears.epoch()
    for identifier in (GEAR, "88.100/NEW-1"):
        assert await codes(gears, identifier) == (VALID, [])
    proved, _ = await gears.proven(GEAR)
    assert len(proved.chain) == 3  # 88, and both of 88.100
    assert len(proved.log.prefixes) == 2
    assert await codes(gears, GEAR, gears.times[0]) == (VALID, [])
    assert await checked(gears) > 0


async def test_a_revoked_key_keeps_what_it_signed_before(gears):
    registry = gears.registry
    stolen = (await registry.get(PATH)).json()["keys"][0]["kid"]
    async with registry.store.statement() as driver:
        size = (await driver.fetchrow("SELECT size FROM log_state"))["size"]
    body = {"kid": stolen, "reason": "compromised"}
    answer = await registry.post(f"{PATH}/revoke", body, key=gears.key)
    assert answer.status_code == 200, answer.text
    await gears.register("88.100/NEW-1")
    await gears.epoch()
    for identifier in (GEAR, "88.100/NEW-1"):
        assert await codes(gears, identifier) == (VALID, [])
    found, salts = await leaves(gears)
    said = digest(answer.json()["delegation"])
    (revocation,) = [leaf for leaf in found if leaf.what == What.REVOCATION]
    assert (revocation.version, revocation.digest) == (size, said)
    assert revocation.subject == commitment(salts["88.100"], stolen)
    assert await checked(gears) > size


async def test_a_record_that_was_not_logged_before_the_revocation_is_refused(gears):
    registry = gears.registry
    await gears.register("88.100/LATE-1")  # accepted, and no leaf of the log yet
    stolen = (await registry.get(PATH)).json()["keys"][0]["kid"]
    await registry.post(f"{PATH}/revoke", {"kid": stolen}, key=gears.key)
    await gears.epoch()
    with pytest.raises(VerifyError, match="E_REVOKED"):
        await gears.proven("88.100/LATE-1")
    assert await codes(gears, GEAR) == (VALID, [])


async def test_a_recovery_is_in_the_log_twice_and_in_no_map_before_its_time(gears):
    registry = gears.registry
    answer = await registry.post(f"{PATH}/recover", {}, key=gears.industry)
    assert answer.status_code == 202, answer.text
    waiting = digest(answer.json()["recovery"]["delegation"])
    await gears.epoch()
    assert await codes(gears, GEAR) == (VALID, [])
    registry.clock.now += RECOVERY_SECONDS
    answer = await registry.post(f"{PATH}/recover/complete", key=gears.industry)
    assert answer.status_code == 200, answer.text
    await gears.register("88.100/NEW-1")
    await gears.epoch()
    for identifier in (GEAR, "88.100/NEW-1"):
        assert await codes(gears, identifier) == (VALID, [])
    found, salts = await leaves(gears)
    told = [
        (leaf.what, leaf.digest)
        for leaf in found
        if leaf.version == 2 and str(leaf.prefix) == "88.100"
    ]
    announced = recovery_digest(waiting, withdrawn=False)
    assert told == [(What.REVOCATION, announced), (What.DELEGATION, waiting)]
    subject = commitment(salts["88.100"], RECOVERY)
    assert [leaf.subject for leaf in found if leaf.digest == announced] == [subject]
    await checked(gears)


async def test_a_suspended_prefix_that_gets_new_keys_stays_suspended_in_the_map(gears):
    registry = gears.registry
    await registry.post(f"{PATH}/suspend", key=gears.industry)
    answer = await registry.put(f"{PATH}/delegation", {}, key=gears.industry)
    assert answer.status_code == 200, answer.text
    await gears.epoch()
    _, found = await codes(gears, GEAR)
    assert found == ["E_STATUS"]
    await registry.post(f"{PATH}/resume", key=gears.industry)
    await gears.epoch()
    assert await codes(gears, GEAR) == (VALID, [])
    await checked(gears)


async def test_a_new_root_keeps_everything_proven(gears):
    registry = gears.registry
    registry.clock.now += 1000
    answer = await registry.post("/v1/roots", {}, key=registry.operator)
    assert answer.status_code == 200, answer.text
    await gears.register("88.100/NEW-1")
    await gears.epoch()
    for identifier in (GEAR, "88.100/NEW-1"):
        assert await codes(gears, identifier) == (VALID, [])
    await checked(gears)
