"""What all operations of one client share: key, clock, and the trust that answers are judged by."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias, TypeVar

from schemas import canonical
from schemas.chain import Chain, Trust, advance, index
from schemas.delegation import Delegation
from schemas.errors import TierlinkError, VerifyError
from schemas.identifier import Prefix
from schemas.keys import Signer

from .call import Steps, read, same_prefix

FETCH = "fetch"

TrustSource: TypeAlias = "Trust | Path | str | None"
T = TypeVar("T")

# What a chain that is not known, or has been renewed meanwhile, looks like.
_RENEWABLE = frozenset({"E_CHAIN", "E_SCOPE", "E_TIME", "E_ROOT", "E_REVOKED", "E_DOWNGRADE"})


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
    delegations: dict[Prefix, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, source: TrustSource, signer: Signer | None, now: Callable[[], float]) -> Context:
        """Begin; a trust bundle that is named is read at once, one to be fetched at first use."""
        known = None if source is None or source == FETCH else open_trust(source)
        return cls(source, signer, now, known)

    @property
    def seconds(self) -> int:
        """The time in whole Unix seconds."""
        return int(self.now())

    @property
    def trusting(self) -> bool:
        """Whether there is anything to verify by, or where to fetch it from."""
        return self.source is not None

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
        return replace(self.known, delegations={**self.known.delegations, **self.delegations})

    def checked(self, prefix: Prefix, verify: Callable[[Trust], T]) -> Steps[T]:
        """Verify by the delegations that are known; where those do not do, by the newest ones.

        Delegations are asked from the server and validated under the root like any others, so a
        server can withhold a chain and not invent one. Newer root versions are asked last, and
        are followed from the one that is trusted, version by version.
        """
        trust = yield from self.trust()
        try:
            return verify(trust)
        except VerifyError as err:
            if err.code not in _RENEWABLE:
                raise
        offered = yield from self._delegations(prefix)
        # Of several for one prefix the highest sequence counts: nobody is talked back to a lost
        # key.
        newest = index((*trust.tokens, *offered))
        renewed = replace(trust, delegations=newest)
        try:
            found = verify(renewed)
        except VerifyError as err:
            if err.code not in _RENEWABLE:
                raise
            root = yield from self._newer_root(trust.root.holder)
            if root is None:
                raise
            found = verify(replace(renewed, root=root))
        self.delegations = newest
        return found

    def _newer_root(self, held: Delegation) -> Steps[Chain | None]:
        """Follow the root to its newest version, None where the server shows no newer one."""
        try:
            reply = yield read("/v1/trust")
            roots = canonical.decode_object(reply.content).get("roots")
            root = advance(held, roots if isinstance(roots, list) else (), self.seconds)
        except TierlinkError:  # no reason to forget why the answer did not verify
            return None
        if self.known is None or root is held:
            return None
        self.known = replace(self.known, root=Chain((root,)))
        return self.known.root

    def _delegations(self, prefix: Prefix) -> Steps[list[str]]:
        offered: list[str] = []
        while not prefix.is_root:
            reply = yield read(f"/v1/prefixes/{prefix}")
            document = canonical.decode_object(reply.content)
            same_prefix(document, prefix)
            token, parent = document.get("delegation"), document.get("parent")
            earlier = document.get("run", [])
            if isinstance(earlier, list):
                offered += [item for item in earlier if isinstance(item, str)]
            if isinstance(token, str):
                offered.append(token)
            above = Prefix.parse(parent) if isinstance(parent, str) else Prefix(())
            if above == prefix or not above.covers(prefix):
                break
            prefix = above
        return offered
