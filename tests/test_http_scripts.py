"""Runs tests/http/*.txt: requests and what their responses must be.

== name of the case
GET /path?query
accept: application/json
                                    an empty line; then the body, if any, and an empty line
status 200
header NAME == VALUE                also: ~ REGEX, absent
json a.b.0 == {"any": "JSON"}       also: ~ REGEX; without a path, the whole
line 3 code == "retired"            of an NDJSON body; `lines 4` counts them
members identifier version …        of the JSON, in this order
body contains TEXT                  also: lacks, matches REGEX
verifies                            the JSON is an answer whose every signature holds
empty                               there is no body
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from resolver.app import Resolver, create_app
from resolver.config import ResolverSettings
from resolver.trust import Verifier
from schemas.answer import verify_answer
from schemas.canonical import decode_object
from tests.authority import ISSUED
from tests.battery import battery

SCRIPTS = Path(__file__).parent / "http"
EXPECTATION = re.compile(r"(status|header|json|lines?|members|body|verifies|empty)\b ?(.*)")


@dataclass
class Case:
    name: str
    method: str
    target: str
    headers: list
    body: str
    expected: list


def read_cases(path: Path) -> list[Case]:
    cases = []
    for text in path.read_text(encoding="utf-8").split("\n== ")[1:]:
        name, request, *headers = text.partition("\n\n")[0].splitlines()
        method, _, target = request.partition(" ")
        lines = [line for line in text.partition("\n\n")[2].splitlines() if line[:1] != "#"]
        body = [line for line in lines if line and not EXPECTATION.fullmatch(line)]
        expected = [found for line in lines if (found := EXPECTATION.fullmatch(line))]
        assert expected, f"{path.name}: {name} expects nothing"
        pairs = [tuple(header.split(": ", 1)) for header in headers]
        cases.append(Case(name, method, target, pairs, "\n".join(body), expected))
    return cases


CASES = [
    pytest.param(case, id=f"{path.stem}: {case.name}")
    for path in sorted(SCRIPTS.glob("*.txt"))
    for case in read_cases(path)
]


@pytest.fixture(scope="module")
def world():
    return battery()


@pytest.fixture
async def client(world):
    resolver = Resolver(
        world, Verifier(world.trust), ResolverSettings(public_url="https://id.example.com")
    )
    await resolver.start()
    transport = httpx.ASGITransport(create_app(resolver))
    async with httpx.AsyncClient(transport=transport, base_url="http://resolver") as client:
        yield client
    await resolver.stop()


@pytest.mark.parametrize("case", CASES)
async def test_script(case, client, world):
    headers = case.headers
    if not any(name == "accept" for name, _ in headers):
        headers = [("accept", "*/*"), *headers]
    # httpx would normalise the path, and the raw one is what these tests are about
    url = httpx.URL("http://resolver", raw_path=case.target.encode())
    for _ in range(2):  # the first is read and rendered, the second is kept: both are the same
        response = await client.request(case.method, url, headers=headers, content=case.body)
        for found in case.expected:
            check(found[1], found[2], response, world)


def check(kind: str, rest: str, response: httpx.Response, world) -> None:  # noqa: C901  (one line a word)
    if kind == "status":
        assert response.status_code == int(rest), response.text
    elif kind == "header":
        name, _, wanted = rest.partition(" ")
        compare(response.headers.get(name), wanted)
    elif kind == "json":
        path, _, wanted = rest.partition(" ") if not rest.startswith("== ") else ("", "", rest)
        compare(at(response.json(), path), wanted, parsed=True)
    elif kind == "line":
        number, path, wanted = rest.split(" ", 2)
        line = response.text.splitlines()[int(number)]
        compare(at(json.loads(line), path), wanted, parsed=True)
    elif kind == "lines":
        assert len(response.text.splitlines()) == int(rest)
    elif kind == "members":
        assert list(response.json()) == rest.split()
    elif kind == "body":
        check_body(*rest.split(" ", 1), response.text)
    elif kind == "verifies":
        verify_answer(decode_object(response.content), world.trust, ISSUED)
    else:
        assert response.content == b""


def check_body(how: str, wanted: str, text: str) -> None:
    if how == "matches":
        assert re.fullmatch(wanted, text), text
    else:
        assert (wanted in text) == (how == "contains"), text


def compare(found, wanted: str, *, parsed: bool = False) -> None:
    how, _, value = wanted.partition(" ")
    if how == "absent":
        assert found is None
    elif how == "~":
        assert re.fullmatch(value, found), found
    else:
        assert how == "==", wanted
        assert found == (json.loads(value) if parsed else value)


def at(document, path: str):
    for name in path.split(".") if path else ():
        document = document[int(name)] if isinstance(document, list) else document[name]
    return document
