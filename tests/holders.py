"""Holders of prefixes who keep their own keys, and what they sign.

holder = await hold(registry, "88.118.8")
answer = await registry.post("/v1/identifiers", holder.body("A-1"), key=holder.api_key)
"""

from dataclasses import dataclass, replace

from schemas.delegation import sign_possession
from schemas.envelope import digest
from schemas.identifier import Identifier, Prefix
from schemas.keys import PrivateKey, sha256
from schemas.record import Record
from schemas.target import Target

TARGET = Target("gs1:pip", "https://holder.example/a")


@dataclass(frozen=True)
class Holder:
    prefix: str
    api_key: str
    private: PrivateKey
    now: int

    def identifier(self, suffix):
        return Identifier.parse(f"{self.prefix}/{suffix}")

    def record(self, suffix, kind="item", **members):
        if isinstance(members.get("parent"), str):
            members["parent"] = self.identifier(members["parent"])
        members = {"issued_at": self.now} | members
        return Record(self.identifier(suffix), kind, **members)

    def sign(self, record):
        return record.sign(self.private)

    def body(self, suffix, kind="item", **members):
        """The body that registers a record of these members."""
        return {"envelope": self.sign(self.record(suffix, kind, **members))}

    def after(self, record, token, **changes):
        """The version that follows one, changed."""
        return replace(record.next(digest(token), self.now), **changes)


async def hold(registry, prefix, *, name="holder", key=None, use=("record", "delegate")):
    """Allocate a prefix whose holder keeps the key, which is that of `name`."""
    private = PrivateKey.from_seed(sha256(name.encode()))
    caller = key or registry.operator
    asked = {"prefix": prefix, "kid": private.public.kid}
    nonce = (await registry.post("/v1/challenges", asked, key=caller)).json()["nonce"]
    proof = sign_possession(private, Prefix.parse(prefix), nonce, registry.clock())
    offered = {"jwk": dict(private.public.jwk), "use": list(use), "possession": proof}
    allocated = await registry.allocate(prefix, key=caller, keys=[offered])
    return Holder(prefix, allocated.api_key, private, registry.clock())
