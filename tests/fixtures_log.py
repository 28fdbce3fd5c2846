"""A founded log over a database of the test's own, with a holder's changes to put into it.

log        the log; its sequencers are made by the test, as many as it likes
           await log.write(3)             three records of 88.100, accepted in one transaction
           await log.checked()            check_log over everything, and the size
"""

from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

import pytest

from registry import changes
from registry.bootstrap import found
from registry.changes import Entry
from registry.keyring import Keyring
from registry.log import founding
from registry.log.check import check_log
from registry.log.copy import Copy
from registry.log.maps import Maps
from registry.log.publishing import Publisher
from registry.log.sequencer import Sequencer
from registry.store import log as log_store, prefixes
from registry.store.engine import Store
from schemas.change import Op
from schemas.delegation import DELEGATE_USE, RECORD_USE, DelegatedKey, Delegation
from schemas.envelope import digest
from schemas.identifier import Prefix
from schemas.keys import PrivateKey, b64encode, sha256
from schemas.leaf import What
from schemas.policy import LogPolicy
from tests.fixtures_registry import KEK, NOW, Clock

ORIGIN = "registry.example/tierlink/88"
ROOT = Prefix(())
GEAR = Prefix.parse("88.100")
SALT = sha256(b"salt of gear")


@dataclass
class Log:
    store: Store
    identity: founding.Identity
    policy: LogPolicy
    copy: Copy
    delegated: str  # digest of the holder's delegation
    clock: Clock = field(default_factory=Clock)
    witness: object = None
    numbers: object = field(default_factory=lambda: count(1))

    def sequencer(self, *, opened=None, **options):
        """A sequencer that nobody opened yet."""
        publisher = Publisher(
            opened or self.store,
            self.identity.signer,
            self.policy,
            self.copy,
            self.clock,
            witness=self.witness,
        )
        return Sequencer(opened or self.store, Maps(), publisher, **options)

    async def opened(self, **options):
        sequencer = self.sequencer(**options)
        await sequencer.open()
        return sequencer

    async def opened_unchecked(self):
        """A sequencer that was running before somebody did things to its database."""
        sequencer = self.sequencer()

        async def nothing(_driver):
            return None

        sequencer._publisher.check = nothing
        await sequencer.open()
        return sequencer

    async def write(self, records=1):
        """Accept new records, in one transaction."""
        async with self.store.write() as tx:
            await self.write_in(tx, records)

    async def write_in(self, tx, records=1):
        names = [f"{GEAR}/A-{next(self.numbers)}" for _ in range(records)]
        entries = [Entry(Op.RECORD, name, 1, digest=digest_of(name)) for name in names]
        await changes.record_many(tx, GEAR, entries)

    async def tell(self, what, about, version=1, *, said=None, subject=None):
        """Accept one statement of any kind."""
        async with self.store.write() as tx:
            return await changes.record(
                tx,
                Op.LOGGED,
                GEAR,
                about,
                version,
                digest=said or digest_of(f"{what} {about} {version}"),
                what=what,
                subject=subject,
            )

    async def checked(self):
        async with self.store.read() as tx:
            return await check_log(tx, self.policy, self.copy)

    async def read(self, function, *arguments):
        """Call a function of registry.store.log on a connection."""
        async with self.store.statement() as driver:
            return await function(driver, *arguments)

    async def state(self):
        return await self.read(log_store.state)

    async def sql(self, *statements):
        """Do what only a fault or an operator does to a database."""
        async with self.store.write() as tx:
            driver = await tx.driver()
            for statement in statements:
                await driver.execute(statement)

    def with_policy(self, **members):
        return replace(self, policy=replace(self.policy, **members))


def digest_of(text):
    """What stands in a change for an envelope."""
    return str(b64encode(sha256(f"envelope {text}".encode())))


@pytest.fixture
async def log(store, tmp_path):
    async with store.write() as tx:
        keyring = Keyring(KEK)
        await found(tx, keyring, NOW)
        identity = await founding.found(tx, keyring, ORIGIN)
        root = await keyring.signer(tx, ROOT, DELEGATE_USE)
        key = DelegatedKey(PrivateKey.from_seed(bytes(32)).public, frozenset({RECORD_USE}))
        token = Delegation(GEAR, ROOT, 1, NOW, (key,)).sign(root)
        gear = prefixes.Organisation("Gear")
        await prefixes.insert_prefix(tx, GEAR, ROOT, gear, delegation=token, salt=SALT)
        delegated = digest(token)
        await changes.record(
            tx, Op.PREFIX, GEAR, str(GEAR), 1, digest=delegated, what=What.DELEGATION
        )
    copy = Copy(Path(tmp_path) / "log" / "published.note", identity.key)
    return Log(store, identity, LogPolicy(identity.key), copy, delegated)
