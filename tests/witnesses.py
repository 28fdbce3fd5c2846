"""A log that grows, or lies, and witnesses of it: in this process or in ones of their own.

log = Growing()
log.note(7)                         the signed checkpoint of its first seven leaves
log.submission(3, 7)                the body that asks a witness to go from 3 to 7
FORK                                the same log, its key and origin, with other leaves
"""

import os
import sys
from contextlib import contextmanager

from schemas.checkpoint import SIGNED_NOTE, Checkpoint, NoteKey, sign_note, verify_note
from schemas.merkle import EMPTY_ROOT, consistency_proof
from schemas.submission import Submission
from tests.parties import ROOT
from tests.servers import accepts, free_port, running
from tests.trees import Leaves

ORIGIN = "log.example/tierlink"
LOG = NoteKey(ORIGIN, SIGNED_NOTE, ROOT.public)


class Growing:
    """A log of `size` leaves, each checkpoint of which can be asked for."""

    def __init__(self, size=64, *, leaf="leaf", origin=ORIGIN, signer=ROOT):
        self.tree = Leaves(entries=[f"{leaf} {n}".encode() for n in range(size)])
        self.size = size
        self.origin = origin
        self.signer = signer

    def head(self, size):
        root = self.tree.root(0, size) if size else EMPTY_ROOT
        return Checkpoint(self.origin, size, root)

    def note(self, size):
        return sign_note(self.head(size), self.origin, self.signer)

    def proof(self, old, new):
        return consistency_proof(old, new, self.tree) if old <= new else ()

    def submission(self, old, new):
        return Submission(old, self.proof(old, new), self.note(new)).encode()


FORK = Growing(128, leaf="other")


def cosigned(note, lines, witness):
    """The checkpoint and the cosignature that `witness` gave, both verified."""
    checkpoint, (cosignature,) = verify_note(note + lines, LOG, [witness])
    return checkpoint, cosignature


class Process:
    """A witness as its operator runs it; its folder outlives it."""

    def __init__(self, folder, name="witness.example", logs=LOG.vkey):
        self.folder = folder
        self.name = name
        self.logs = logs
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    @contextmanager
    def running(self, **settings):
        """Run it until the block ends."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("TIERLINK_")} | {
            "TIERLINK_PORT": str(self.port),
            "TIERLINK_WITNESS_NAME": self.name,
            "TIERLINK_WITNESS_DIR": str(self.folder),
            "TIERLINK_WITNESS_LOGS": self.logs,
            "TIERLINK_WITNESS_VKEY_FILE": str(self.vkey_file),
            **settings,
        }
        command = [sys.executable, "-m", "tierlink", "witness"]
        with running(command, ready=lambda: accepts(self.port), env=environment) as process:
            yield process

    @property
    def vkey_file(self):
        return self.folder.with_suffix(".vkey")

    @property
    def key(self):
        return NoteKey.parse(self.vkey_file.read_text().strip())
