"""The life of a link as its two ends and whoever looks at it see it, on the command line."""

import json

import pytest

from tests.e2e.node import node
from tests.fixtures_pg import short_folder
from tests.servers import wait_for


@pytest.fixture(scope="module")
def battery():
    with short_folder() as folder, node(folder / "data") as running:
        yield running


def linked(battery):
    """The pack of the sample and the vehicle that contains it: both say so."""
    with battery.client() as client:
        pack = battery.sample()["examples"]["pack"]
        (entry,) = client.get(f"/{pack}").json()["links"]["downstream"]
        assert entry["state"] == "mutual"
        return pack, entry["identifier"], entry["quantity"]


def say(battery, pack, vehicle, side, *more):
    end = pack if side == "upstream" else vehicle
    prefix = end.partition("/")[0]
    ran = battery.cli("link", pack, vehicle, "--as", prefix, "--side", side, *more, "--json")
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def seen(battery, pack, vehicle):
    """The state in the answer of either end and in a trace, each of them verified."""
    states = []
    for near, direction, far in ((pack, "downstream", vehicle), (vehicle, "upstream", pack)):
        with battery.client() as client:
            raw = client.get(f"/{near}").content
        verdict = battery.cli("verify", "-", stdin=raw)
        assert verdict.returncode == 0, verdict.stderr
        entries = json.loads(raw)["links"][direction]
        states += [item["state"] for item in entries if item["identifier"] == far]
    ran = battery.cli("trace", vehicle, "--direction", "upstream", "--depth", "1", "--json")
    assert ran.returncode == 0, ran.stderr
    edges = json.loads(ran.stdout)["edges"]
    states += [item["state"] for item in edges if item["upstream"] == pack]
    return states


def become(battery, pack, vehicle, states):
    """Wait as long as an answer may be old."""
    wait_for(lambda: seen(battery, pack, vehicle) == states, what=f"{states}")


def test_the_life_of_a_link(battery):
    pack, vehicle, quantity = linked(battery)
    amount = ("--quantity", f"{quantity['value']}:{quantity['unit']}")
    become(battery, pack, vehicle, ["mutual"] * 3)
    # one end takes it back: the other end's word and the withdrawal are shown together
    gone = say(battery, pack, vehicle, "upstream", "--withdraw")
    assert (gone["state"], gone["link_state"]) == ("withdrawn", "withdrawn")
    become(battery, pack, vehicle, ["withdrawn"] * 3)
    # and thinks better of it
    assert say(battery, pack, vehicle, "upstream", *amount)["link_state"] == "mutual"
    become(battery, pack, vehicle, ["mutual"] * 3)
    # they disagree
    assert say(battery, pack, vehicle, "downstream", "--quantity", "7:H87")["link_state"] == (
        "conflicting"
    )
    become(battery, pack, vehicle, ["conflicting"] * 3)
    # both take it back: nobody stands behind it
    say(battery, pack, vehicle, "upstream", "--withdraw")
    say(battery, pack, vehicle, "downstream", "--withdraw")
    become(battery, pack, vehicle, [])
