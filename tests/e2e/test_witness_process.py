"""Witnesses as processes of their own, killed and started again, and asked by a log's client."""

import asyncio
import contextlib
import os
import random
import re
import signal
import stat
import subprocess
import sys
import threading
import time

import httpx
import pytest

from registry.log.witnesses import GRACE, PATIENCE, Member, Witnesses, parse_members
from schemas.checkpoint import COSIGNATURE, NoteKey, cosign, verify_note
from schemas.errors import BadInput
from schemas.submission import parse_size
from tests.parties import GEAR, STEEL, STRANGER
from tests.witnesses import FORK, LOG, Growing, Process, cosigned

GROWING = Growing(400)


def now():
    return int(time.time())


def send(url, body):
    return httpx.post(f"{url}/add-checkpoint", content=body, trust_env=False, timeout=10)


def test_the_command(tmp_path):
    process = Process(tmp_path / "w")
    with process.running():
        about = httpx.get(process.url, trust_env=False).json()
        assert about["vkey"] == process.key.vkey
        answer = send(process.url, GROWING.submission(0, 7))
        assert answer.status_code == 200
        cosigned(GROWING.note(7), answer.text, process.key)
        # only one process may hold the folder
        second = subprocess.run(
            [sys.executable, "-m", "tierlink", "witness"],
            env={
                **os.environ,
                "TIERLINK_WITNESS_NAME": "x",
                "TIERLINK_WITNESS_DIR": tmp_path / "w",
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        assert second.returncode == 1
        assert "another witness runs" in second.stderr
    key = tmp_path / "w" / "witness.pem"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    before = process.key
    with process.running():  # the same key, and what it held
        assert process.key == before
        assert parse_size(send(process.url, GROWING.submission(0, 9)).content) == 7


def test_an_encrypted_key(tmp_path):
    process = Process(tmp_path / "w")
    with process.running(TIERLINK_KEY_PASSPHRASE="correct horse"):
        before = process.key
    assert b"ENCRYPTED" in (tmp_path / "w" / "witness.pem").read_bytes()
    with process.running(TIERLINK_KEY_PASSPHRASE="correct horse"):
        assert process.key == before


def test_settings_that_are_amiss(tmp_path):
    for settings, said in [
        ({}, "TIERLINK_WITNESS_NAME"),
        ({"TIERLINK_WITNESS_NAME": "a b"}, "TIERLINK_WITNESS_NAME"),
        ({"TIERLINK_WITNESS_NAME": "w", "TIERLINK_WITNESS_LOGS": "x"}, "not the key of a log"),
    ]:
        ran = subprocess.run(
            [sys.executable, "-m", "tierlink", "witness"],
            env={"PATH": os.environ["PATH"], "TIERLINK_WITNESS_DIR": str(tmp_path), **settings},
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        assert ran.returncode == 1
        assert said in ran.stderr, ran.stderr


def test_killed_at_any_moment_it_never_signs_backwards(tmp_path):
    process, chance, promised = Process(tmp_path / "w"), random.Random(7), 0
    for _ in range(6):
        with process.running() as running:
            (log,) = httpx.get(process.url, trust_env=False).json()["logs"]
            held = log["size"]
            assert held >= promised  # what it signed, it remembers
            if held:
                assert send(process.url, FORK.submission(held, held)).status_code == 409
                assert send(process.url, GROWING.submission(held, held)).status_code == 200
            killer = threading.Timer(chance.uniform(0.005, 0.4), running.kill)
            killer.start()
            with contextlib.suppress(httpx.HTTPError):
                while held < GROWING.size:
                    answer = send(process.url, GROWING.submission(held, held + 1))
                    assert answer.status_code == 200
                    held = promised = held + 1
            killer.join()
            assert running.wait(5) == -signal.SIGKILL
    assert promised


# The client


class Liar:
    """A server that reads a request and then does what `act` does; it counts who came."""

    def __init__(self, act):
        self.act = act
        self.bodies = []
        self.connections = set()

    async def __aenter__(self):
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_):
        self.server.close()
        for task in self.connections:
            task.cancel()
        await asyncio.gather(*self.connections)

    async def _serve(self, reader, writer):
        self.connections.add(asyncio.current_task())
        gone = (OSError, asyncio.IncompleteReadError, asyncio.CancelledError)
        with contextlib.closing(writer), contextlib.suppress(*gone):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                (length,) = re.findall(rb"content-length: (\d+)", head.lower())
                body = await reader.readexactly(int(length))
                self.bodies.append(body)
                await self.act(writer, body.decode().partition("\n\n")[2])
                await writer.drain()


def answers(status, body, kind="text/plain", more=""):
    """Act: the same answer every time; `body` may be made from the note."""

    async def act(writer, note):
        sent = body(note) if callable(body) else body
        sent = sent.encode() if isinstance(sent, str) else sent
        head = f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\n{more}"
        writer.write(f"{head}content-length: {len(sent)}\r\n\r\n".encode() + sent)

    return act


async def stalls(writer, note):
    await asyncio.sleep(60)


async def drips(writer, note):
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10000\r\n\r\n")
    for _ in range(600):
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.1)


async def floods(writer, note):
    writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")
    for _ in range(2000):
        writer.write(b"x" * 65536)
        await writer.drain()


async def hangs_up(writer, note):
    writer.close()


def body_of(note):
    return note.partition("\n\n")[0] + "\n"


def by(signer, name="liar.example", *, late=0, head=None):
    return lambda note: cosign(head or body_of(note), name, signer, now() + late)


SIZE = "text/x.tlog.size"
LIES = {
    "stalls": stalls,
    "drips": drips,
    "floods": floods,
    "hangs up": hangs_up,
    "nothing": answers(200, ""),
    "noise": answers(200, bytes(range(256))),
    "signed by another": answers(200, by(STRANGER)),
    "under another name": answers(200, by(GEAR, "witness-1.example")),
    "another checkpoint": answers(200, by(GEAR, head=FORK.head(5).body)),
    "from the future": answers(200, by(GEAR, late=400)),
    "from the past": answers(200, by(GEAR, late=-400)),
    "not found": answers(404, by(GEAR)),
    "refused": answers(403, ""),
    "broken": answers(500, "x" * 1000),
    "moved": answers(307, "", more="location: http://127.0.0.1:1/\r\n"),
    "a size without its type": answers(409, "3\n"),
    "no size": answers(409, "many\n", SIZE),
    "beyond the log": answers(409, "9999999\n", SIZE),
    "always another size": answers(409, "3\n", SIZE),
    "the very size": answers(409, "0\n", SIZE),
}
HONEST = {
    "signs": answers(200, by(GEAR)),
    "signs beside others": answers(200, lambda note: by(STRANGER)(note) + by(GEAR)(note)),
    "signs again": answers(200, lambda note: by(GEAR)(note) * 3),
    "a clock that is off": answers(200, by(GEAR, late=200)),
}


class Log:
    """What the sequencer knows: its tree, and the proofs it made."""

    def __init__(self, growing=GROWING):
        self.growing = growing
        self.proved = []

    async def prove(self, old, new):
        self.proved.append((old, new))
        return self.growing.proof(old, new)

    async def cosign(self, witnesses, old, new):
        started = time.monotonic()
        note = self.growing.note(new)
        lines = await witnesses.cosign(note, old, self.growing.proof(old, new))
        self.took = time.monotonic() - started
        _, cosignatures = verify_note(
            note + "".join(lines), LOG, [m.key for m in witnesses.members]
        )
        assert len(cosignatures) == len(lines)
        return sorted(item.name for item in cosignatures)


LIAR = NoteKey("liar.example", COSIGNATURE, GEAR.public)


def witnesses(log, *members, needed=2):
    return Witnesses(members, LOG, log.prove, now, quorum=needed)


@pytest.mark.parametrize("act", LIES)
async def test_a_witness_that_misbehaves_adds_nothing(act, caplog):
    log = Log()
    async with Liar(LIES[act]) as liar:
        async with witnesses(log, Member(liar.url, LIAR), needed=1) as asked:
            assert await log.cosign(asked, 0, 5) == []
            assert log.took < PATIENCE + 0.5
        assert len(liar.bodies) <= 2
    if act not in ("stalls", "drips"):
        assert "witness liar.example" in caplog.text


@pytest.mark.parametrize("act", HONEST)
async def test_a_witness_that_signs(act):
    log = Log()
    async with Liar(HONEST[act]) as witness:
        async with witnesses(log, Member(witness.url, LIAR), needed=1) as asked:
            assert await log.cosign(asked, 0, 5) == ["liar.example"]
            assert await log.cosign(asked, 5, 9) == ["liar.example"]
        assert [body.split(b"\n")[0] for body in witness.bodies] == [b"old 0", b"old 5"]


async def test_nobody_is_there():
    log = Log()
    async with witnesses(log, Member("http://127.0.0.1:1", LIAR)) as asked:
        assert await log.cosign(asked, 0, 5) == []
        assert log.took < 1


async def test_nobody_is_configured():
    async with witnesses(Log(), needed=0) as asked:
        assert await asked.cosign(GROWING.note(5), 0, ()) == []


async def test_a_witness_that_is_busy_is_not_asked_again():
    log = Log()
    async with Liar(stalls) as liar, witnesses(log, Member(liar.url, LIAR), needed=1) as asked:
        await log.cosign(asked, 0, 5)
        assert await log.cosign(asked, 5, 6) == []
        assert log.took < 0.1
        assert len(liar.bodies) == 1


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    folder = tmp_path_factory.mktemp("witnesses")
    processes = [Process(folder / str(n), f"witness-{n}.example") for n in range(3)]
    with contextlib.ExitStack() as stack:
        for process in processes:
            stack.enter_context(process.running())
        yield processes


def held(process):
    (log,) = httpx.get(process.url, trust_env=False).json()["logs"]
    return log["size"]


async def test_two_of_three_with_real_processes(three, monkeypatch):
    """One honest witness after the other is replaced by nobody, a liar and a staller."""
    log = Log()
    monkeypatch.setattr("registry.log.witnesses.GRACE", 3.0)  # of a busy machine, for the third
    members = [Member(process.url, process.key) for process in three]
    names = [process.name for process in three]
    async with witnesses(log, *members) as asked:
        assert await log.cosign(asked, 0, 5) == names
        assert await log.cosign(asked, 5, 9) == names
        assert log.proved == []  # the proof that the sequencer made served all
    # A client that has just been started knows nothing of what they hold: they tell it.
    async with witnesses(log, *members) as asked:
        assert await log.cosign(asked, 0, 20) == names
        assert log.proved == [(9, 20)]
    # Others brought one of them further than the log believes.
    assert send(three[0].url, GROWING.submission(20, 22)).status_code == 200
    async with witnesses(log, *members) as asked:
        assert await log.cosign(asked, 20, 21) == names[1:]
        assert await log.cosign(asked, 21, 30) == names
    # A liar or a staller in the place of one: the other two are the quorum, and come at once.
    monkeypatch.undo()
    for act in (stalls, LIES["another checkpoint"], floods):
        before = held(three[0])
        async with (
            Liar(act) as liar,
            witnesses(log, *members[:2], Member(liar.url, LIAR)) as asked,
        ):
            assert await log.cosign(asked, before, before + 3) == names[:2]
            assert log.took < GRACE + 1


async def test_a_forked_log_finds_no_quorum(three):
    log, liar = Log(), Log(FORK)
    members = [Member(process.url, process.key) for process in three]
    async with witnesses(log, *members) as asked:
        assert await log.cosign(asked, 0, 50) == [process.name for process in three]
    async with witnesses(liar, *members) as asked:
        assert await liar.cosign(asked, 50, 50) == []
        assert await liar.cosign(asked, 50, 60) == []
        assert await liar.cosign(asked, 0, 60) == []
        assert await liar.cosign(asked, 0, 40) == []
    for process in three:
        assert held(process) == 50
        assert list(process.folder.glob("*.evidence/fork-*.txt"))


# The setting


def test_members_are_read(tmp_path):
    file = tmp_path / "b.vkey"
    other = NoteKey("b", COSIGNATURE, STEEL.public)
    file.write_text(other.vkey + "\n")
    text = f"https://a.example/w/ {LIAR.vkey},\n http://b:8089 @{file}\n"
    assert parse_members(text) == (
        Member("https://a.example/w", LIAR),
        Member("http://b:8089", other),
    )
    assert parse_members(" \n") == ()


@pytest.mark.parametrize(
    "text",
    [
        "https://a.example",
        f"{LIAR.vkey} https://a.example",
        f"ftp://a.example {LIAR.vkey}",
        f"https://a.example {LIAR.vkey} 1",
        f"https://a.example {LIAR.vkey[:-4]}",
        f"https://a.example {LOG.vkey}",
        f"https://a.example {LIAR.vkey}, https://b.example {LIAR.vkey}",
        "https://a.example @/nowhere/a.vkey",
    ],
)
def test_members_that_are_refused(text):
    with pytest.raises(BadInput):
        parse_members(text)
