"""What the log of the source proves, asked for within bounds and held against a reading.

A proof is of the newest epoch that was published, a reading of this moment: where they show
different records or delegations, the proof of what was read is still to come. What the log says is
passed on as it is, for whoever asks checks it against witnesses of his own choosing.
"""

from __future__ import annotations

import asyncio
import logging

from schemas.delegation import parse_delegation
from schemas.errors import ProofPending, TierlinkError, Unavailable
from schemas.evidence import LogProof
from schemas.identifier import Identifier
from schemas.source import Proved

from .reading import Reading
from .sources import Source

MAX_PROOFS = 64  # under way at a time: they share the source with every look-up

_log = logging.getLogger(__name__)


class Prover:
    """Asks the source for proofs; owned by one event loop."""

    def __init__(self, source: Source, timeout: float = 2.0) -> None:
        self._source = source
        self._timeout = timeout
        self._under_way = 0

    async def prove(self, identifier: Identifier, at: int | None = None) -> Proved:
        """Return the bundle of an identifier, as of now or of a time in Unix seconds.

        Raises what `Source.prove` raises, and Unavailable where it does not answer in time.
        """
        if self._under_way >= MAX_PROOFS:
            raise Unavailable(f"{MAX_PROOFS} proofs are being made")
        self._under_way += 1
        try:
            async with asyncio.timeout(self._timeout):
                proved = await self._source.prove(identifier, at)
        except TimeoutError as err:
            raise Unavailable("the source did not prove it in time") from err
        except TierlinkError as err:
            if err.status != TierlinkError.status:
                raise
            # A log that contradicts itself is for its operator to look at, not for who asks.
            _log.exception("the source cannot prove %s", identifier)
            raise Unavailable("the source cannot prove anything now", retry_after=5) from err
        finally:
            self._under_way -= 1
        if proved.identifier != identifier:
            _log.error("asked for a proof of %s, the source proved %s", identifier, proved)
            raise Unavailable("the source proved something else", retry_after=5)
        return proved

    async def of(self, reading: Reading) -> LogProof:
        """Return what the log says of a reading; raise ProofPending where it is of another."""
        proved = await self.prove(reading.identifier)
        if (proved.envelope, *proved.records) != reading.records:
            raise ProofPending("the log shows other records; the next checkpoint will cover these")
        if proved.chain != _chain(reading):
            raise ProofPending(
                "the log shows other delegations; the next checkpoint will cover these"
            )
        return proved.log


def _chain(reading: Reading) -> tuple[str, ...]:
    """Return the delegations of the identifier's own prefix, without those of partners."""
    return tuple(
        token
        for token in reading.delegations
        if parse_delegation(token)[1].subject.covers(reading.identifier.prefix)
    )
