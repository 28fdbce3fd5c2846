"""What all operations of one client share: key, clock, and the trust that answers are judged by."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias, TypeVar

from schemas import canonical
from schemas.chain import Trust, index
from schemas.errors import VerifyError
from schemas.identifier import Prefix
from schemas.keys import Signer

from .call import Steps, read, same_prefix

FETCH = "fetch"

TrustSource: TypeAlias = "Trust | Path | str | None"
T = TypeVar("T")

# What a chain that is not known, or has been renewed meanwhile, looks like.
_RENEWABLE = frozenset({"E_CHAIN", "E_SCOPE", "E_TIME"})


def open_trust(source: Trust | Path | str) -> Trust:
    """Return a trust bundle, or read one from the file of that name; raise VerifyError."""
    if isinstance(source, Trust):
        return source
    try:
        raw = Path(source).read_bytes()
    except OSError as err:
        raise VerifyError(
            "E_ROOT",
            f"the trust bundle cannot be read: {err.strerror}",
            value=str(source),
            fix="name a trust.json, or fetch one with `tierlink trust` and compare its root",
        ) from err
    return Trust.parse(raw)


@dataclass(slots=True)
class Context:
    """The state of one client; `delegations` holds those learned since, validated when used."""

    source: TrustSource
    signer: Signer | None
    now: Callable[[], float]
    known: Trust | None = None
    delegations: dict[Prefix, str] = field(default_factory=dict)

    @classmethod
    def of(cls, source: TrustSource, signer: Signer | None, now: Callable[[], float]) -> Context:
        """Begin; a trust bundle that is named is read at once, one to be fetched at first use."""
        known = None if source is None or source == FETCH else open_trust(source)
        return cls(source, signer, now, known)

    @property
    def seconds(self) -> int:
        """The time in whole Unix seconds."""
        return int(self.now())

    def key(self) -> str:
        """Return a new Idempotency-Key."""
        return str(uuid.uuid4())

    def trust(self) -> Steps[Trust]:
        """Return what answers are judged by; fetch it where that was chosen."""
        if self.known is None and self.source == FETCH:
            reply = yield read("/v1/trust")
            self.known = Trust.parse(reply.content)
        if self.known is None:
            raise VerifyError(
                "E_ROOT",
                "no trust bundle was given, so no answer can be verified",
                fix="give trust= a Trust, the path of a trust.json, or 'fetch' (first use)",
            )
        return Trust(self.known.root, {**self.known.delegations, **self.delegations})

    def checked(self, prefix: Prefix, verify: Callable[[Trust], T]) -> Steps[T]:
        """Verify by the delegations that are known; where those do not do, by the newest ones.

        Delegations are asked from the server and validated under the root like any others, so a
        server can withhold a chain and not invent one.
        """
        trust = yield from self.trust()
        try:
            return verify(trust)
        except VerifyError as err:
            if err.code not in _RENEWABLE:
                raise
        offered = yield from self._delegations(prefix)
        # Of two for one prefix the higher sequence counts: nobody is talked back to a lost key.
        newest = index((*trust.delegations.values(), *offered))
        found = verify(Trust(trust.root, newest))
        self.delegations = newest
        return found

    def _delegations(self, prefix: Prefix) -> Steps[list[str]]:
        offered: list[str] = []
        while not prefix.is_root:
            reply = yield read(f"/v1/prefixes/{prefix}")
            document = canonical.decode_object(reply.content)
            same_prefix(document, prefix)
            token, parent = document.get("delegation"), document.get("parent")
            if isinstance(token, str):
                offered.append(token)
            above = Prefix.parse(parent) if isinstance(parent, str) else Prefix(())
            if above == prefix or not above.covers(prefix):
                break
            prefix = above
        return offered
