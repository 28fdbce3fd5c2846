"""The published vectors: up to date, and read as another implementation would read them."""

import base64
import hmac
import json

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from schemas import merkle, signed
from schemas.answer import verify_answer
from schemas.chain import Chain, Trust, anchor, validate
from schemas.checkpoint import NoteKey, verify_note
from schemas.disclosure import parse_disclosure, reveal_all, withheld
from schemas.envelope import LINK, RECORD, digest, parse, verify
from schemas.errors import BadGrant, BadIdentifier, BadNotice, BadRecord
from schemas.grant import check_grant, parse_grant, read_grant
from schemas.hop import check_hop, check_seal, parse_hop, parse_seal
from schemas.identifier import Identifier, Prefix
from schemas.keys import PrivateKey, PublicKey, b64decode, sha256
from schemas.leaf import Epoch, Leaf, What, commitment, status_digest
from schemas.link import link_state, read_assertion
from schemas.notice import parse_notice, read_notice
from schemas.opening import taken
from schemas.proof import judge
from schemas.record import parse_record, read_record
from schemas.rule import Rule, compile_pattern
from schemas.uritemplate import expand
from schemas.verifiable_map import (
    MapProof,
    VerifiableMap,
    map_key,
    prefix_key,
    prefix_value,
    verify_map,
)
from tests import golden, parties
from tests.parties import refusal


def read(name):
    return json.loads((golden.FOLDER / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", golden.FILES)
def test_the_files_are_up_to_date(name):
    found = (golden.FOLDER / name).read_text(encoding="utf-8")
    assert found == golden.spelled(golden.FILES[name]()), "run: python -m tests.golden"


def test_there_is_no_other_file():
    assert {path.name for path in golden.FOLDER.iterdir()} == set(golden.FILES)


def test_wire_formats_name_every_file():
    page = (golden.FOLDER.parent.parent / "docs" / "wire.md").read_text(encoding="utf-8")
    assert [name for name in golden.FILES if f"`{name}`" not in page] == []


def test_identifiers():
    vectors = read("identifiers.json")
    for row in vectors["accepted"]:
        assert Identifier.parse(row["text"]).path == row["path"]
        assert Identifier.from_path(row["path"].encode()).text == row["text"]
    for row in vectors["refused"]:
        with pytest.raises(BadIdentifier) as caught:
            Identifier.parse(row["text"])
        assert caught.value.position == row["position"]
    for row in vectors["covers"]:
        above, below = Prefix.parse(row["above"]), Prefix.parse(row["below"])
        assert above.covers(below) is row["covers"]


def test_keys():
    vectors = read("keys.json")
    for row in vectors["keys"]:
        key = PublicKey.from_jwk(row["jwk"])
        assert (key.kid, key.alg) == (row["kid"], row["alg"])
        if "seed" in row:
            assert PrivateKey.from_seed(bytes.fromhex(row["seed"])).public == key
    assert {refusal(PublicKey.from_jwk, jwk) for jwk in vectors["refused"]} == {"E_KEY"}


def test_envelopes():
    vectors = read("envelopes.json")
    keys = {key.kid: key for key in map(PublicKey.from_jwk, vectors["keys"])}
    for row in vectors["accepted"]:
        found = verify(row["token"], vectors["typ"], keys)
        assert (found.claims, found.digest) == (row["claims"], row["digest"])
    for row in vectors["refused"]:
        assert refusal(verify, row["token"], vectors["typ"], keys) == row["code"], row["name"]


def test_records():
    before = {}
    for row in read("records.json"):
        envelope = parse(row["token"], RECORD)
        assert (envelope.claims, digest(row["token"])) == (row["claims"], row["digest"])
        record = read_record(envelope.claims)
        assert record.claims() == row["claims"]
        assert record.prev == before.get(record.identifier)
        before[record.identifier] = envelope.digest


def test_rules():
    vectors = read("rules.json")
    for row in vectors["matches"]:
        assert Rule(row["pattern"], ()).match(row["suffix"]) == row["fields"]
    for row in vectors["expansions"]:
        about = Identifier.parse(row["identifier"])
        values = {"identifier": about.text, "year": "2026", "serial": "000777"}
        assert expand(row["template"], values) == row["href"]
    for pattern in vectors["refused"]:
        with pytest.raises(BadRecord):
            compile_pattern(pattern)


def test_links():
    vectors = read("links.json")
    for row in vectors["assertions"]:
        envelope = parse(row["token"], LINK)
        assert (envelope.claims, envelope.digest) == (row["claims"], row["digest"])
    key = {json.dumps(row["members"], sort_keys=True): row["key"] for row in vectors["keys"]}
    for row in vectors["states"]:
        said = [read_assertion(claims) for claims in row["assertions"]]
        assert link_state(said) == row["state"]
        for item in said:
            assert key[json.dumps(item.link.claims(), sort_keys=True)] == item.link.key


def test_chains():
    def check(row):
        root = Chain((anchor([row["root"]]),))
        chain = validate(root, row["delegations"], Prefix.parse(row["prefix"]))
        chain.check_time(row["at"])

    for row in read("chains.json"):
        assert refusal(check, row) == row["code"], row["name"]


def test_answers():
    vectors = read("answers.json")
    trust = Trust.parse(json.dumps(vectors["trust"]).encode())
    for row in vectors["answers"]:
        code = refusal(verify_answer, row["document"], trust, row["now"])
        assert code == row["code"], row["name"]
        if code is None:
            found = verify_answer(row["document"], trust, row["now"])
            assert list(found.expired) == row["expired"]


def hashes(texts):
    return [base64.b64decode(text) for text in texts]


def test_merkle_trees():
    vectors = read("merkle.json")
    leaves, roots = hashes(vectors["leaves"]), hashes(vectors["roots"])
    assert [merkle.leaf_hash(entry.encode()) for entry in vectors["entries"]] == leaves
    for row in vectors["inclusion"]:
        index, size = row["index"], row["size"]
        merkle.verify_inclusion(leaves[index], index, size, hashes(row["proof"]), roots[size])
    for row in vectors["consistency"]:
        old, new = row["old"], row["new"]
        merkle.verify_consistency(old, new, hashes(row["proof"]), roots[old], roots[new])


def test_maps():
    vectors = read("map.json")
    kinds = set()
    for row in vectors["proofs"]:
        key = map_key(vectors["salt"].encode(), row["identifier"].encode())
        assert key.hex() == row["key"]
        terminal = row["terminal"] and tuple(map(bytes.fromhex, row["terminal"]))
        siblings = tuple(map(bytes.fromhex, row["siblings"]))
        proof = MapProof(row["depth"], row["bitmap"], siblings, terminal)
        value = verify_map(bytes.fromhex(vectors["root"]), key, proof)
        assert (value and value.hex()) == row["value"]
        kinds.add((terminal is None, value is None))
    assert kinds == {(False, False), (False, True), (True, True)}  # there, absent in both ways


def test_checkpoints():
    vectors = read("checkpoints.json")
    log, *witnesses = map(NoteKey.parse, [vectors["log"], *vectors["witnesses"]])
    for row in vectors["notes"]:
        assert refusal(verify_note, row["note"], log, witnesses) == row["code"], row["name"]


def test_leaves():
    vectors = read("leaves.json")
    for row in vectors["leaves"]:
        about = commitment(b64decode(row["salt"]), row["subject"])
        said = (What(row["what"]), Prefix.parse(row["prefix"]), about, row["version"])
        assert Leaf.parse(row["entry"].encode()) == Leaf(*said, row["digest"])
        assert merkle.leaf_hash(row["entry"].encode()) == hashes([row["hash"]])[0]
    for row in vectors["epochs"]:
        found = Epoch.parse(row["entry"].encode())
        assert (found.number, found.size) == (row["number"], row["size"])
        roots = (found.identifiers, found.prefixes)
        assert roots == (b64decode(row["identifiers"]), b64decode(row["prefixes"]))
        assert merkle.leaf_hash(row["entry"].encode()) == hashes([row["hash"]])[0]
    for entry in vectors["refused"]:
        assert refusal(Leaf.parse, entry.encode()) == "E_FORMAT", entry


def test_a_map_of_prefixes():
    vectors = read("prefixes.json")
    entries = []
    for row in vectors["prefixes"]:
        assert row["commitment"] == commitment(b64decode(row["salt"]), row["prefix"])
        assert row["digest"] in {
            row["delegation"],
            status_digest(row["delegation"], suspended=True),
        }
        bound, said = b64decode(row["commitment"]), b64decode(row["digest"])
        value = prefix_value(row["index"], bound, said)
        assert (prefix_key(row["prefix"]).hex(), value.hex()) == (row["key"], row["value"])
        entries.append((prefix_key(row["prefix"]), value))
    assert VerifiableMap(entries).root.hex() == vectors["root"]


def test_statements():
    vectors = read("statements.json")
    keys = {key.kid: key for key in map(PublicKey.from_jwk, vectors["keys"])}
    for row in vectors["accepted"]:
        found = signed.verify(row["token"], vectors["typ"], keys)
        assert (found.claims, found.digest) == (row["claims"], row["digest"])
        assert list(found.kids) == row["kids"]
    for row in vectors["refused"]:
        found = refusal(signed.verify, row["token"], vectors["typ"], keys)
        assert found == row["code"], row["name"]


def test_disclosures():
    vectors = read("disclosures.json")
    _, record = parse_record(vectors["envelope"])
    assert record.claims() == vectors["claims"]
    for row in vectors["disclosures"]:
        found = parse_disclosure(row["text"])
        assert (found.digest, found.name, found.value) == (row["digest"], row["name"], row["value"])
    expected = vectors["opened"]
    (opened,) = reveal_all([record], expected["disclosures"])
    assert opened.attributes == expected["attributes"]
    assert [target.claims() for target in opened.targets] == expected["targets"]
    assert withheld([opened]) == expected["withheld"]
    for row in vectors["refused"]:
        assert refusal(reveal_all, [record], row["disclosures"]) == "E_DISCLOSURE", row["name"]


def test_proofs():
    vectors = read("proofs.json")
    trust = Trust.parse(json.dumps(vectors["trust"]).encode())
    for row in vectors["documents"]:
        found = judge(json.dumps(row["document"]).encode(), trust, row["now"])
        codes = [item.code for item in found.codes]
        assert codes == row["codes"], row["name"]
        assert (found.state, found.valid_at_issue, found.current) == (
            row["state"],
            row["valid_at_issue"],
            row["current"],
        )


def gear():
    root = Chain((anchor([parties.ROOT_TOKEN]),))
    below = [parties.INDUSTRY_TOKEN, parties.GEAR_TOKEN]
    return validate(root, below, Prefix.parse("88.100"))


def test_grants():
    vectors = read("grants.json")
    chain = gear()
    before = None
    for row in vectors["grants"]:
        envelope, grant = parse_grant(row["token"])
        check_grant(envelope, grant, chain)
        assert grant.claims() == envelope.claims
        if grant.version > 1:
            assert (grant.prev, grant.id) == before
        before = (envelope.digest, grant.id)
    for claims in vectors["refused"]:
        with pytest.raises((BadGrant, BadIdentifier)):
            read_grant(claims)


def test_notices():
    vectors = read("notices.json")
    chain = gear()
    before = None
    for row in vectors["notices"]:
        envelope, notice = parse_notice(row["token"])
        chain.check_speaker(envelope, notice.issuer, notice.issued_at)
        assert notice.claims() == envelope.claims
        assert notice.version == 1 or notice.prev == before
        before = envelope.digest
    for claims in vectors["refused"]:
        with pytest.raises((BadNotice, BadIdentifier)):
            read_notice(claims)


def test_traces():
    vectors = read("traces.json")
    root = Chain((anchor([vectors["root"]]),))

    def ask(row):
        envelope, hop = parse_hop(row["token"])
        chain = validate(root, vectors["chains"][str(hop.issuer)], hop.issuer)
        check_hop(envelope, hop, chain, row["request"], here=row["here"], now=row["now"])

    def seal(row):
        envelope, said = parse_seal(row["seal"])
        chain = validate(root, vectors["chains"][str(said.issuer)], said.issuer)
        check_seal(envelope, said, chain, row["part"], row["trace"])

    for check, rows in ((ask, vectors["hops"]), (seal, vectors["parts"])):
        for row in rows:
            assert refusal(check, row) == row["code"], row["name"]


def test_openings():
    row = read("traces.json")["opening"]
    key = sha256(b"tierlink grant key v1\0" + row["grant"].encode())
    assert key.hex() == row["key"]
    asked = {name: row[name] for name in ("direction", "purpose", "trace", "until")}
    said = json.dumps(asked, sort_keys=True, separators=(",", ":")).encode()
    made = hmac.digest(key, b"tierlink opening v1\0" + said, "sha256")
    assert base64.urlsafe_b64encode(made).decode().rstrip("=") == row["opening"]
    raw = base64.urlsafe_b64decode(row["box"] + "==")
    about = {"opening": row["opening"], "trace": row["trace"]}
    inner = hmac.digest(key, b"tierlink box v1\0" + row["trace"].encode(), "sha256")
    padded = AESGCM(inner).decrypt(
        raw[:12], raw[12:], json.dumps(about, separators=(",", ":")).encode()
    )
    size = int.from_bytes(padded[:4], "big")
    assert (raw[:12].hex(), padded[4 : 4 + size].decode()) == (row["nonce"], row["content"])
    assert (len(padded), set(padded[4 + size :])) == (8192, {0})
    assert taken(key, row["trace"], row["opening"], row["box"]).decode() == row["content"]
