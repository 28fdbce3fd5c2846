"""A transparency log in memory: leaves, both maps, epochs, checkpoints, and the proofs of it all.

Small and slow on purpose: it is what the formats say, written down once more, with real keys of
a log and three witnesses. `golden()` is the log that the vectors and most tests are about.
"""

import json
from dataclasses import dataclass

from schemas import canonical, merkle
from schemas.chain import Trust, trust_document
from schemas.checkpoint import COSIGNATURE, SIGNED_NOTE, Checkpoint, NoteKey, cosign, sign_note
from schemas.delegation import parse_delegation
from schemas.evidence import EntryProof, EpochProof, IssuedProof, LogProof, PrefixProof
from schemas.identifier import Identifier
from schemas.keys import b64decode, sha256
from schemas.leaf import Epoch, Leaf, What, commitment, status_digest
from schemas.policy import LogPolicy
from schemas.proof import judge
from schemas.record import parse_record
from schemas.target import Target
from schemas.verdict import VALID
from schemas.verifiable_map import VerifiableMap, map_value, prefix_key, prefix_value
from tests import parties
from tests.parties import GEAR, GEAR_TOKEN, INDUSTRY_TOKEN, ISSUED, NOW, ROOT_TOKEN, key
from tests.trees import Leaves

ORIGIN = "registry.example/tierlink/golden"
LOG_KEY = key("log")
WITNESS_KEYS = tuple(key(f"witness {number}") for number in range(3))
LOG = NoteKey(ORIGIN, SIGNED_NOTE, LOG_KEY.public)
WITNESSES = tuple(
    NoteKey(f"w{number}.example", COSIGNATURE, signer.public)
    for number, signer in enumerate(WITNESS_KEYS)
)
POLICY = LogPolicy(LOG, WITNESSES, quorum=2, max_age=600)
FILLERS = 20  # leaves of others, so that trees and maps have some depth


def salt(prefix):
    """The salt of a prefix, the same in every run."""
    return sha256(f"salt of {prefix}".encode())


def cosigned(checkpoint, *times):
    """A note by the log and by as many witnesses as there are times, in order."""
    note = sign_note(checkpoint, checkpoint.origin, LOG_KEY)
    for witness, signer, time in zip(WITNESSES, WITNESS_KEYS, times, strict=False):
        note += cosign(checkpoint.body, witness.name, signer, time)
    return note


@dataclass(frozen=True)
class Published:
    """A checkpoint with its epoch, and the maps as they were then."""

    note: str
    size: int
    epoch: Epoch
    identifiers: VerifiableMap
    prefixes: VerifiableMap


class Logbook:
    """Everything that was accepted, in order."""

    def __init__(self, origin=ORIGIN):
        self.origin = origin
        self.entries = []
        self.published = []
        self._identifiers = {}
        self._prefixes = {}
        self._index = {}

    # leaves

    def _append(self, leaf):
        self.entries.append(leaf.entry)
        return len(self.entries) - 1

    def delegate(self, token):
        """Log a delegation; return its index."""
        envelope, delegation = parse_delegation(token)
        return self._prefix(What.DELEGATION, delegation, envelope.digest)

    def suspend(self, token):
        """Log that the prefix of this delegation is suspended."""
        envelope, delegation = parse_delegation(token)
        return self._prefix(What.STATUS, delegation, status_digest(envelope.digest, suspended=True))

    def resume(self, token):
        """Log that the prefix of this delegation is no longer suspended."""
        envelope, delegation = parse_delegation(token)
        return self._prefix(What.STATUS, delegation, envelope.digest)

    def _prefix(self, what, delegation, digest):
        prefix = delegation.subject
        about = commitment(salt(prefix), str(prefix))
        index = self._append(Leaf(what, prefix, about, delegation.sequence, digest))
        value = prefix_value(index, b64decode(about), b64decode(digest))
        self._prefixes[prefix_key(str(prefix))] = value
        return index

    def record(self, token):
        """Log a record; return its index."""
        envelope, record = parse_record(token)
        return self.fill(record.identifier, record.version, envelope.digest)

    def fill(self, identifier, version, digest, what=What.RECORD):
        """Log a record of which nothing but this is known."""
        about = commitment(salt(identifier.prefix), identifier.text)
        index = self._append(Leaf(what, identifier.prefix, about, version, digest))
        self._identifiers[b64decode(about)] = map_value(version, b64decode(digest))
        self._index[digest] = index
        return index

    def publish(self, *times, origin=None):
        """Append an epoch and publish a checkpoint that witnesses cosigned at these times."""
        identifiers = VerifiableMap(list(self._identifiers.items()))
        prefixes = VerifiableMap(list(self._prefixes.items()))
        size = len(self.entries)
        epoch = Epoch(len(self.published) + 1, size, identifiers.root, prefixes.root)
        self._append(epoch)
        note = cosigned(self.checkpoint(), *times)
        found = Published(note, size + 1, epoch, identifiers, prefixes)
        self.published.append(found)
        return found

    def checkpoint(self, size=None):
        """The head of the tree of `size` leaves, by default of all."""
        size = len(self.entries) if size is None else size
        return Checkpoint(self.origin, size, merkle.root_of(size, Leaves(entries=self.entries)))

    def consistency(self, old, new):
        """The proof that one tree extends another."""
        return merkle.consistency_proof(old, new, Leaves(entries=self.entries))

    # proofs

    def path(self, index, size):
        """The audit path of a leaf."""
        return merkle.inclusion_proof(index, size, Leaves(entries=self.entries))

    def log_proof(self, about, records=(), chain=(), *, at=None, issued=None):
        """What the log says of an identifier; records nearest first, chain root-most first.

        `at` is the publication to prove by, the newest by default; `issued` the first one that
        covers the nearest record, left out where None.
        """
        at = at or self.published[-1]
        about = about if isinstance(about, Identifier) else Identifier.parse(about)
        parsed = [parse_record(token) for token in records]
        own = bool(parsed) and parsed[0][1].identifier == about
        place = EpochProof(at.epoch, at.size - 1, self.path(at.size - 1, at.size))
        holder = about.prefix
        entries = tuple(self._entry(envelope, record, at) for envelope, record in parsed)
        return LogProof(
            at.note,
            place,
            entries,
            tuple(self.prefixes(holder, chain, at)),
            salt(holder),
            None if own else at.identifiers.prove(_key(about)),
            issued and IssuedProof(issued.note, self.path(entries[0].index, issued.size)),
        )

    def _entry(self, envelope, record, at):
        index = self._index[envelope.digest]
        newest = at.identifiers.prove(_key(record.identifier))
        return EntryProof(index, self.path(index, at.size), newest)

    def prefixes(self, holder, chain, at):
        """The proofs of the prefixes of a chain, the holder's first."""
        subjects = dict.fromkeys(parse_delegation(token)[1].subject for token in reversed(chain))
        for prefix in subjects:
            proof = at.prefixes.prove(prefix_key(str(prefix)))
            index = int.from_bytes(proof.terminal[1][:8], "big")
            bound = b64decode(commitment(salt(prefix), str(prefix)))
            yield PrefixProof(index, proof, None if prefix == holder else bound)

    def bundle(self, about, records=(), chain=(), **options):
        """The bundle of an identifier, as JSON."""
        log = self.log_proof(about, records, chain, **options)
        bundle = {"v": 1, "identifier": str(about)}
        if records:
            bundle["envelope"] = records[0]
        bundle["proof"] = {
            "chain": list(chain),
            "records": list(records[1:]),
            "log": log.to_json(),
        }
        return bundle

    def full(self, answer, **options):
        """An answer with what the log says of it."""
        records = [answer["envelope"], *answer["proof"]["records"]]
        chain = own_chain(answer["identifier"], answer["proof"]["chain"])
        log = self.log_proof(answer["identifier"], records, chain, **options)
        return answer | {"proof": answer["proof"] | {"log": log.to_json()}}


def _key(identifier):
    return b64decode(commitment(salt(identifier.prefix), identifier.text))


def own_chain(about, tokens):
    """Those delegations that lead to the prefix of an identifier."""
    holder = Identifier.parse(about).prefix
    return [token for token in tokens if parse_delegation(token)[1].subject.covers(holder)]


def trust(policy=POLICY, delegations=(), roots=(ROOT_TOKEN,)):
    """The trust bundle of a verifier of this log."""
    return Trust.parse(canonical.encode(trust_document(roots, delegations, policy)))


def fillers(book, prefix="88.100", count=FILLERS):
    """Log records that nothing else here is about."""
    for number in range(count):
        about = Identifier.parse(f"{prefix}/FILL-{number}")
        book.fill(about, 1, commitment(b"", about.text))


# The golden log: a shaft that says where its data is, in a log of some others.

SHAFT = parties.record(
    "88.100/SHAFT-7",
    targets=(Target("gs1:pip", "https://gear.example/shaft/7"),),
    attributes={"steel": "42CrMo4"},
)
SHAFT_TOKEN = SHAFT.sign(GEAR)
CHAIN = (INDUSTRY_TOKEN, GEAR_TOKEN)
LOGGED = ISSUED + 10  # when witnesses first saw the shaft


@dataclass(frozen=True)
class Golden:
    """The golden log, what it published first with the shaft in it, and what it published last."""

    book: Logbook
    first: Published
    last: Published

    def bundle(self, **options):
        """The bundle of the shaft."""
        return self.book.bundle(
            SHAFT.identifier.text, (SHAFT_TOKEN,), CHAIN, **{"issued": self.first} | options
        )

    def absent(self, about="88.100/NOTHING"):
        """The bundle that nothing is registered."""
        return self.book.bundle(about, (), CHAIN)


def golden():
    """Build the golden log anew."""
    book = Logbook()
    for token in parties.DELEGATIONS:
        book.delegate(token)
    fillers(book)
    book.record(SHAFT_TOKEN)
    book.record(parties.GEAR_CLASS.sign(GEAR))
    first = book.publish(LOGGED, LOGGED + 1)
    book.record(parties.GEAR_ITEM.sign(GEAR))
    fillers(book, "88.101", 8)
    last = book.publish(NOW - 2, NOW - 1)
    return Golden(book, first, last)


def spelled(document):
    """The bytes that travel."""
    return canonical.encode(document)


def edited(document, at, value=None):
    """A copy of a document with the member at a dotted path set, or removed where None."""
    copied = json.loads(json.dumps(document))
    *way, last = (int(step) if step.isdigit() else step for step in at.split("."))
    inner = copied
    for step in way:
        inner = inner[step]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return copied


def code(document, now=NOW, known=None):
    """The first code of the verdict on a document as it travels, None where it is valid."""
    raw = document if isinstance(document, bytes) else spelled(document)
    found = judge(raw, known or trust(), now)
    assert (found.state == VALID) is (found.codes == ())
    return found.codes[0].code if found.codes else None
