"""Proofs: that an answer is signed, in the log, and the newest there is; checked offline.

One verifier serves the two documents that carry a log's word (`schemas.evidence`): a bundle,

    {"v": 1, "identifier", "envelope", "proof": {"chain": […], "records": […], "log": {…}}}

whose `envelope` is absent where nothing is registered, and a full answer, which is an answer
(`schemas.answer`) whose `proof` has a `log`. No network, no clock but `now`, and nothing kept but
which notes have verified.

    P1  the JSON is strict, the members those of the format                 E_FORMAT E_LIMIT …
    P2  checkpoint: signed by the log of the policy, cosigned by its quorum
                                                            E_CHECKPOINT E_ORIGIN E_QUORUM
    P3  epoch: its leaf is the last of the checkpoint's tree, and covers all before it      E_MAP
    P4  prefixes: the holder's delegation, and each above it that is proved, is the newest in the
        epoch's map, under this salt; none is suspended             E_MAP E_DOWNGRADE E_STATUS
    P5  signers: steps A2 to A4 and C1 to C7, at the time the log had each record; no key that
        signed was revoked before; the plain members (A5)  E_CHAIN … E_SIG E_TIME E_REVOKED
    P6  leaves: each record's is in the checkpoint's tree, within what the epoch covers
                                                                                E_INCLUSION
    P7  newest: the epoch's map has each record as the newest of its identifier, and none where
        a class answers or nothing is registered                      E_MAP E_STALE E_FORK
    P8  now: the checkpoint is fresh, record and chain are within their validity E_FRESH E_TIME

The time the log had a record is that by which the quorum had seen the first checkpoint to cover
it (`issued`, or else the checkpoint): the quorum-th earliest cosignature, so that one dishonest
witness cannot backdate. Where the policy asks no quorum it is the record's own time of issue.

What comes of it (`schemas.verdict`):

    never so          a step P1 to P7 fails: VerifyError
    no longer so      current is invalid: E_TIME expired, or not yet valid; E_STATUS suspended
    cannot be told    indeterminate: E_CHECKPOINT the trust bundle names no log; E_FRESH the
                      checkpoint is older than the policy allows, or later than `now`; E_STALE the
                      trust bundle knows a delegation newer than the epoch, or one above the
                      holder's is not proved to be the newest; E_TIME, E_REVOKED the log's time of
                      an ancestor or of an assertion is not shown, and would decide

That nothing is registered (`exists` False) is proved of records of its own. That no class
answers for an identifier either is the server's word: a map cannot be searched by rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from . import canonical
from .answer import (
    MAX_ANSWER,
    Parts,
    Sent,
    check_lineage,
    check_view,
    compose,
    read_identifier,
    read_sent,
    strings,
)
from .canonical import JsonObject
from .chain import Chain, Runs, Trust, index
from .checkpoint import (
    CLOCK_SKEW,
    Checkpoint,
    Cosignature,
    NoteKey,
    check_quorum,
    split_note,
    verify_note,
)
from .delegation import within
from .envelope import RECORD, Envelope
from .errors import VerifyError
from .evidence import EntryProof, LogProof, PrefixProof
from .identifier import Identifier, Prefix
from .keys import b64decode
from .leaf import Epoch, Leaf, What, commitment, status_digest
from .merkle import leaf_hash, verify_consistency, verify_inclusion
from .policy import LogPolicy
from .record import Record, parse_record
from .verdict import INVALID, Finding, Findings, Verdict
from .verifiable_map import map_value, prefix_key, prefix_value, verify_map

MAX_DOCUMENT = MAX_ANSWER + 256 * 1024  # bytes: an answer, and what a log says of it

_VERSION_BYTES = 8
_EARLY = -1  # before every leaf, and so before every revocation
_BUNDLE = frozenset({"v", "identifier", "envelope", "proof"})
_BUNDLE_PROOF = frozenset({"chain", "records", "log"})


def judge(raw: bytes, trust: Trust, now: int) -> Verdict:
    """Verify the bytes of a bundle or full answer; what does not verify is a verdict, too."""
    try:
        # P1, first half: bounded, strict JSON
        if len(raw) > MAX_DOCUMENT:
            raise VerifyError("E_LIMIT", f"{len(raw)} bytes, the limit is {MAX_DOCUMENT}")  # noqa: TRY301
        return verify(canonical.decode_object(raw), trust, now)
    except VerifyError as err:
        return Verdict(INVALID, (Finding(err.code, err.detail),), INVALID, INVALID, now)


def verify(document: JsonObject, trust: Trust, now: int) -> Verdict:
    """Verify a bundle or full answer by the steps above; raise VerifyError and nothing else.

    `document` is the parsed JSON (`canonical.decode_object`), `now` integer seconds. What is no
    longer so, or cannot be told, is returned and says so: `state` is not `valid`.
    """
    found = Findings()
    # P1: the members
    sent = _read(document)
    log = LogProof.from_json(sent.log)
    _check_members(sent, log)
    # P2: the checkpoint, and the first one to cover the nearest record
    head = _head(log.checkpoint, trust.policy)
    issued = head if log.issued is None else _issued(log.issued.checkpoint, head, trust.policy)
    # P3: the epoch
    epoch = _check_epoch(log, head.checkpoint)
    # P4: the chain is the one that the epoch's map has
    known = _Known(trust, index(sent.chain), sent.identifier.prefix)
    chain = known.shown.logged(_check_prefixes(known.shown, log, epoch, found))
    # P5: who signed, and when
    speakers = _Speakers(log, chain, known, _Times(head, issued), found)
    parts = _read_parts(document, sent, speakers) if sent.records else None
    if parts is None:
        chain.check_delegations()
    # P6 and P7: the leaves are in the log, and nothing is newer
    if parts is not None:
        _check_leaves(parts, speakers.envelopes, log, head.checkpoint)
        _check_issued(parts, speakers.envelopes, log, issued.checkpoint)
    _check_absent(sent.identifier, parts, log)
    # P8: what holds now
    _check_fresh(head, trust.policy, now, found)
    _check_validity(parts, known, now, found)
    return Verdict(
        found.state,
        tuple(found.listed),
        found.at_issue,
        found.current,
        now,
        sent.identifier,
        parts is not None,
        parts,
        _view(document, parts),
        chain,
        head.checkpoint.origin,
        head.checkpoint.size,
        epoch.number,
        head.witnesses,
        speakers.logged_by,
        head.last,
    )


# P1


def _read(document: JsonObject) -> Sent:
    """Read a bundle, which has a `v`, or an answer, which has none."""
    sent = _read_bundle(document) if "v" in document else read_sent(document)
    if sent.log is None:
        raise VerifyError(
            "E_FORMAT",
            "the proof holds nothing of a log",
            fix="ask for /v1/proof/…, or with ?proof=full",
        )
    return sent


def _read_bundle(document: JsonObject) -> Sent:
    if type(document["v"]) is not int or document["v"] != 1:
        raise VerifyError("E_FORMAT", "bundle version v is not 1", value=document["v"])
    proof = document.get("proof")
    if not set(document) <= _BUNDLE or not isinstance(proof, dict):
        raise VerifyError("E_FORMAT", "not a bundle of v, identifier, envelope and proof")
    if not set(proof) <= _BUNDLE_PROOF:
        raise VerifyError("E_FORMAT", "proof is not an object of chain, records and log")
    nearest = (document["envelope"],) if "envelope" in document else ()
    records = (*nearest, *strings(proof, "records"))
    if records and not nearest:
        raise VerifyError("E_FORMAT", "there are ancestors and no record that they are of")
    return Sent(read_identifier(document), records, strings(proof, "chain"), log=proof.get("log"))


def _check_members(sent: Sent, log: LogProof) -> None:
    if len(log.entries) != len(sent.records):
        raise VerifyError(
            "E_INCLUSION", f"{len(log.entries)} leaves stand for {len(sent.records)} records"
        )
    if log.issued is not None and not sent.records:
        raise VerifyError("E_FORMAT", "issued belongs to a record, and there is none")
    if not log.prefixes:
        raise VerifyError("E_MAP", "nothing proves the holder's delegation to be the newest")


# P2


@dataclass(frozen=True, slots=True)
class _Head:
    """A checkpoint, the known witnesses, and by and since when the quorum had seen it."""

    checkpoint: Checkpoint
    witnesses: tuple[str, ...] = ()
    first: int | None = None
    last: int | None = None


def _head(note: str, policy: LogPolicy | None) -> _Head:
    if policy is None:
        return _Head(Checkpoint.parse(split_note(note)[0]))
    checkpoint, cosignatures = _verified(
        note, policy.log.vkey, tuple(item.vkey for item in policy.witnesses)
    )
    times = sorted(item.time for item in cosignatures)
    check_quorum(times, policy.quorum)
    names = tuple(item.name for item in cosignatures)
    if not policy.quorum:
        return _Head(checkpoint, names, None, times[-1] if times else None)
    # As with the earliest, so with the latest: one dishonest witness cannot make it look fresh.
    return _Head(checkpoint, names, times[policy.quorum - 1], times[-policy.quorum])


@lru_cache(maxsize=64)
def _verified(
    note: str, log: str, witnesses: tuple[str, ...]
) -> tuple[Checkpoint, tuple[Cosignature, ...]]:
    # Many proofs come under one checkpoint. Only what verifies is remembered: the rest raises.
    return verify_note(note, NoteKey.parse(log), [NoteKey.parse(item) for item in witnesses])


def _issued(note: str, head: _Head, policy: LogPolicy | None) -> _Head:
    issued = _head(note, policy)
    older, newer = issued.checkpoint, head.checkpoint
    if older.origin != newer.origin:
        raise VerifyError("E_ORIGIN", "issued is a checkpoint of another log", value=older.origin)
    if older.size == newer.size and older.root != newer.root:
        raise VerifyError("E_FORK", "two roots of one size", value=(older.body, newer.body))
    if older.size > newer.size:
        raise VerifyError("E_FORMAT", "issued is later than the checkpoint", value=older.size)
    return issued


def consistent(
    older: str, newer: str, path: Sequence[bytes], policy: LogPolicy
) -> tuple[Checkpoint, Checkpoint]:
    """Check that a note, seen after another of the same log, extends it (RFC 9162 §2.1.4.2).

    Raise VerifyError: a narrower code where a note is not the log's, E_FORK where the log shrank,
    shows two roots of one size, or `path` does not join the two. The `value` of an E_FORK is the
    two notes as they were received, to be kept: with the log's signature on both they are the
    evidence.
    """
    before, _ = verify_note(older, policy.log, policy.witnesses)
    after, _ = verify_note(newer, policy.log, policy.witnesses)
    try:
        verify_consistency(before.size, after.size, path, before.root, after.root)
    except VerifyError as err:
        if err.code != "E_FORK":
            raise
        raise VerifyError("E_FORK", err.detail, value=(older, newer)) from None
    return before, after


# P3


def _check_epoch(log: LogProof, checkpoint: Checkpoint) -> Epoch:
    place, epoch = log.epoch, log.epoch.epoch
    if place.index != checkpoint.size - 1:
        raise VerifyError("E_MAP", "the epoch is not the last leaf of the log", value=place.index)
    # Nothing less: maps of a while ago under a checkpoint of today would look current.
    if epoch.size != place.index:
        raise VerifyError("E_MAP", "the maps do not cover all leaves before", value=epoch.size)
    try:
        leaf = leaf_hash(epoch.entry)
        verify_inclusion(leaf, place.index, checkpoint.size, place.path, checkpoint.root)
    except VerifyError as err:
        raise VerifyError("E_MAP", f"the epoch is not in the log: {err.detail}") from None
    return epoch


# P4


class _Known:
    """The chain that a document shows, and what the trust bundle knows beyond it."""

    def __init__(self, trust: Trust, offered: Runs, prefix: Prefix) -> None:
        self.shown = Trust(trust.root).chain(prefix, {**trust.delegations, **offered})
        self.newest = trust.chain(prefix, offered)
        self._trust = trust
        self._offered = offered
        self._chains = {prefix: self.newest}

    @property
    def outdated(self) -> bool:
        """Tell whether the trust bundle knows a newer delegation than the document shows."""
        return self.newest.tokens != self.shown.tokens

    def chain(self, prefix: Prefix) -> Chain:
        """Return the chain of a prefix of which the log says nothing here."""
        if prefix not in self._chains:
            self._chains[prefix] = self._trust.chain(prefix, self._offered)
        return self._chains[prefix]

    def check_revoked(self, envelope: Envelope, prefix: Prefix, index: int | None) -> None:
        """Refuse what a key signed from the leaf on from which the trust bundle has it revoked."""
        holder = next((item for item in self.newest.standing if item.subject == prefix), None)
        for kid in envelope.kids if holder else ():
            found = holder.revocation(kid) if holder else None
            if found is not None and (index is None or index >= found.since):
                raise VerifyError(
                    "E_REVOKED", f"a key of {prefix} was revoked from leaf {found.since} on"
                )


def _check_prefixes(
    chain: Chain, log: LogProof, epoch: Epoch, found: Findings
) -> dict[Prefix, int]:
    """Check the newest delegation of each prefix; return where their leaves are."""
    upward = [
        (item.subject, item.envelope)
        for item in reversed(chain.standing)
        if item.envelope is not None and not item.subject.is_root
    ]
    if len(log.prefixes) > len(upward):
        raise VerifyError("E_FORMAT", "more prefixes are proved than the chain has")
    placed: dict[Prefix, int] = {}
    for (prefix, envelope), item in zip(upward, log.prefixes, strict=False):
        bound = _commitment(prefix, item, None if placed else log.salt)
        value = verify_map(epoch.prefixes, prefix_key(str(prefix)), item.newest)
        if value is None or item.index >= epoch.size:
            raise VerifyError("E_MAP", f"the epoch has no delegation of {prefix}")
        if value == prefix_value(
            item.index, bound, b64decode(status_digest(envelope.digest, suspended=True))
        ):
            found.over("E_STATUS", f"{prefix} is suspended")
        elif value != prefix_value(item.index, bound, b64decode(envelope.digest)):
            raise VerifyError(
                "E_DOWNGRADE",
                f"this delegation of {prefix}, under this salt, is not the newest in the log",
                value=str(prefix),
            )
        placed[prefix] = item.index
    for prefix, _ in upward[len(log.prefixes) :]:
        found.untold(
            "E_STALE", f"nothing proves that {prefix} is still held like this", at_issue=False
        )
    return placed


def _commitment(prefix: Prefix, item: PrefixProof, salt: bytes | None) -> bytes:
    if salt is not None and item.commitment is None:
        return b64decode(commitment(salt, str(prefix)))
    if salt is None and item.commitment is not None:
        return item.commitment
    raise VerifyError("E_FORMAT", "the prefixes above the holder's have a commitment, no others")


# P5


@dataclass(frozen=True, slots=True)
class _Times:
    """By when the log had a record."""

    head: _Head
    issued: _Head

    def of(self, index: int) -> int | None:
        """Return the earliest time that is proved, None where the policy asks no quorum."""
        if self.covers(index) and self.issued.first is not None and self.head.first is not None:
            return min(self.issued.first, self.head.first)
        return self.head.first

    def covers(self, index: int) -> bool:
        """Tell whether the first checkpoint to cover the nearest record covers this leaf, too."""
        return index < self.issued.checkpoint.size


class _Speakers:
    """Checks who signed: records at the time the log had them, assertions at their own."""

    def __init__(
        self, log: LogProof, chain: Chain, known: _Known, times: _Times, found: Findings
    ) -> None:
        self.envelopes: list[Envelope] = []  # of the records, nearest first
        self.logged_by: int | None = None
        self._entries = log.entries
        self._chain = chain
        self._known = known
        self._times = times
        self._found = found

    def check(self, envelope: Envelope, prefix: Prefix, issued_at: int, kind: str | None) -> None:
        """Check one envelope; `parse_parts` calls it for the records first, in their order."""
        if envelope.typ == RECORD:
            self._check_record(envelope, prefix, issued_at, kind)
        else:
            self._check_assertion(envelope, prefix, issued_at)

    def _check_record(
        self, envelope: Envelope, prefix: Prefix, issued_at: int, kind: str | None
    ) -> None:
        place = self._entries[len(self.envelopes)].index
        proved = self._times.of(place)
        if not self.envelopes:
            self.logged_by = proved
        self.envelopes.append(envelope)
        self._check_later(envelope, prefix, place)
        at = issued_at if proved is None else proved
        try:
            self._chain.check_speaker(envelope, prefix, at, kind, index=place)
        except VerifyError as err:
            # Of an ancestor newer than `issued` nothing shows the first checkpoint to cover it,
            # so the time proved is a bound, and its key may have been good when it was logged.
            if self._times.covers(place) or err.code not in {"E_TIME", "E_CHAIN"}:
                raise
            self._chain.check_speaker(envelope, prefix, issued_at, kind, index=place)
            self._found.untold("E_TIME", f"an ancestor may have been logged too late, by {at}")

    def _check_later(self, envelope: Envelope, prefix: Prefix, place: int) -> None:
        # An old proof does not bring back a key of whose revocation the verifier has heard.
        if self._known.outdated:
            self._known.check_revoked(envelope, prefix, place)
            for item in self._chain.standing:
                if item.parent is not None and item.envelope is not None:
                    at = self._chain.indices.get(item.subject)
                    self._known.check_revoked(item.envelope, item.parent, at)

    def _check_assertion(self, envelope: Envelope, prefix: Prefix, issued_at: int) -> None:
        chain = self._known.chain(prefix)
        if chain.needs_index(envelope):
            # Nothing here says where in the log an assertion is: judge it as if it were early.
            early = dict.fromkeys((item.subject for item in chain.delegations), _EARLY)
            chain.logged(early).check_speaker(envelope, prefix, issued_at, index=_EARLY)
            self._found.untold("E_REVOKED", f"a key of {prefix} that asserts a link was revoked")
            return
        chain.check_speaker(envelope, prefix, issued_at)


def _read_parts(document: JsonObject, sent: Sent, speakers: _Speakers) -> Parts:
    parts = sent.parts(speakers.check)
    check_lineage(parts)
    if "v" not in document:
        check_view(document, compose(parts))
    return parts


def _view(document: JsonObject, parts: Parts | None) -> JsonObject:
    if parts is None:
        return {}
    view = compose(parts)
    if "v" in document:
        del view["links"]  # a bundle is of records, and says nothing of links
    return view


# P6 and P7


def _leaf(record: Record, envelope: Envelope, salt: bytes) -> bytes:
    about = commitment(salt, record.identifier.text)
    leaf = Leaf(What.RECORD, record.identifier.prefix, about, record.version, envelope.digest)
    return leaf_hash(leaf.entry)


def _check_leaves(
    parts: Parts, envelopes: Sequence[Envelope], log: LogProof, checkpoint: Checkpoint
) -> None:
    for record, envelope, entry in zip(parts.records, envelopes, log.entries, strict=True):
        if entry.index >= log.epoch.epoch.size:
            raise VerifyError("E_INCLUSION", "a record lies beyond what the epoch covers")
        leaf = _leaf(record, envelope, log.salt)
        verify_inclusion(leaf, entry.index, checkpoint.size, entry.path, checkpoint.root)
        _check_newest(record, envelope, entry, log)


def _check_newest(record: Record, envelope: Envelope, entry: EntryProof, log: LogProof) -> None:
    identifier, version = record.identifier, record.version
    key = b64decode(commitment(log.salt, identifier.text))
    value = verify_map(log.epoch.epoch.identifiers, key, entry.newest)
    if value == map_value(version, b64decode(envelope.digest)):
        return
    newest = None if value is None else int.from_bytes(value[:_VERSION_BYTES], "big")
    if newest is None or newest < version:
        raise VerifyError("E_MAP", f"the epoch has no version {version} of {identifier}")
    if newest > version:
        raise VerifyError("E_STALE", f"{identifier} has a newer version, {newest}", value=version)
    raise VerifyError("E_FORK", f"two records of {identifier} are version {version}")


def _check_issued(
    parts: Parts, envelopes: Sequence[Envelope], log: LogProof, checkpoint: Checkpoint
) -> None:
    if log.issued is not None:
        leaf = _leaf(parts.records[0], envelopes[0], log.salt)
        at = log.entries[0].index
        verify_inclusion(leaf, at, checkpoint.size, log.issued.path, checkpoint.root)


def _check_absent(identifier: Identifier, parts: Parts | None, log: LogProof) -> None:
    own = parts is not None and not parts.covered
    if own and log.absent is not None:
        raise VerifyError("E_FORMAT", "absent is for identifiers without a record of their own")
    if own:
        return
    if log.absent is None:
        raise VerifyError("E_MAP", f"nothing proves that {identifier} has no record of its own")
    key = b64decode(commitment(log.salt, identifier.text))
    if verify_map(log.epoch.epoch.identifiers, key, log.absent) is not None:
        raise VerifyError("E_MAP", f"{identifier} has a record of its own")


# P8


def _check_fresh(head: _Head, policy: LogPolicy | None, now: int, found: Findings) -> None:
    if policy is None:
        found.untold(
            "E_CHECKPOINT", "the trust bundle names no log, so nobody vouches for the checkpoint"
        )
        return
    if head.first is not None and head.first > now + CLOCK_SKEW:
        found.untold("E_FRESH", f"the checkpoint is of {head.first}, later than {now}")
    elif head.last is not None and head.last > now + CLOCK_SKEW:
        found.untold("E_FRESH", f"a cosignature is later than {now}", at_issue=False)
    if policy.max_age is None:
        return
    if head.last is None:
        found.untold("E_FRESH", "no witness says how old the checkpoint is", at_issue=False)
    elif head.last < now - policy.max_age:
        age = now - head.last
        found.untold(
            "E_FRESH",
            f"the checkpoint is {age} s old, and over {policy.max_age} s nothing is current",
            at_issue=False,
        )


def _check_validity(parts: Parts | None, known: _Known, now: int, found: Findings) -> None:
    if known.outdated:
        found.untold(
            "E_STALE", "the trust bundle knows a delegation newer than the epoch", at_issue=False
        )
    if parts is not None:
        first = parts.records[0]
        if not within(now, first.valid_from, first.valid_until):
            found.over("E_TIME", f"{first.identifier} is not valid at {now}")
    for code in known.newest.current(now):
        found.over(code, f"a delegation of {known.newest.holder.subject} is not valid at {now}")


def check_succession(older: object, newer: object) -> None:
    """Check that one version of a record follows another by `ver` and `prev`; raise VerifyError.

    Signatures are not checked here. E_ID where they are of two identifiers, E_STALE where the
    second is the earlier version, E_FORK where it is another of the same number or follows another.
    """
    (before, first), (after, then) = parse_record(older), parse_record(newer)
    if first.identifier != then.identifier:
        raise VerifyError("E_ID", f"{then.identifier} is not {first.identifier}")
    if then.version < first.version:
        raise VerifyError("E_STALE", f"version {then.version} comes before {first.version}")
    if then.version != first.version + 1 or then.prev != before.digest:
        raise VerifyError(
            "E_FORK",
            f"version {then.version} does not follow this version {first.version}",
            value=after.digest,
        )
