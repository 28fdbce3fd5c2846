"""Selective disclosure as its users meet it: on the command line and from a program."""

import json

import pytest

from tests.e2e.node import node
from tests.fixtures_pg import short_folder
from tests.servers import wait_for

ITEM = "88.200/GEAR-1"
HIDDEN = [
    {"audience": ["partner"], "attributes": {"hardness": "62 HRC"}},
    {"audience": ["88.201"], "targets": [{"rel": "gs1:pip", "href": "https://a.example/prices"}]},
]


@pytest.fixture(scope="module")
def acme():
    """A node, two organisations that keep their keys, and one without a key of its own."""
    with short_folder() as folder, node(folder / "data", TIERLINK_SAMPLE="none") as running:
        running.files = folder
        for prefix, key in (("88.200", "own"), ("88.201", "buyer"), ("88.202", None)):
            more = []
            if key is not None:
                done(running.cli("keygen", str(folder / key)))
                more = ["--key", str(folder / key)]
            kept = str(folder / f"{prefix}.key")
            done(running.cli("allocate", prefix, "-o", prefix, "--api-key-out", kept, *more))
        yield running


def done(ran):
    assert ran.returncode == 0, ran.stderr.decode() if isinstance(ran.stderr, bytes) else ran.stderr
    return ran.stdout


def ask(running, prefix=None):
    """The answer of the item, verified, as one organisation or nobody sees it."""
    more = [] if prefix is None else ["--named"]
    running.environment.pop("TIERLINK_API_KEY_FILE", None)
    if prefix is not None:
        running.environment["TIERLINK_API_KEY_FILE"] = str(running.files / f"{prefix}.key")
    return json.loads(done(running.cli("resolve", ITEM, "--json", *more)))


@pytest.mark.parametrize(("prefix", "key"), [("88.200", "own"), ("88.202", None)])
def test_a_batch_of_drafts_hides_with_an_own_key_and_with_a_hosted_one(acme, prefix, key):
    item = f"{prefix}/B-1"
    line = {"identifier": item, "kind": "item", "attributes": {"a": "1"}, "hidden": HIDDEN}
    acme.environment["TIERLINK_API_KEY_FILE"] = str(acme.files / f"{prefix}.key")
    more = [] if key is None else ["--key", str(acme.files / key)]
    done(acme.cli("register", "--batch", "-", *more, stdin=json.dumps(line) + "\n"))
    shown = json.loads(done(acme.cli("resolve", item, "--json", "--named")))
    assert shown["attributes"] == {"a": "1", "hardness": "62 HRC"}
    assert [target["href"] for target in shown["targets"]] == ["https://a.example/prices"]
    anonymous = json.loads(done(acme.cli("resolve", item, "--json")))
    assert (anonymous["attributes"], anonymous["withheld"]) == ({"a": "1"}, 2)


def test_each_sees_what_is_for_him(acme):
    from tierlink import Client  # noqa: PLC0415
    from tierlink.keyfile import load  # noqa: PLC0415

    key = (acme.files / "88.200.key").read_text().strip()
    draft = {"identifier": ITEM, "kind": "item", "attributes": {"teeth": "41"}, "hidden": HIDDEN}
    with Client(acme.url, api_key=key, signer=load(acme.files / "own")) as client:
        first = client.register(draft)
        assert first.created
        link = {"type": "CONTAINED_IN", "upstream": ITEM, "downstream": "88.202/CAR-1",
                "side": "upstream"}  # fmt: skip
        client.link(link)
    wait_for(lambda: "hardness" in ask(acme, "88.202")["attributes"], what="the partner")
    seen = {who: ask(acme, who) for who in (None, "88.200", "88.201", "88.202")}
    assert {who: set(answer["attributes"]) for who, answer in seen.items()} == {
        None: {"teeth"},
        "88.200": {"teeth", "hardness"},
        "88.201": {"teeth"},
        "88.202": {"teeth", "hardness"},
    }
    assert {who: len(answer["targets"]) for who, answer in seen.items()} == {
        None: 0,
        "88.200": 1,
        "88.201": 1,
        "88.202": 0,
    }
    assert {answer["envelope"] for answer in seen.values()} == {first.envelope}


def test_an_update_and_the_proof(acme):
    from tierlink import Client  # noqa: PLC0415
    from tierlink.keyfile import load  # noqa: PLC0415

    key = (acme.files / "88.200.key").read_text().strip()
    draft = {
        "identifier": "88.200/GEAR-2",
        "kind": "item",
        "hidden": [{"audience": ["public"], "attributes": {"colour": "blue"}}],
    }
    with Client(
        acme.url,
        api_key=key,
        signer=load(acme.files / "own"),
        trust=acme.data_dir / "trust.json",
    ) as client:
        client.register(draft)
        draft["hidden"][0]["attributes"]["colour"] = "green"
        assert client.update(draft).version == 2
        wait_for(
            lambda: client.resolve("88.200/GEAR-2").attributes == {"colour": "green"},
            what="the update",
        )
        wait_for(
            lambda: client.proof("88.200/GEAR-2").record.version == 2,
            what="the epoch with the update",
        )
        bundle = client.proof("88.200/GEAR-2")
        assert bundle.verified.state == "valid"
        assert len(bundle.record.hidden_attributes) == 1
