"""Selective disclosure through registry and resolver: one record, many audiences, one verdict."""

import asyncio

import httpx
import pytest

from registry.reader import Reader
from resolver.app import Resolver, create_app
from resolver.config import ResolverSettings
from resolver.trust import Verifier
from schemas.answer import verify_answer
from schemas.canonical import decode_object, encode
from schemas.chain import Trust, trust_document
from schemas.disclosure import hide, hide_attribute
from schemas.errors import VerifyError
from tests.fixtures_registry import NOW
from tests.holders import hold

ITEM = "88.118.8/A-1"
CLASS = "88.118.8/C"
HIDDEN = [
    {"audience": ["public"], "attributes": {"colour": "red"}},
    {"audience": ["partner"], "attributes": {"mass": "2.5 kg"}},
    {
        "audience": ["88.118.7"],
        "attributes": {"price": "9"},
        "targets": [{"rel": "gs1:pip", "href": "https://a.example/prices"}],
    },
]


@pytest.fixture
async def resolver(registry):
    async with registry.store.read() as tx:
        from registry import prefixes  # noqa: PLC0415

        root = await prefixes.root(tx)
    trust = Trust.parse(encode(trust_document([root], [])))
    reading = Resolver(Reader(registry.store, registry.clock), Verifier(trust), ResolverSettings())
    await reading.start()
    transport = httpx.ASGITransport(create_app(reading))
    async with httpx.AsyncClient(transport=transport, base_url="http://resolver") as client:
        client.trust = trust
        yield client
    await reading.stop()


@pytest.fixture
async def parties(registry):
    """The holder, a partner (linked with the item), one who is named, and a stranger."""
    keys = {"stranger": (await registry.allocate("88.118.6")).api_key}
    keys["named"] = (await registry.allocate("88.118.7")).api_key
    keys["holder"] = (await registry.allocate("88.118.8")).api_key
    keys["partner"] = (await registry.allocate("88.118.9")).api_key
    return keys


async def register(registry, key, body):
    answer = await registry.post("/v1/identifiers", body, key=key)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def linked(registry, key):
    link = {
        "type": "CONTAINED_IN",
        "upstream": ITEM,
        "downstream": "88.118.9/PACK",
        "side": "upstream",
        "lifecycle": "asBuilt",
    }
    answer = await registry.post("/v1/links", link, key=key)
    assert answer.status_code in (200, 201), answer.text


def draft(identifier=ITEM, kind="item", **members):
    return {"identifier": identifier, "kind": kind, "attributes": {"open": "yes"}} | members


async def ask(resolver, key=None, query=""):
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    return await resolver.get(f"/{ITEM}{query}", headers=headers)


SEEN = {
    None: {"open", "colour"},
    "stranger": {"open", "colour"},
    "partner": {"open", "colour", "mass"},
    "named": {"open", "colour", "price"},
    "holder": {"open", "colour", "mass", "price"},
}


@pytest.mark.parametrize("who", SEEN)
async def test_each_sees_what_is_meant_for_him_and_all_verify(registry, resolver, parties, who):
    stored = await register(registry, parties["holder"], draft(hidden=HIDDEN))
    await linked(registry, parties["holder"])
    answer = await ask(resolver, parties.get(who))
    assert answer.status_code == 200, answer.text
    document = decode_object(answer.content)
    assert set(document["attributes"]) == SEEN[who]
    assert document["envelope"] == stored["envelope"]
    hidden = {"mass", "price"} - SEEN[who]
    targets = 0 if "price" in SEEN[who] else 1
    assert document.get("withheld", 0) == len(hidden) + targets
    verified = verify_answer(document, resolver.trust, NOW)
    assert verified.current
    assert verified.view["attributes"] == document["attributes"]
    for word in hidden:
        assert word not in answer.text


async def test_redaction_never_changes_the_verdict(registry, resolver, parties):
    """Whatever is taken out of an answer together with its disclosure, it verifies the same."""
    await register(registry, parties["holder"], draft(hidden=HIDDEN))
    document = decode_object((await ask(resolver, parties["holder"])).content)
    assert len(document["disclosures"]) == 4
    anonymous = decode_object((await ask(resolver)).content)
    for answer in (document, anonymous):
        assert verify_answer(answer, resolver.trust, NOW).current
    assert document["envelope"] == anonymous["envelope"]
    assert document["proof"] == anonymous["proof"]


async def test_what_is_shown_has_to_be_disclosed(registry, resolver, parties):
    await register(registry, parties["holder"], draft(hidden=HIDDEN))
    document = decode_object((await ask(resolver, parties["holder"])).content)
    document["disclosures"].pop()
    with pytest.raises(VerifyError) as refused:
        verify_answer(document, resolver.trust, NOW)
    assert refused.value.code == "E_ANSWER"
    document["disclosures"].append(document["disclosures"][0])
    with pytest.raises(VerifyError) as refused:
        verify_answer(document, resolver.trust, NOW)
    assert refused.value.code == "E_DISCLOSURE"


async def test_an_answer_to_somebody_is_kept_nowhere(registry, resolver, parties):
    await register(registry, parties["holder"], draft(hidden=HIDDEN))
    for key in (None, parties["holder"], None, parties["stranger"]):
        answer = await ask(resolver, key)
        private = key is not None
        assert (answer.headers["cache-control"] == "private, no-store") == private
        assert ("authorization" in answer.headers["vary"]) == private
        assert ("price" in answer.text) == (key == parties["holder"])


async def test_every_representation_is_of_the_caller(registry, resolver, parties):
    await register(registry, parties["holder"], draft(hidden=HIDDEN))
    for query in ("?format=linkset", "?format=html"):
        assert "a.example/prices" not in (await ask(resolver, query=query)).text
        assert "a.example/prices" in (await ask(resolver, parties["named"], query)).text
    query = "?linkType=gs1:pip"
    assert (await ask(resolver, query=query)).status_code == 404
    sent = await ask(resolver, parties["named"], query)
    assert (sent.status_code, sent.headers["location"]) == (307, "https://a.example/prices")


async def test_a_false_key_is_refused(registry, resolver, parties):
    await register(registry, parties["holder"], draft())
    answer = await ask(resolver, "tierlink_live_00000000_" + "0" * 32)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


async def test_what_a_class_hides_is_inherited_with_its_audience(registry, resolver, parties):
    hidden = [
        {
            "audience": ["partner"],
            "targets": [{"rel": "gs1:pip", "href": "https://a.example/class"}],
        }
    ]
    await register(registry, parties["holder"], draft(CLASS, "class", hidden=hidden))
    await register(registry, parties["holder"], draft(parent=CLASS))
    await linked(registry, parties["holder"])
    assert decode_object((await ask(resolver)).content)["targets"] == []
    document = decode_object((await ask(resolver, parties["partner"])).content)
    assert [item["href"] for item in document["targets"]] == ["https://a.example/class"]
    assert verify_answer(document, resolver.trust, NOW).current


async def test_the_same_draft_again_changes_nothing(registry, parties):
    body = draft(hidden=HIDDEN)
    first = await register(registry, parties["holder"], body)
    again = await registry.post("/v1/identifiers", body, key=parties["holder"])
    assert (again.status_code, again.json()["envelope"]) == (200, first["envelope"])


async def test_a_client_signs_and_sends_the_disclosures_along(registry, resolver, parties):
    holder = await hold(registry, "88.118.5")
    salt = bytes(range(16))
    opened = hide_attribute("mass", "3", salt)
    kept_back = hide_attribute("secret", "4", salt)
    record = hide(holder.record("A-1"), [opened, kept_back])
    body = {
        "envelope": holder.sign(record),
        "disclosures": [{"disclosure": opened.text, "audience": ["public"]}],
    }
    answer = await registry.post("/v1/identifiers", body, key=holder.api_key)
    assert answer.status_code == 201, answer.text
    document = decode_object((await resolver.get("/88.118.5/A-1")).content)
    assert document["attributes"] == {"mass": "3"}
    assert document["withheld"] == 1
    assert verify_answer(document, resolver.trust, NOW).current


@pytest.mark.parametrize("audience", [[], ["everybody"], ["88.A"], [7], "public", None])
async def test_audiences_that_are_none(registry, parties, audience):
    hidden = [{"audience": audience, "attributes": {"a": "1"}}]
    answer = await registry.post("/v1/identifiers", draft(hidden=hidden), key=parties["holder"])
    assert answer.status_code == 400, answer.text


async def test_a_disclosure_of_another_record_is_refused(registry):
    holder = await hold(registry, "88.118.5")
    foreign = hide_attribute("mass", "3", bytes(range(16)))
    body = holder.body("A-1") | {
        "disclosures": [{"disclosure": foreign.text, "audience": ["public"]}]
    }
    answer = await registry.post("/v1/identifiers", body, key=holder.api_key)
    assert (answer.status_code, answer.json()["code"]) == (400, "E_DISCLOSURE")


async def test_updates_and_batches_hide_too(registry, resolver, parties):
    await register(registry, parties["holder"], draft(hidden=HIDDEN))
    lines = b"".join(encode(draft(f"88.118.8/B-{n}", hidden=HIDDEN)) + b"\n" for n in range(3))
    answer = await registry.client.post(
        "/v1/identifiers/batch",
        content=lines,
        headers={
            "authorization": f"Bearer {parties['holder']}",
            "content-type": "application/x-ndjson",
        },
    )
    assert [line["status"] for line in map(decode_object, answer.content.splitlines())] == [201] * 3
    for n in range(3):
        shown = await resolver.get(
            f"/88.118.8/B-{n}", headers={"authorization": f"Bearer {parties['named']}"}
        )
        assert set(shown.json()["attributes"]) == {"open", "colour", "price"}
    hidden = [{"audience": ["public"], "attributes": {"mass": "3 kg"}}]
    changed = await registry.put(
        f"/v1/identifiers/{ITEM}", draft(hidden=hidden), key=parties["holder"], If_Match="1"
    )
    assert changed.status_code == 200, changed.text
    found = await resolver.get(f"/{ITEM}", headers={"authorization": f"Bearer {parties['named']}"})
    assert found.json()["attributes"] == {"open": "yes", "mass": "3 kg"}


async def test_nobody_makes_himself_a_partner(registry, resolver, parties):
    """A link that only the other end asserts opens nothing, nor one that the holder took back."""
    await register(registry, parties["holder"], draft(hidden=HIDDEN))
    await register(registry, parties["partner"], draft("88.118.9/PACK"))
    link = {
        "type": "CONTAINED_IN",
        "upstream": ITEM,
        "downstream": "88.118.9/PACK",
        "lifecycle": "asBuilt",
    }

    async def shown(who, **said):
        answer = await registry.post("/v1/links", link | said, key=parties[who])
        assert answer.status_code in (200, 201), answer.text
        seen = decode_object((await ask(resolver, parties["partner"])).content)
        return set(seen["attributes"])

    assert await shown("partner", side="downstream") == SEEN["stranger"]
    assert await shown("holder", side="upstream") == SEEN["partner"]
    assert await shown("holder", side="upstream", state="withdrawn") == SEEN["stranger"]


class TestLinksOfTheCaller:
    """Whoever gives an API key is shown his own links, and what is opened to him."""

    @pytest.fixture
    async def keys(self, registry):
        names = {"holder": "88.118.8", "partner": "88.118.9", "stranger": "88.118.6"}
        keys = {
            name: (await registry.allocate(prefix, opened=False)).api_key
            for name, prefix in names.items()
        }
        await register(registry, keys["holder"], draft(hidden=HIDDEN))
        await linked(registry, keys["holder"])
        return keys

    async def sees(self, resolver, key, query=""):
        document = decode_object((await ask(resolver, key, query)).content)
        assert verify_answer(document, resolver.trust, NOW).current
        return [item["identifier"] for item in document["links"]["downstream"]]

    async def test_his_own_make_him_a_partner_whatever_others_see(self, resolver, keys):
        assert await self.sees(resolver, keys["partner"]) == ["88.118.9/PACK"]
        assert await self.sees(resolver, keys["holder"]) == ["88.118.9/PACK"]
        assert await self.sees(resolver, keys["stranger"]) == await self.sees(resolver, None) == []
        shown = decode_object((await ask(resolver, keys["partner"])).content)
        assert set(shown["attributes"]) == SEEN["partner"]

    async def test_what_everybody_is_told_is_the_same_after_it(self, registry, resolver, keys):
        before = await ask(resolver)
        await ask(resolver, keys["partner"])
        after = await ask(resolver)
        assert (before.content, before.headers) == (after.content, after.headers)
        assert "88.118.9/PACK" not in after.text
        assert after.headers["etag"] != (await ask(resolver, keys["partner"])).headers["etag"]

    async def test_for_a_purpose(self, registry, resolver, keys):
        grant = {"iss": "88.118.8", "id": "g", "to": "88.118.6", "depth": 1, "purpose": "recall"}
        answer = await registry.post("/v1/grants", grant, key=keys["holder"])
        assert answer.status_code == 201, answer.text
        assert await self.sees(resolver, keys["stranger"]) == []
        assert await self.sees(resolver, keys["stranger"], "?purpose=recall") == ["88.118.9/PACK"]
        for key, query in ((None, "purpose=recall"), (keys["stranger"], "purpose=R")):
            answer = await ask(resolver, key, f"?{query}")
            assert (answer.status_code, answer.json()["code"]) == (400, "query_invalid")

    async def test_each_is_read_alone(self, registry, resolver, keys):
        asked = [keys["partner"], keys["stranger"], None, keys["holder"]] * 5
        found = await asyncio.gather(*(self.sees(resolver, key) for key in asked))
        assert [len(links) for links in found] == [1, 0, 0, 1] * 5
