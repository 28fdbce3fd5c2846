"""A witness by its HTTP interface: every status of C2SP tlog-witness, and what it never does."""

import asyncio
import base64
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from hypothesis import given, settings, strategies as st

from schemas.checkpoint import SIGNED_NOTE, Checkpoint, NoteKey, sign_note, split_note
from schemas.errors import BadInput
from schemas.keys import PrivateKey
from schemas.submission import MAX_SUBMISSION, Submission
from tests.parties import GEAR, NOW, STRANGER
from tests.witnesses import FORK, LOG, ORIGIN, Growing, cosigned
from tierlink.witness import app as witness_app
from tierlink.witness.cosigning import NotConsistent, OtherSize, Witness
from tierlink.witness.follow import Followed
from tierlink.witness.ledger import MAX_EVIDENCE, Ledger, LedgerFault

NAME = "witness.example"
GROWING = Growing()


def make(folder, vkeys=(LOG.vkey,), file=None):
    return Witness(NAME, GEAR, Followed(vkeys, file), Ledger(folder), lambda: NOW)


@pytest.fixture
def witness(tmp_path):
    made = make(tmp_path / "witness")
    yield made
    made._ledger.close()


@pytest.fixture
async def client(witness):
    transport = httpx.ASGITransport(witness_app.create_app(witness))
    async with httpx.AsyncClient(transport=transport, base_url="http://witness") as client:
        yield client


async def send(client, body):
    return await client.post("/add-checkpoint", content=body)


def submission(old, new, log=GROWING, proof=None, note=None):
    proof = log.proof(old, new) if proof is None else proof
    return Submission(old, proof, note or log.note(new)).encode()


def spoiled(note):
    """The note with its signature made wrong, under the same key id."""
    body, ((name, blob),) = split_note(note)
    return f"{body}\n— {name} {base64.b64encode(blob[:4] + bytes(64)).decode()}\n"


WRONG = (bytes(32),) * 3
# The witness holds size 7. Each row: what is sent, the status, the code of the problem or the size.
ROWS = {
    "grows": (submission(7, 20), 200, None),
    "the same again": (submission(7, 7), 200, None),
    "cosigned by others": (
        submission(7, 9, note=GROWING.note(9) + "— x.example " + "A" * 100 + "\n"),
        200,
        None,
    ),
    "nothing": (b"", 400, "E_FORMAT"),
    "no note": (b"old 7\n\n", 400, "E_CHECKPOINT"),
    "no signature": (submission(7, 9, note=GROWING.head(9).body + "\n"), 400, "E_CHECKPOINT"),
    "another form": (submission(7, 9).replace(b"old 7", b"old 07"), 400, "E_FORMAT"),
    "64 lines of proof": (submission(7, 9, proof=WRONG * 22), 400, "E_LIMIT"),
    "old above new": (submission(9, 8, proof=()), 400, "input_invalid"),
    "too long": (submission(7, 9) + b"x" * MAX_SUBMISSION, 413, "too_large"),
    "unsigned": (submission(7, 9, Growing(signer=STRANGER)), 403, "checkpoint_unsigned"),
    "badly signed": (submission(7, 9, note=spoiled(GROWING.note(9))), 403, "checkpoint_unsigned"),
    "good beside bad": (
        submission(7, 9, note=GROWING.note(9) + spoiled(GROWING.note(9)).split("\n\n")[1]),
        403,
        "checkpoint_unsigned",
    ),
    "another origin": (submission(0, 9, Growing(origin="x.example")), 404, "origin_unknown"),
    "from nothing": (submission(0, 9), 409, 7),
    "from before": (submission(5, 9), 409, 7),
    "from beyond": (submission(8, 9), 409, 7),
    "backwards": (submission(3, 5), 409, 7),
    "another root": (submission(7, 7, FORK), 409, 7),
    "another root from nothing": (submission(0, 7, FORK), 409, 7),
    "no proof": (submission(7, 20, proof=()), 422, "proof_invalid"),
    "wrong proof": (submission(7, 20, proof=WRONG), 422, "proof_invalid"),
    "proof of other leaves": (submission(7, 20, FORK), 422, "proof_invalid"),
    "proof for nothing new": (submission(7, 7, proof=WRONG), 422, "proof_invalid"),
}


@pytest.mark.parametrize("row", ROWS)
async def test_statuses(row, client, witness):
    assert (await send(client, submission(0, 7))).status_code == 200
    body, status, told = ROWS[row]
    response = await send(client, body)
    assert response.status_code == status, response.text
    held = dict(witness.held())[ORIGIN]
    if status == 200:
        note = body.decode().partition("\n\n")[2]
        checkpoint, cosignature = cosigned(note, response.text, witness.key)
        assert checkpoint == held == GROWING.head(checkpoint.size)
        assert cosignature.time == NOW
        return
    assert held == GROWING.head(7)  # a refusal changes nothing
    if status == 409:
        assert response.content == b"%d\n" % told
        assert response.headers["content-type"] == "text/x.tlog.size"
    else:
        assert response.json()["code"] == told
        assert response.headers["content-type"] == "application/problem+json"


async def test_the_first_checkpoint_may_be_of_any_size(client, witness):
    response = await send(client, submission(0, 40))
    assert response.status_code == 200
    assert (await send(client, submission(0, 40, FORK))).status_code == 409
    assert dict(witness.held())[ORIGIN] == GROWING.head(40)


async def test_from_nothing_with_a_proof(client):
    assert (await send(client, submission(0, 7, proof=WRONG))).status_code == 422
    assert (await send(client, submission(0, 0, proof=WRONG))).status_code == 422


async def test_an_empty_log_may_be_cosigned(client):
    assert (await send(client, submission(0, 0))).status_code == 200
    assert (await send(client, submission(0, 0))).status_code == 200
    assert (await send(client, submission(0, 9))).status_code == 200


async def test_another_root_of_the_empty_tree(client):
    note = sign_note(Checkpoint(ORIGIN, 0, bytes(32)), ORIGIN, GROWING.signer)
    assert (await send(client, Submission(0, (), note).encode())).status_code == 409


async def test_what_it_tells_of_itself(client, witness):
    await send(client, submission(0, 7))
    for path in ("/", "/healthz"):
        response = await client.get(path)
        assert response.json() == {
            "status": "ok",
            "name": NAME,
            "vkey": witness.key.vkey,
            "logs": [{"origin": ORIGIN, "size": 7}],
        }
    assert (await client.get("/add-checkpoint")).status_code == 405
    assert (await client.get("/nothing")).status_code == 404


async def test_a_body_that_never_ends_is_given_up(witness, monkeypatch):
    monkeypatch.setattr(witness_app, "BODY_SECONDS", 0.05)

    async def stalling():
        yield b"old 0\n"
        await asyncio.sleep(30)

    # httpx's transport reads the request as the application asks for it
    transport = httpx.ASGITransport(witness_app.create_app(witness))
    async with httpx.AsyncClient(transport=transport, base_url="http://witness") as client:
        response = await client.post("/add-checkpoint", content=stalling())
    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"


# Evidence


def evidence(witness):
    return sorted(witness._ledger._folder.glob("*.evidence/*.txt"))


async def test_two_roots_of_one_size_are_kept_as_evidence(client, witness):
    await send(client, submission(0, 7))
    for _ in range(3):
        await send(client, submission(7, 7, FORK))
    (file,) = evidence(witness)
    assert file.name.startswith("fork-")
    text = file.read_text()
    assert GROWING.note(7) in text
    assert FORK.note(7) in text


async def test_a_tree_that_does_not_extend_the_one_held_is_kept_as_evidence(client, witness):
    await send(client, submission(0, 7))
    await send(client, submission(7, 20, FORK))
    (file,) = evidence(witness)
    assert file.name.startswith("unproven-")
    assert FORK.note(20) in file.read_text()


async def test_evidence_does_not_fill_the_disk(client, witness):
    await send(client, submission(0, 7))
    for n in range(MAX_EVIDENCE + 5):
        liar = Growing(7, leaf=f"lie {n}")
        await send(client, submission(7, 7, liar))
    assert len(evidence(witness)) == MAX_EVIDENCE


async def test_nothing_is_kept_of_what_the_log_did_not_sign(client, witness):
    await send(client, submission(0, 7))
    await send(client, submission(7, 7, Growing(leaf="other", signer=STRANGER)))
    assert evidence(witness) == []


# Two at once


def test_two_competitors_cannot_both_win(witness):
    witness.add_checkpoint(submission(0, 7))
    gate = threading.Barrier(8)

    def compete(n):
        gate.wait()
        log = GROWING if n % 2 else FORK_FROM_7
        try:
            return witness.add_checkpoint(submission(7, 8 + n, log))
        except (OtherSize, NotConsistent) as err:
            return err

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(compete, range(8)))
    assert sum(isinstance(result, str) for result in results) == 1


class _ForkFrom(Growing):
    """The same first leaves, then others: what a log does that deceives two parties."""

    def __init__(self, first):
        super().__init__()
        self.tree.hashes[first:] = FORK.tree.hashes[first:]


FORK_FROM_7 = _ForkFrom(7)


async def test_two_competing_requests(client, witness):
    await send(client, submission(0, 7))
    bodies = [submission(7, 9), submission(7, 9, FORK_FROM_7), submission(7, 12)]
    responses = await asyncio.gather(*[send(client, body) for body in bodies])
    assert sorted(response.status_code for response in responses) == [200, 409, 409]


# Whatever is sent

steps = st.lists(
    st.tuples(
        st.sampled_from(["true", "fork", "fork from 7"]),
        st.none() | st.integers(0, 24),  # None: what the witness holds, so that more may pass
        st.integers(0, 24),
        st.booleans(),
    ),
    max_size=40,
)
LOGS = {"true": GROWING, "fork": FORK, "fork from 7": FORK_FROM_7}


@settings(deadline=None, max_examples=60)
@given(steps=steps)
def test_what_was_cosigned_is_one_growing_tree(steps, tmp_path_factory):
    folder = tmp_path_factory.mktemp("witness")
    witness, seen = make(folder), []
    try:
        for which, guess, new, restart in steps:
            if restart:
                witness._ledger.close()
                witness = make(folder)
            log = LOGS[which]
            held = dict(witness.held())[ORIGIN]
            old = guess if guess is not None else held.size if held else 0
            try:
                line = witness.add_checkpoint(submission(old, new, log))
            except (OtherSize, NotConsistent, BadInput):
                continue
            checkpoint, _ = cosigned(log.note(new), line, witness.key)
            assert not seen or checkpoint.size >= seen[-1][1].size
            seen.append((log, checkpoint))
    finally:
        witness._ledger.close()
    # all that was cosigned is a prefix of what the newest one commits to
    for _, checkpoint in seen:
        log = seen[-1][0]
        assert log.head(checkpoint.size) == checkpoint


# The folder


def test_it_remembers(tmp_path):
    first = make(tmp_path)
    first.add_checkpoint(submission(0, 7))
    first._ledger.close()
    second = make(tmp_path)
    assert second.held() == [(ORIGIN, GROWING.head(7))]
    second.add_checkpoint(submission(7, 20))
    second._ledger.close()


def test_one_process_a_folder(tmp_path):
    ledger = Ledger(tmp_path)
    with pytest.raises(LedgerFault, match="another witness"):
        Ledger(tmp_path)
    ledger.close()
    Ledger(tmp_path).close()


@pytest.mark.parametrize("damage", ["", "nonsense", GROWING.head(7).body, Growing(9).note(9)[:-40]])
def test_a_damaged_checkpoint_stops_it(damage, tmp_path):
    witness = make(tmp_path)
    witness.add_checkpoint(submission(0, 7))
    witness._ledger.close()
    (file,) = tmp_path.glob("*.checkpoint")
    file.write_text(damage)
    damaged = make(tmp_path)
    with pytest.raises(LedgerFault):
        damaged.held()
    with pytest.raises(LedgerFault):
        damaged.add_checkpoint(submission(0, 9))
    damaged._ledger.close()


def test_the_checkpoint_of_another_log_is_not_taken_for_ours(tmp_path):
    other = Growing(origin="other.example")
    key = NoteKey("other.example", SIGNED_NOTE, other.signer.public)
    witness = make(tmp_path, (LOG.vkey, key.vkey))
    witness.add_checkpoint(submission(0, 7))
    witness.add_checkpoint(submission(0, 3, other))
    assert [(origin, held.size) for origin, held in witness.held()] == [
        (ORIGIN, 7),
        ("other.example", 3),
    ]
    files = sorted(tmp_path.glob("*.checkpoint"), key=lambda path: len(path.read_text()))
    files[0].write_text(files[1].read_text())
    witness._ledger.close()
    swapped = make(tmp_path, (LOG.vkey, key.vkey))
    with pytest.raises(LedgerFault, match="of another log"):
        swapped.held()
    swapped._ledger.close()


async def test_nothing_is_cosigned_that_could_not_be_kept(client, witness, monkeypatch):
    await send(client, submission(0, 7))
    with monkeypatch.context() as patch:

        def full(handle):
            raise OSError(28, "No space left on device")

        patch.setattr("tierlink.witness.ledger.os.fsync", full)
        response = await send(client, submission(7, 9))
        assert response.status_code == 503
    assert dict(witness.held())[ORIGIN] == GROWING.head(7)
    assert (await send(client, submission(7, 9))).status_code == 200


# Whom it follows


def test_logs_may_be_added_while_it_runs(tmp_path, caplog):
    file = tmp_path / "logs"
    witness = make(tmp_path / "w", (), file)
    assert witness.held() == []
    file.write_text(f"# the one we buy from\n\n{LOG.vkey}\n")
    assert witness.held() == [(ORIGIN, None)]
    witness.add_checkpoint(submission(0, 7))
    file.write_text("nonsense of another length\n")
    assert witness.held() == [(ORIGIN, GROWING.head(7))]  # a slip of the pen unfollows nobody
    assert "the keys before it stand" in caplog.text
    witness._ledger.close()


@pytest.mark.parametrize("vkey", ["x", LOG.vkey[:-4], f"{LOG.vkey} {LOG.vkey}"])
def test_what_is_no_key_is_refused(vkey):
    with pytest.raises(BadInput, match="not the key of a log"):
        Followed([vkey])


def test_the_key_of_a_witness_is_no_log(witness):
    with pytest.raises(BadInput, match="key of a witness"):
        Followed([witness.key.vkey])


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "名"])
def test_names_that_a_note_cannot_carry(name, tmp_path):
    ledger = Ledger(tmp_path)
    with pytest.raises(BadInput, match="printable"):
        Witness(name, GEAR, Followed([]), ledger, lambda: NOW)
    ledger.close()


def test_only_ed25519(tmp_path):
    ledger = Ledger(tmp_path)
    with pytest.raises(BadInput, match="Ed25519"):
        Witness(NAME, PrivateKey.generate("ES256"), Followed([]), ledger, lambda: NOW)
    ledger.close()
