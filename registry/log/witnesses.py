"""The witnesses of the log: all asked at once for their cosignatures (C2SP tlog-witness).

No witness is trusted with anything but its own signature. One that is away, stalls, floods, sends
another's words or claims what is not so costs the round at most `GRACE` once the quorum has
answered, `PATIENCE` otherwise, and is told of in the service's log. A request that outlives its
round goes on by itself, so that what the witness holds is learnt; until it ends, that witness is
not asked again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias

import httpx

from schemas.checkpoint import COSIGNATURE, Checkpoint, NoteKey, split_note, verify_note
from schemas.errors import BadInput, TierlinkError, VerifyError
from schemas.policy import MAX_WITNESSES
from schemas.submission import SIZE_TYPE, Submission, parse_size

PATIENCE = 2.0  # seconds for a witness to answer a round
GRACE = 0.1  # seconds for the others once the quorum has answered
REQUEST_SECONDS = 5.0  # for one request, from its connection to its last byte
MAX_ANSWER = 16 * 1024  # bytes
MAX_LINES = 16  # signature lines of an answer that are looked at
CLOCK_SKEW = 300  # seconds between its clock and ours that a witness may be off

Prove: TypeAlias = "Callable[[int, int], Awaitable[tuple[bytes, ...]]]"
"""(old, new) -> the consistency proof between two sizes of the log."""

_PLAIN = {"accept-encoding": "identity"}  # what is counted is what was sent

_log = logging.getLogger("tierlink.log.witnesses")


@dataclass(frozen=True, slots=True)
class Member:
    """A witness: where it is asked, and the key of its cosignatures."""

    url: str
    key: NoteKey

    @property
    def kid(self) -> str:
        """What tells it from the others."""
        return self.key.key.kid


def parse_members(text: str) -> tuple[Member, ...]:
    """Read the setting: `<url> <vkey>` of each, separated by commas or line ends; raise BadInput.

    In place of a key, `@<path>` names a file that holds it.
    """
    members = []
    for item in re.split(r"[,\n]", text):
        words = item.split()
        if not words:
            continue
        if len(words) != 2 or not words[0].startswith(("http://", "https://")):  # noqa: PLR2004
            raise BadInput("a witness is `<url> <vkey>`", value=item.strip())
        members.append(Member(words[0].rstrip("/"), _key(words[1])))
    if len(members) > MAX_WITNESSES:
        raise BadInput(f"a log has at most {MAX_WITNESSES} witnesses", value=len(members))
    if len({member.kid for member in members}) != len(members):
        raise BadInput("two witnesses share one key", fix="each counts once: leave one out")
    return tuple(members)


def _key(text: str) -> NoteKey:
    vkey = text
    if text.startswith("@"):
        try:
            vkey = Path(text[1:]).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as err:
            raise BadInput(
                f"the key of a witness cannot be read: {err}",
                value=text[1:],
                fix="start the witness first: it writes TIERLINK_WITNESS_VKEY_FILE",
            ) from err
    try:
        key = NoteKey.parse(vkey)
    except VerifyError as err:
        raise BadInput(err.detail, value=vkey) from None
    if key.kind != COSIGNATURE:
        raise BadInput("this is the key of a log, not of a witness", value=vkey)
    return key


class Misbehaviour(TierlinkError):
    """A witness answered what it should not have."""

    code = "witness_misbehaves"
    title = "Witness misbehaves"


class Witnesses:
    """Asks the witnesses of one log. Owned by the sequencer's task; close it when that ends."""

    def __init__(
        self,
        members: Iterable[Member],
        log: NoteKey,
        prove: Prove,
        clock: Callable[[], int],
        *,
        quorum: int,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Name the witnesses, the log's own key and how many of them suffice.

        `prove` is asked when a witness turns out to hold another size than was thought.
        """
        self.members = tuple(members)
        self.quorum = quorum
        self._log_key = log
        self._prove = prove
        self._clock = clock
        self._http = httpx.AsyncClient(
            transport=transport,
            timeout=REQUEST_SECONDS,
            follow_redirects=False,
            trust_env=False,
            limits=httpx.Limits(max_connections=2 * len(self.members) or 1),
        )
        self._held: dict[str, int] = {}  # the size that each is known to hold
        self._asked: dict[str, asyncio.Task[str]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Give up what is under way."""
        for task in self._asked.values():
            task.cancel()
        await asyncio.gather(*self._asked.values(), return_exceptions=True)
        await self._http.aclose()

    async def cosign(self, note: str, old_size: int, proof: tuple[bytes, ...]) -> list[str]:
        """Return the verified cosignature lines, one a witness, in the order of the members.

        `proof` leads from `old_size` to the size of the note; a witness that is known to hold
        another size gets its own. Never raises for what witnesses do, and never waits longer
        than PATIENCE.
        """
        # 1. Ask whoever is not still busy with an earlier round
        new = Checkpoint.parse(split_note(note)[0])
        round_ = _Round(note, new, {old_size: proof})
        asked = {
            member.kid: asyncio.create_task(self._ask(member, round_))
            for member in self.members
            if not self._busy(member.kid)
        }
        for kid, task in asked.items():
            self._asked[kid] = task
            task.add_done_callback(partial(self._finished, kid))
        # 2. Wait for the quorum, and a little for the others
        await _enough(asked.values(), self.quorum)
        # 3. Take what was verified by now
        return [line for task in asked.values() if (line := _line(task))]

    def _busy(self, kid: str) -> bool:
        # What is done may not have been taken off yet: its callback comes a turn of the loop later.
        task = self._asked.get(kid)
        return task is not None and not task.done()

    def _finished(self, kid: str, task: asyncio.Task[str]) -> None:
        if self._asked.get(kid) is task:
            del self._asked[kid]
        if not task.cancelled() and (err := task.exception()) is not None:
            _log.error("a witness could not be asked", exc_info=err)

    async def _ask(self, member: Member, round_: _Round) -> str:
        """Return the cosignature line of a witness, empty where it gave none."""
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                return await self._converse(member, round_)
        except TimeoutError:
            why = f"no answer within {REQUEST_SECONDS:g} s"
        except httpx.HTTPError as err:
            why = str(err) or type(err).__name__
        except TierlinkError as err:
            why = err.detail
        _log.warning("witness %s at %s: %s", member.key.name, member.url, why)
        return ""

    async def _converse(self, member: Member, round_: _Round) -> str:
        new = round_.checkpoint
        old = min(self._held.get(member.kid, round_.first), new.size)
        # 1. Submit with the size that it is thought to hold
        status, body = await self._submit(member, round_, old)
        if status == httpx.codes.CONFLICT:
            # 2. It holds another one: once more with a proof from there
            told = parse_size(body)
            if told == old:
                raise Misbehaviour(f"it holds another tree of size {told}: fork, or a lie")
            if told > new.size:
                raise Misbehaviour(f"it holds size {told}, beyond the log's {new.size}")
            status, body = await self._submit(member, round_, told)
        if status != httpx.codes.OK:
            self._held.pop(member.kid, None)  # whatever was known of it may be wrong
            raise Misbehaviour(f"it answered {status}")
        # 3. Believe nothing but its signature
        line = self._verified(member, round_.note, body)
        self._held[member.kid] = new.size
        return line

    async def _submit(self, member: Member, round_: _Round, old: int) -> tuple[int, bytes]:
        if old not in round_.proofs:
            round_.proofs[old] = await self._prove(old, round_.checkpoint.size)
        submission = Submission(old, round_.proofs[old], round_.note)
        async with self._http.stream(
            "POST", f"{member.url}/add-checkpoint", content=submission.encode(), headers=_PLAIN
        ) as response:
            body = b""
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > MAX_ANSWER:
                    raise Misbehaviour(f"its answer is over {MAX_ANSWER} bytes")
            kind = response.headers.get("content-type", "").partition(";")[0]
            if response.status_code == httpx.codes.CONFLICT and kind != SIZE_TYPE:
                raise Misbehaviour("its 409 tells no size")
            return response.status_code, body

    def _verified(self, member: Member, note: str, body: bytes) -> str:
        """Return the first line that is a timely cosignature of this witness."""
        try:
            lines = body.decode().split("\n")[:MAX_LINES]
        except UnicodeDecodeError:
            raise Misbehaviour("its answer is not UTF-8") from None
        for line in lines:
            signed = f"{note}{line}\n"
            with contextlib.suppress(VerifyError):
                _, cosignatures = verify_note(signed, self._log_key, [member.key])
                if any(abs(item.time - self._clock()) <= CLOCK_SKEW for item in cosignatures):
                    return f"{line}\n"
        raise Misbehaviour("its answer holds no timely cosignature of the checkpoint")


@dataclass(frozen=True, slots=True)
class _Round:
    """One checkpoint on its way to the witnesses, and the proofs made for it."""

    note: str
    checkpoint: Checkpoint
    proofs: dict[int, tuple[bytes, ...]]

    @property
    def first(self) -> int:
        return next(iter(self.proofs))


async def _enough(tasks: Iterable[asyncio.Task[str]], quorum: int) -> None:
    """Wait until all tasks are done, or `GRACE` longer than `quorum` of them have succeeded."""
    now = asyncio.get_running_loop().time
    pending, gave = set(tasks), 0
    end = now() + (PATIENCE if quorum else GRACE)
    while pending and (left := end - now()) > 0:
        done, pending = await asyncio.wait(
            pending, timeout=left, return_when=asyncio.FIRST_COMPLETED
        )
        gave += sum(1 for task in done if _line(task))
        if gave >= quorum:
            end = min(end, now() + GRACE)


def _line(task: asyncio.Task[str]) -> str:
    """Return what a task found, empty where it is not done or failed."""
    gone = not task.done() or task.cancelled() or task.exception() is not None
    return "" if gone else task.result()
