"""`tierlink verify`: which of the documents it is, what was proved, and the exit code."""

import json

import pytest
from typer.testing import CliRunner

from schemas import canonical
from schemas.batched import build
from schemas.chain import trust_document
from schemas.envelope import RECORD, cosign
from schemas.errors import VerifyError
from tests import logbook, parties
from tests.forgeries import CHIP
from tests.logbook import CHAIN, LOGGED, POLICY, SHAFT, SHAFT_TOKEN, golden
from tests.parties import GEAR, INDUSTRY, INDUSTRY_TOKEN, NOW, ROOT_TOKEN, delegation, held
from tierlink.cli import app
from tierlink.client import Logged, verify
from tierlink.client.verdict import judge

GOLDEN = golden()
BUNDLE = GOLDEN.bundle()
FULL = GOLDEN.book.full(parties.golden_answer())
TRUST = logbook.trust(delegations=CHAIN)


def test_what_a_bundle_proved():
    found = verify(BUNDLE, TRUST, at=NOW)
    assert (found.thing, found.about, found.kid) == (
        "bundle",
        "88.100/SHAFT-7",
        GEAR.public.kid,
    )
    assert (found.state, found.current, found.codes, found.expired) == ("valid", True, (), ())
    assert [item.prefix for item in found.chain] == [".", "88", "88.100"]
    witnesses = ("w0.example", "w1.example")
    assert found.logged == Logged(
        logbook.ORIGIN, 36, 2, witnesses, LOGGED + 1, NOW - 2, 1, "active"
    )


def test_the_kinds_of_documents():
    plain = parties.golden_answer()
    chain = delegation("88.100", "88", GEAR, keys=(held(GEAR), held(CHIP))).sign(INDUSTRY)
    known = logbook.trust(delegations=(INDUSTRY_TOKEN, chain))
    spoken = {"issued_at": SHAFT.issued_at, "prefix": SHAFT.identifier.prefix}
    _, batched = build([SHAFT.claims()], RECORD, GEAR, **spoken)
    for given, thing, logged in (
        (BUNDLE, "bundle", True),
        (GOLDEN.absent(), "bundle", True),
        (FULL, "answer", True),
        (plain, "answer", False),
        (SHAFT_TOKEN, "record", False),
        (cosign(SHAFT_TOKEN, CHIP), "record", False),
        (next(batched), "record", False),
        (parties.GEAR_SAYS.sign(GEAR), "link", False),
    ):
        found = judge(given, known if isinstance(given, str) else TRUST, NOW)
        assert (found.thing, found.logged is not None, found.state) == (thing, logged, "valid")


@pytest.mark.parametrize("given", ["", "x", "[]", "{}", b"\xef\xbb\xbf{}", "a.b.c", "\ud800"])
def test_anything_else_is_a_verdict(given):
    with pytest.raises(VerifyError):
        judge(given, TRUST, NOW)


def test_a_bundle_of_nothing_has_no_signer():
    found = judge(GOLDEN.absent(), TRUST, NOW)
    assert (found.kid, found.logged.exists, found.logged.logged_by) == ("", False, None)


@pytest.fixture
def run(tmp_path):
    """Call `tierlink verify` with a document, and give its exit code and output."""

    def call(document, *arguments, policy=POLICY, at=NOW):
        file, trust = tmp_path / "bundle.json", tmp_path / "trust.json"
        text = document if isinstance(document, str) else json.dumps(document)
        file.write_text(text, encoding="utf-8")
        trust.write_bytes(canonical.encode(trust_document([ROOT_TOKEN], CHAIN, policy)))
        named = ["verify", str(file), "--trust", str(trust), "--at", str(at), *arguments]
        found = CliRunner().invoke(app, named, env={"COLUMNS": "200"})
        return found.exit_code, found.stdout

    return call


def test_it_says_what_was_proved(run):
    code, shown = run(BUNDLE)
    assert code == 0
    lines = [line.split(None, 1) for line in shown.splitlines()]
    assert ["bundle", "88.100/SHAFT-7"] in lines
    assert ["verdict", "valid"] in lines
    assert ["record", "version 1, active"] in lines
    assert ["log", f"{logbook.ORIGIN}, 36 leaves, epoch 2"] in lines
    assert ["witnesses", "w0.example, w1.example"] in lines
    assert "newest as of 2026-11-18T11:23:18Z" in shown
    assert ". → 88 → 88.100 Gear" in shown


def test_it_says_that_nothing_is_registered(run):
    code, shown = run(GOLDEN.absent())
    assert code == 0
    assert "record       none of its own" in shown


def test_exit_codes_and_machine_output(run):
    def asked(document, **options):
        code, shown = run(document, "--json", **options)
        found = json.loads(shown)
        codes = [item["code"] for item in found["codes"]]
        return code, found["state"], found["valid_at_issue"], found["current"], codes

    assert asked(BUNDLE) == (0, "valid", "valid", "valid", [])
    later = NOW + POLICY.max_age
    assert asked(BUNDLE, at=later) == (3, "indeterminate", "valid", "indeterminate", ["E_FRESH"])
    spoiled = logbook.edited(BUNDLE, "proof.log.entries.0.index", 3)
    assert asked(spoiled) == (1, "invalid", "invalid", "invalid", ["E_INCLUSION"])
    assert asked(BUNDLE, policy=None)[:2] == (3, "indeterminate")
    expired = parties.golden_answer()
    assert asked(expired, at=2 * NOW) == (1, "invalid", "valid", "invalid", ["E_TIME"])
    assert asked(expired) == (0, "valid", "valid", "valid", [])


def test_a_refusal_names_its_code(run):
    code, shown = run(logbook.edited(BUNDLE, "proof.log.entries.0.index", 3), "--json")
    found = json.loads(shown)
    assert (code, found["valid"], found["code"]) == (1, False, "E_INCLUSION")
    assert found["detail"]
