"""Holders who keep their own keys, several of each kind, and what they sign to exchange them.

keeper = await keep(registry, "88.118", rotate=["r1"], record=["w1"], committed=["r2"])
body = keeper.rotation(rotate=["r2"], record=["w2"], committed=["r3"])
answer = await registry.post("/v1/prefixes/88.118/rotate", body, key=keeper.api_key)

A key is named by the text it is made of: the same name, the same key.
"""

from dataclasses import dataclass, replace

from schemas.delegation import (
    DELEGATE_USE,
    RECORD_USE,
    ROTATE_USE,
    DelegatedKey,
    parse_delegation,
    sign_possession,
)
from schemas.envelope import digest
from schemas.identifier import Identifier, Prefix
from schemas.keys import PrivateKey, sha256
from schemas.record import Record


def private(name):
    return PrivateKey.from_seed(sha256(name.encode()))


def kid(name):
    return private(name).public.kid


def named(rotate, record, *, ended=()):
    """Keys as a delegation names them: those that rotate only rotate."""
    keys = [DelegatedKey(private(name).public, frozenset({ROTATE_USE})) for name in rotate]
    uses = frozenset({RECORD_USE, DELEGATE_USE})
    keys += [DelegatedKey(private(name).public, uses) for name in record]
    return (*keys, *ended)


async def possession(registry, prefix, name, caller):
    asked = {"prefix": prefix, "kid": kid(name)}
    answer = await registry.post("/v1/challenges", asked, key=caller)
    assert answer.status_code == 201, answer.text
    return sign_possession(
        private(name), Prefix.parse(prefix), answer.json()["nonce"], registry.clock()
    )


async def offers(registry, prefix, keys, caller, *, unproved=()):
    """The bodies that offer keys, each with its proof unless it signs or is known."""
    bodies = []
    for key in keys:
        name = next(n for n in NAMES if kid(n) == key.key.kid)
        body = {"jwk": dict(key.key.jwk), "use": sorted(key.uses)}
        if name not in unproved:
            body["possession"] = await possession(registry, prefix, name, caller)
        bodies.append(body)
    return bodies


NAMES = [f"{kind}{number}" for kind in ("r", "w", "d", "x") for number in range(1, 10)]


@dataclass
class Keeper:
    registry: object
    prefix: str
    api_key: str
    token: str

    @property
    def delegation(self):
        return parse_delegation(self.token)[1]

    async def refresh(self):
        view = (await self.registry.get(f"/v1/prefixes/{self.prefix}")).json()
        self.token = view["delegation"]
        return view

    def follow(self, **members):
        """The delegation after the one that stands, with members changed."""
        return replace(
            self.delegation,
            sequence=self.delegation.sequence + 1,
            prev=digest(self.token),
            issued_at=self.registry.clock(),
            **members,
        )

    def ended(self, *names, at=None):
        """Keys of the delegation that stands, ending."""
        kids = {kid(name) for name in names}
        end = (at or self.registry.clock()) + 300
        keys = [item for item in self.delegation.keys if item.key.kid in kids]
        return tuple(replace(item, valid_until=end) for item in keys)

    async def rotate(self, delegation, *signers, offered=(), caller=None):
        """Send a delegation that these keys sign."""
        token = delegation.sign(*(private(name) for name in signers))
        body = {"delegation": token, "keys": list(offered)}
        path = f"/v1/prefixes/{self.prefix}/rotate"
        answer = await self.registry.post(path, body, key=caller or self.api_key)
        if answer.status_code == 200:
            self.token = answer.json()["delegation"]
        return answer

    def record(self, suffix, name, *, at=None):
        identifier = Identifier.parse(f"{self.prefix}/{suffix}")
        record = Record(identifier, "item", at or self.registry.clock())
        return record.sign(private(name))

    async def register(self, suffix, name, *, at=None):
        body = {"envelope": self.record(suffix, name, at=at)}
        return await self.registry.post("/v1/identifiers", body, key=self.api_key)


async def keep(
    registry, prefix, *, rotate=("r1",), record=("w1",), committed=("r2",), thr=None, key=None
):
    """Allocate a prefix, under the root or the holder of `key`, to keys of its own."""
    caller = key or registry.operator
    keys = named(rotate, record)
    body = {
        "keys": await offers(registry, prefix, keys, caller),
        "next": [kid(name) for name in committed],
        "thr": thr or {},
    }
    made = await registry.allocate(prefix, key=caller, **body)
    return Keeper(registry, prefix, made.api_key, made.body["delegation"])
