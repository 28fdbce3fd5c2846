"""Where in the log statements lie, as the source says: asked where a key was revoked since.

What a revoked key signed before it was revoked stands. The resolver serves it on the source's word
about the order; whoever relies on an answer asks for its proof and needs nobody's word.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from schemas.delegation import parse_delegation
from schemas.envelope import digest
from schemas.identifier import Prefix
from schemas.source import Proved


@dataclass(frozen=True, slots=True)
class Places:
    """Leaf indices: of records by the digest of their envelopes, of delegations by prefix."""

    records: Mapping[str, int] = field(default_factory=dict)
    prefixes: Mapping[Prefix, int] = field(default_factory=dict)

    @classmethod
    def of(cls, proved: Proved) -> Places:
        """Read them out of a bundle; raise VerifyError where a delegation in it is malformed."""
        tokens = () if proved.envelope is None else (proved.envelope, *proved.records)
        entries = zip(tokens, proved.log.entries, strict=False)
        upward = dict.fromkeys(parse_delegation(item)[1].subject for item in reversed(proved.chain))
        prefixes = zip(upward, proved.log.prefixes, strict=False)
        return cls(
            {digest(token): entry.index for token, entry in entries},
            {prefix: item.index for prefix, item in prefixes},
        )
