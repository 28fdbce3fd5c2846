"""What a witness decides (C2SP tlog-witness, add-checkpoint), step by step.

    1. the submission is well formed, and so are its note and checkpoint      400
    2. the origin is one that is followed                                     404
    3. a known key of that origin signed the note                             403
    4. the old size is not above the new one                                  400
    5. the old size is the one held here                                      409 with that size
    6. at the same size the root is the same                                  409, and evidence
    7. the proof joins the two trees                                          422, and evidence
    8. the checkpoint is durable
    9. then, and only then, it is cosigned

Steps 5 to 8 are one turn at the origin: of two that came together one is first, and the other
meets what it left. A cosignature says only what has been written down, so a witness that is
killed between 8 and 9 has promised nothing that it does not remember.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from schemas.checkpoint import COSIGNATURE, Checkpoint, NoteKey, cosign, split_note, verify_note
from schemas.errors import BadInput, Conflict, Forbidden, NotFound, TierlinkError, VerifyError
from schemas.keys import ED25519, Signer
from schemas.merkle import EMPTY_ROOT, verify_consistency
from schemas.submission import Submission

from .follow import Followed
from .ledger import Ledger


class UnknownOrigin(NotFound):
    """A checkpoint of a log that is not followed here."""

    code = "origin_unknown"
    title = "Unknown origin"


class NotSigned(Forbidden):
    """No known key of the log signed the checkpoint."""

    code = "checkpoint_unsigned"
    title = "Not signed by the log"


class OtherSize(Conflict):
    """The witness holds another checkpoint than the submission starts from: of size `size`."""

    code = "size_differs"
    title = "Another size is held"

    def __init__(self, detail: str, size: int) -> None:
        """Say which size is held."""
        super().__init__(detail, value=size, fix="send a proof from that size")
        self.size = size


class NotConsistent(TierlinkError):
    """The proof does not show that the new tree extends the one that is held."""

    code = "proof_invalid"
    status: ClassVar[int] = 422  # the status that the protocol names
    title = "Consistency proof invalid"


class Witness:
    """Cosigns checkpoints of the logs it follows. May be called from any thread."""

    def __init__(
        self, name: str, signer: Signer, logs: Followed, ledger: Ledger, clock: Callable[[], int]
    ) -> None:
        """Join the parts; raise BadInput where name or key are none that a cosignature can have."""
        if signer.public.alg != ED25519:
            raise BadInput("a witness signs with Ed25519", value=signer.public.alg)
        self.key = NoteKey(name, COSIGNATURE, signer.public)
        try:
            NoteKey.parse(self.key.vkey)
        except VerifyError:
            raise BadInput(
                "the name of a witness is printable ASCII without space and +",
                value=name,
                fix="set TIERLINK_WITNESS_NAME, such as witness.example.com",
            ) from None
        self._signer = signer
        self._logs = logs
        self._ledger = ledger
        self._clock = clock

    def held(self) -> list[tuple[str, Checkpoint | None]]:
        """Return each origin that is followed, with the newest checkpoint cosigned of it."""
        found = []
        for origin in self._logs.origins():
            with self._ledger.turn(origin):
                found.append((origin, self._ledger.newest(origin)))
        return found

    def add_checkpoint(self, body: bytes) -> str:
        """Return the cosignature line for a submission, or raise what became of it."""
        # 1. The form
        asked = Submission.parse(body)
        checkpoint = Checkpoint.parse(split_note(asked.note)[0])
        # 2. Whose it is
        keys = self._logs.keys(checkpoint.origin)
        if not keys:
            raise UnknownOrigin("this log is not followed here", value=checkpoint.origin)
        # 3. Who signed it
        _signed(asked.note, keys)
        # 4.
        if asked.old > checkpoint.size:
            raise BadInput("the old size is above the new one", value=asked.old)
        # 5. to 8.
        with self._ledger.turn(checkpoint.origin):
            self._advance(asked, checkpoint)
        # 9.
        return cosign(checkpoint.body, self.key.name, self._signer, self._clock())

    def _advance(self, asked: Submission, new: Checkpoint) -> None:
        held = self._ledger.newest(new.origin)
        size, root = (0, EMPTY_ROOT) if held is None else (held.size, held.root)
        # 6., looked at first: two roots of one size are evidence whatever the old size says
        if new.size == size and new.root != root:
            self._contradicted("fork", asked.note, held)
            raise OtherSize("another root of this size is held", size)
        # 5.
        if asked.old != size:
            raise OtherSize(f"a checkpoint of size {size} is held", size)
        # 7.
        try:
            verify_consistency(size, new.size, asked.proof, root, new.root)
        except VerifyError as err:
            self._contradicted("unproven", asked.note, held)
            raise NotConsistent(err.detail) from None
        # 8.
        if held is None or new.size > size:
            self._ledger.keep(new, asked.note)

    def _contradicted(self, kind: str, note: str, held: Checkpoint | None) -> None:
        if held is not None:
            self._ledger.accuse(kind, held.origin, note)


def _signed(note: str, keys: Sequence[NoteKey]) -> None:
    """Check that one of the keys signed and that no signature of any of them fails."""
    reason = ""
    for key in keys:
        try:
            verify_note(note, key, keys)
        except VerifyError as err:
            reason = err.detail
        else:
            return
    raise NotSigned(reason)
