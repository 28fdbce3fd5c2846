"""POST /v1/resolve in its usual spelling, which no parser reads: the same as in any other."""

import json

import httpx
import pytest
from hypothesis import given, strategies as st

from resolver.app import Resolver, create_app
from resolver.batch import MOST, split_usual
from resolver.config import ResolverSettings
from resolver.trust import Verifier
from tests import battery

NAMES = [
    battery.PACK, battery.COVERED, battery.SUSPENDED, battery.RETIRED, battery.MISSING,
    battery.FOREIGN, "88.118.A/X", "", "88.118.8/", "88.118.8/PACK-2026-000042?x=1", "88.118.8/a b",
    "88.118.8/PACK-2026-00004%32", "88.118.8/é", 'a"b', "a\\b", "a\nb", ",", "[", battery.PACK,
]  # fmt: skip


def usual(names):
    return json.dumps({"identifiers": names}, ensure_ascii=False, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'{"identifiers":[]}',
        b'{"identifiers":[""',
        b'{"identifiers":["a"',
        b'{"identifiers":["]}',
        b'{"identifiers":[""]]}',
        b'{"identifiers":["a" ,"b"]}',
        b'{"identifiers":["a", "b"]}',
        b'{"identifiers":["a",7,"b"]}',
        b'{"identifiers":["a"],"more":["b"]}',
        b'{"identifiers":["a\\"b"]}',
        b'{"identifiers":["a\nb"]}',
        b'{"identifiers":["a%20b"]}',
        '{"identifiers":["é"]}'.encode(),
        usual(["a"] * (MOST + 1)),
    ],
)
def test_what_is_left_to_the_parser(body):
    assert split_usual(body) is None


@given(st.lists(st.text(st.characters(codec="utf-8")), min_size=1))
def test_what_is_split_is_what_is_parsed(names):
    split = split_usual(usual(names))
    assert split is None or [item.decode() for item in split] == names


@given(st.binary().map(lambda noise: b'{"identifiers":["' + noise + b'"]}'))
def test_what_is_split_is_json(body):
    split = split_usual(body)
    assert split is None or json.loads(body) == {"identifiers": [s.decode() for s in split]}


@pytest.mark.parametrize("times", [1, 20])
async def test_both_spellings_give_the_same_bytes(times):
    world = battery.battery()
    reading = Resolver(world, Verifier(world.trust), ResolverSettings())
    await reading.start()
    transport = httpx.ASGITransport(create_app(reading))
    async with httpx.AsyncClient(transport=transport, base_url="http://resolver") as client:
        names = NAMES * times
        for _ in range(2):
            told = [
                (await client.post("/v1/resolve", content=body)).content
                for body in (usual(names), json.dumps({"identifiers": names}).encode())
            ]
            assert told[0] == told[1]
            assert told[0].count(b"\n") == len(names)
        some = [name for name in names if split_usual(usual([name]))]
        whole = (await client.post("/v1/resolve", content=usual(some))).content
        lines = dict(zip(names, told[0].split(b"\n"), strict=False))
        assert whole.split(b"\n")[:-1] == [lines[name] for name in some]
    await reading.stop()
