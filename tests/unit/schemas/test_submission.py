"""What a log sends a witness: one form, and everything near it is refused."""

import base64

import pytest

from schemas.errors import VerifyError
from schemas.submission import MAX_SUBMISSION, Submission, encode_size, parse_size
from tests.checkpoints import NOTE

HASH = base64.b64encode(bytes(range(32))).decode()


def body(head="old 7", *proof, note=NOTE):
    return "\n".join([head, *proof, "", note]).encode()


@pytest.mark.parametrize("proof", [(), (bytes(32),), tuple(bytes([n] * 32) for n in range(63))])
def test_round_trip(proof):
    submission = Submission(70_000, proof, NOTE)
    assert Submission.parse(submission.encode()) == submission


def test_the_form_of_the_specification():
    assert Submission(7, (bytes(range(32)),), NOTE).encode() == body("old 7", HASH)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        pytest.param(b"", "E_FORMAT", id="nothing"),
        pytest.param(b"old 7\n" + NOTE.encode().replace(b"\n\n", b"\n"), "E_FORMAT", id="no gap"),
        pytest.param(body("old 07"), "E_FORMAT", id="leading zero"),
        pytest.param(body("old -1"), "E_FORMAT", id="negative"),
        pytest.param(body("old  7"), "E_FORMAT", id="two spaces"),
        pytest.param(body("old \uff17"), "E_FORMAT", id="full width"),
        pytest.param(body("old 7 "), "E_FORMAT", id="space behind"),
        pytest.param(body("Old 7"), "E_FORMAT", id="capital"),
        pytest.param(body("7"), "E_FORMAT", id="no word"),
        pytest.param(body("old " + "9" * 5000), "E_FORMAT", id="enormous"),
        pytest.param(body("old 7\r"), "E_FORMAT", id="carriage return"),
        pytest.param(body("old 7", HASH[:-1]), "E_FORMAT", id="unpadded"),
        pytest.param(body("old 7", HASH[:40]), "E_FORMAT", id="short hash"),
        pytest.param(body("old 7", HASH[:42] + "9="), "E_FORMAT", id="trailing bits"),
        pytest.param(body("old 7", HASH + " "), "E_FORMAT", id="space behind a hash"),
        pytest.param(body("old 7", *[HASH] * 64), "E_LIMIT", id="64 proof lines"),
        pytest.param(b"\xff" + body(), "E_FORMAT", id="not UTF-8"),
        pytest.param(bytes(MAX_SUBMISSION + 1), "E_LIMIT", id="too long"),
    ],
)
def test_refused(sent, code):
    with pytest.raises(VerifyError) as caught:
        Submission.parse(sent)
    assert caught.value.code == code


def test_sizes():
    assert parse_size(encode_size(70_001)) == 70_001
    for sent in (b"", b"7", b"07\n", b"7\n\n", b"-7\n", b"7\r\n", b"9" * 30 + b"\n", b"seven\n"):
        with pytest.raises(VerifyError, match="not a tree size"):
            parse_size(sent)
