"""Capture of EPCIS events: what becomes of links, once, wholly or not at all."""

import asyncio
import json
from urllib.parse import quote

import pytest
from sqlalchemy import select

from registry.store.tables import (
    assertion_history,
    assertions,
    changes,
    edges,
    epcis_captures,
    epcis_events,
    identifiers,
)
from schemas.link import parse_assertion
from tests.holders import hold
from tests.third_party import third_party

CONTEXT = "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"
MAKER, OTHER = "88.118.9", "88.118.8"
LD = "application/ld+json"


def uri(name, prefix=MAKER):
    return f"https://id.example/{prefix}/{name}"


def document(*events):
    return {
        "@context": CONTEXT,
        "type": "EPCISDocument",
        "schemaVersion": "2.0",
        "creationDate": "2026-11-18T10:13:20Z",
        "epcisBody": {"eventList": list(events)},
    }


def event(kind, minute, **members):
    return {
        "type": f"{kind}Event",
        "eventTime": f"2026-11-17T08:{minute:02}:00.250Z",
        "eventTimeZoneOffset": "+00:00",
    } | members


def held(minute, action="ADD", children=("CELL-1",), parent="MODULE", kind="Aggregation", **more):
    named = {"childEPCs": [uri(c, OTHER) for c in children]} if children else {}
    return event(kind, minute, action=action, parentID=uri(parent), **named, **more)


def at(minute, second=0):
    return 1_794_902_400 + minute * 60 + second  # 2026-11-17T08:00:00Z


class Capturer:
    def __init__(self, registry, holder):
        self.registry = registry
        self.key = holder.api_key

    async def ask(self, method, path, **options):
        headers = {"authorization": f"Bearer {self.key}"} | options.pop("headers", {})
        return await self.registry.client.request(method, path, headers=headers, **options)

    async def send(self, raw, *, query="", media=LD, **headers):
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.ask(
            "POST",
            f"/v1/epcis/capture{query}",
            content=raw,
            headers={"content-type": media} | sent,
        )

    async def capture(self, *events, **options):
        answer = await self.send(json.dumps(document(*events)), **options)
        assert answer.status_code == 202, answer.text
        return answer.json()

    async def rows(self, *columns):
        async with self.registry.store.read() as tx:
            return (await tx.connection.execute(select(*columns))).all()

    async def stated(self):
        """What stands, by (link ends' suffixes, occurrence, side)."""
        found = {}
        for row in await self.rows(assertions.c.envelope):
            said = parse_assertion(row.envelope)[1]
            ends = f"{said.link.upstream.suffix}>{said.link.downstream.suffix}"
            found[ends, said.link.occurrence, said.side] = said
        return found


@pytest.fixture
async def maker(registry):
    """A maker of modules with a hosted key, one module and a class of cells of its own."""
    capturer = Capturer(registry, await registry.allocate(MAKER))
    rule = {"pattern": "PART-{n:digits:1-9}", "targets": []}
    for body in (
        {"identifier": f"{MAKER}/PARTS", "kind": "class", "rule": rule},
        {"identifier": f"{MAKER}/MODULE", "kind": "item"},
    ):
        answer = await registry.post("/v1/identifiers", body, key=capturer.key)
        assert answer.status_code == 201, answer.text
    return capturer


async def test_added_taken_out_and_added_again(maker):
    job = await maker.capture(
        held(30, "DELETE"),  # not in the order of time
        held(10),
        held(20, "OBSERVE"),
        held(40),
        held(5, "OBSERVE"),  # before it came: says nothing
    )
    assert job["success"], job
    assert [item["links"] for item in job["outcomes"]] == [1, 1, 1, 1, 0]
    stated = await maker.stated()
    first, second = (stated["CELL-1>MODULE", n, "downstream"] for n in ("", "2"))
    assert len(stated) == 2  # the maker holds the module, and not the cell
    assert (first.valid_from, first.valid_until) == (at(10), at(30, 1))
    assert (second.valid_from, second.valid_until) == (at(40), None)
    hashes = [item["hash"] for item in job["outcomes"]]
    assert [item.id for item in first.evidence] == [hashes[n] for n in (1, 2, 0)]
    assert {item.kind for item in first.evidence} == {"epcis"}

    # A DELETE that names no child takes out all of them; the version before is kept.
    job = await maker.capture(held(50, "DELETE", children=()))
    assert job["outcomes"][0]["links"] == 1
    after = (await maker.stated())["CELL-1>MODULE", "2", "downstream"]
    assert (after.version, after.valid_until) == (2, at(50, 1))
    assert len(await maker.rows(assertion_history.c.link_key)) == 1


async def test_the_same_again_changes_nothing(maker):
    events = [
        event("Object", 1, action="ADD", epcList=[uri("NEW-1")]),
        held(10, eventID="urn:uuid:374d95fc-9457-4a51-bd6a-0bba133845a8"),
        event("Transformation", 12, inputEPCList=[uri("C", OTHER)], outputEPCList=[uri("NEW-1")]),
    ]
    await maker.capture(*events)
    counted = [len(await maker.rows(t.c.unit)) for t in (changes, assertions, epcis_events)]
    again = await maker.capture(*events, events[0], held(10, eventID="urn:uuid:another"))
    assert [item["outcome"] for item in again["outcomes"]] == ["known"] * 5
    assert [len(await maker.rows(t.c.unit)) for t in (changes, assertions, epcis_events)] == counted
    at_once = await asyncio.gather(*(maker.capture(held(11), held(12, "OBSERVE")) for _ in "123"))
    told = sorted(item["outcome"] for job in at_once for item in job["outcomes"])
    assert told == ["captured"] * 2 + ["known"] * 4
    said = (await maker.stated())["CELL-1>MODULE", "", "downstream"]
    assert (said.version, len(said.evidence)) == (2, 3)
    kept = dict(await maker.rows(epcis_events.c.hash, epcis_events.c.event_id))
    assert list(filter(None, kept.values())) == ["urn:uuid:374d95fc-9457-4a51-bd6a-0bba133845a8"]


async def test_a_transformation_in_two_events(maker):
    lot = {"epcClass": "urn:epc:class:lgtin:4012345.011111.4444", "uom": "KGM"}
    shared = {"transformationID": "urn:epc:id:gdti:0614141.12345.400"}
    job = await maker.capture(
        event("Transformation", 3, outputEPCList=[uri("PART-7")], **shared),
        event("Transformation", 2, inputQuantityList=[lot | {"quantity": 2.5}], **shared),
        event("Transformation", 4, inputQuantityList=[lot | {"quantity": 10}], **shared),
        event("Object", 1, action="ADD", quantityList=[lot]),
    )
    assert job["success"], job
    stated = await maker.stated()
    node = next(ends for ends, _, _ in stated if ends.endswith(">PART-7")).partition(">")[0]
    assert node.startswith("transformation/")
    taken = stated[f"01/04012345111118/10/4444>{node}", "", "downstream"]
    assert (taken.quantity.value, taken.quantity.unit) == ("12.5", "KGM")
    assert (taken.valid_from, taken.valid_until, len(taken.evidence)) == (at(2), None, 2)
    assert {side for _, _, side in stated} == {"upstream", "downstream"}  # both ends are its own
    kinds = dict(await maker.rows(identifiers.c.identifier, identifiers.c.kind))
    assert kinds[f"{MAKER}/{node}"] == "document"
    assert kinds[f"{MAKER}/01/04012345111118/10/4444"] == "batch"
    edge = await maker.rows(edges.c.sides)
    assert {row.sides for row in edge} == {3}


async def test_an_event_declared_wrong(maker):
    error = {"declarationTime": "2026-11-17T09:00:00Z", "reason": "incorrect_data"}
    add, see, out = held(10), held(15, "OBSERVE"), held(20, "DELETE", children=())
    await maker.capture(add, see, out)
    # The removal was wrong: the period is open again.
    job = await maker.capture(out | {"errorDeclaration": error})
    assert [(i["outcome"], i["links"]) for i in job["outcomes"]] == [("corrected", 1)]
    said = (await maker.stated())["CELL-1>MODULE", "", "downstream"]
    assert (said.version, said.valid_until, len(said.evidence)) == (2, None, 2)
    # Again it is known, with and without the error.
    job = await maker.capture(out | {"errorDeclaration": error}, out)
    assert [i["outcome"] for i in job["outcomes"]] == ["known", "known"]
    # What opened it was wrong: what only saw it opens nothing.
    job = await maker.capture(add | {"errorDeclaration": error})
    assert job["outcomes"][0]["links"] == 1
    assert (await maker.stated())["CELL-1>MODULE", "", "downstream"].state == "withdrawn"
    assert not any(row.sides for row in await maker.rows(edges.c.sides))
    # Found by what it calls itself, though it says something else now.
    name = {"eventID": "urn:uuid:fd338495-0e6d-41dd-afee-a862ecd32518"}
    await maker.capture(held(30, **name))
    job = await maker.capture(
        event("Aggregation", 31, action="OBSERVE", parentID=uri("MODULE"), **name,
              childEPCs=[uri("CELL-9", OTHER)], errorDeclaration=error)
    )  # fmt: skip
    assert job["outcomes"][0]["links"] == 1
    assert (await maker.stated())["CELL-1>MODULE", "", "downstream"].state == "withdrawn"


async def test_rollback_leaves_a_report_and_nothing_else(maker):
    before = [len(await maker.rows(t.c.unit)) for t in (changes, identifiers)]
    job = await maker.capture(
        event("Object", 1, action="ADD", epcList=[uri("NEW-1")]),
        held(10),
        held(11, parent="NEVER"),
    )
    assert not job["success"]
    assert [item["outcome"] for item in job["outcomes"]] == ["dropped", "dropped", "refused"]
    assert job["errors"][0]["code"] == "identifier_not_found"
    assert "event 2" in job["errors"][0]["detail"]
    assert await maker.rows(assertions.c.unit) == await maker.rows(epcis_events.c.unit) == []
    assert [len(await maker.rows(t.c.unit)) for t in (changes, identifiers)] == before
    assert len(await maker.rows(epcis_captures.c.unit)) == 1


async def test_proceed_tells_of_each(maker):
    pattern = {"epcClass": "urn:epc:idpat:sgtin:4012345.098765.*", "quantity": 10}
    wrong = "https://id.gs1.org/00/040123450000003339"
    job = await maker.capture(
        held(10),
        held(11) | {"eventTime": "22-07-2026"},
        event("Aggregation", 12, action="ADD", parentID=uri("M", OTHER),
              childEPCs=[uri("C", OTHER)]),
        held(13, children=(), childQuantityList=[pattern]),
        event("Object", 14, action="ADD", epcList=[wrong]),
        event("Object", 15, action="ADD", epcList=[uri("X", OTHER)]),
        held(16, children=(), childEPCs=[uri("MODULE")]),
        held(17, children=("A", "B"), childQuantityList=[
            {"epcClass": uri("A", OTHER), "quantity": 1, "uom": "KGM"},
            {"epcClass": uri("A", OTHER), "quantity": 1, "uom": "GRM"}]),
        held(10, "DELETE") | {"eventTime": "2026-11-17T08:10:00Z"},
        held(18) | {"eventTime": "2027-11-17T08:10:00Z"},
        event("Aggregation", 19, action="DELETE", parentID=uri("M", OTHER)),
        held(20, "OBSERVE"),
        GS1_Capture_Error_Behaviour="proceed",
    )  # fmt: skip
    told = {item["event"]: item.get("problem", {}) for item in job["outcomes"]}
    details = {at: (found["code"], found["detail"]) for at, found in told.items() if found}
    assert job["success"]
    assert job["events"]["captured"] == 3
    assert sorted(details) == [1, 2, 3, 4, 5, 6, 7, 9, 10]
    for at_, part in {
        1: "eventTime is not a time", 2: "no end of the link is under", 3: "a pattern",
        4: "8 belongs there", 5: "under the prefix of somebody else", 6: "linked to itself",
        7: "is in GRM", 9: "in the future", 10: "nothing that",
    }.items():  # fmt: skip
        assert part in details[at_][1], details[at_]
        assert f"event {at_}: " in details[at_][1]
        assert told[at_]["event"] == at_
        assert told[at_]["fix"]
    assert "id.gs1.org/01/04012345987652" in told[3]["fix"]
    said = (await maker.stated())["CELL-1>MODULE", "", "downstream"]
    assert (len(said.evidence), said.valid_until) == (2, None)


async def test_leaving_in_the_second_of_coming(maker):
    whole = {"eventTime": "2026-11-17T08:10:00Z"}
    job = await maker.capture(
        held(10) | whole,
        held(10, "DELETE") | {"eventTime": "2026-11-17T16:10:00+08:00"},
        GS1_Capture_Error_Behaviour="proceed",
    )
    assert "in the second in which it came" in job["errors"][0]["detail"]
    # An unknown event that is wrong, and then the event itself: it never happened.
    error = {"declarationTime": "2026-11-17T09:00:00Z"}
    job = await maker.capture(held(50, children=("Z",)) | {"errorDeclaration": error})
    assert job["outcomes"][0] | {"hash": ""} == {
        "event": 0, "outcome": "corrected", "links": 0, "hash": "",
    }  # fmt: skip
    job = await maker.capture(held(50, children=("Z",)))
    assert job["outcomes"][0]["outcome"] == "known"


async def test_refused_at_the_door(maker, registry):
    body = json.dumps(document(held(10)))
    for answer, status, code in (
        (await maker.send(body, media="application/xml"), 415, "media_type_unsupported"),
        (await maker.send(b" " * (4 * 1024 * 1024 + 1)), 413, "too_large"),
        (await maker.send(b"{"), 400, "epcis_invalid"),
        (await maker.send(body, GS1_EPCIS_Version="1.2"), 406, "not_acceptable"),
        (await maker.send(body, GS1_Capture_Error_Behaviour="maybe"), 400, "input_invalid"),
        (await maker.send(body, query="?check_digits=no"), 400, "query_invalid"),
        (await maker.send(json.dumps(document(held(10, bizStep="baking")))), 400, "epcis_invalid"),
        (await maker.send(json.dumps(document(*[held(1)] * 2001))), 413, "too_large"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    keeper = Capturer(registry, await hold(registry, "88.118.7"))
    answer = await keeper.send(body)
    assert (answer.status_code, answer.json()["code"]) == (409, "key_not_hosted")
    nobody = await registry.client.post("/v1/epcis/capture", content=body)
    assert nobody.status_code == 401
    assert await maker.rows(epcis_captures.c.unit) == []
    told = await maker.ask("OPTIONS", "/v1/epcis/capture")
    assert told.status_code == 204
    assert told.headers["gs1-epcis-capture-limit"] == "2000"
    assert told.headers["gs1-epcis-max"] == "2.0.0"


async def test_what_is_kept_is_for_the_capturer(maker, registry):
    sent = held(10, **{"example:note": "näh", "example:weight": 12.50})
    raw = json.dumps(document(sent) | {"@context": [CONTEXT, {"example": "https://e.example/"}]})
    answer = await maker.send(raw.replace("12.5", "12.50"), media="application/json; charset=utf-8")
    job = answer.json()
    assert answer.headers["location"] == f"/v1/epcis/capture/{job['captureID']}"
    assert (await maker.ask("GET", answer.headers["location"])).json() == job
    registry.clock.now += 1
    await maker.capture(held(11))
    listed = await maker.ask("GET", "/v1/epcis/capture?perPage=1")
    assert [item["captureID"] for item in listed.json()] != [job["captureID"]]
    following = listed.headers["link"].partition(">")[0].removeprefix("<")
    last = await maker.ask("GET", following)
    assert [item["captureID"] for item in last.json()] == [job["captureID"]]
    assert "link" not in last.headers
    hash_ = job["outcomes"][0]["hash"].removeprefix("ni:///sha-256;").removesuffix("?ver=CBV2.0")
    kept = await maker.ask("GET", f"/v1/epcis/events/{hash_}")
    assert kept.headers["content-type"] == LD
    assert '"example:weight":12.50' in kept.text  # as it was written
    assert kept.json()["example:note"] == "näh"
    stranger = Capturer(registry, await registry.allocate("88.118.7"))
    for path in (f"/v1/epcis/events/{hash_}", f"/v1/epcis/capture/{job['captureID']}"):
        assert (await stranger.ask("GET", path)).status_code == 404
    assert (await stranger.ask("GET", "/v1/epcis/capture")).json() == []
    named = await maker.ask("GET", f"/v1/epcis/events/{quote(job['outcomes'][0]['hash'], safe='')}")
    assert named.content == kept.content
    for path, status in (
        ("/v1/epcis/events/abc", 400),
        ("/v1/epcis/capture/a%00b", 404),
        ("/v1/epcis/capture?nextPageToken=a%00b", 400),
        ("/v1/epcis/capture?perPage=0", 400),
    ):
        assert (await maker.ask("GET", path)).status_code == status


async def test_the_statements_do_not_grow_with_the_events(maker, registry, sql_recorder):
    counts = []
    for events in (range(1), range(1, 3), range(10, 50)):
        parts = [
            held(n, children=[f"CELL-{n}-{m}" for m in range(5)], parent=f"PART-{n}")
            for n in events
        ]
        born = event("Object", 1, action="ADD", epcList=[uri(f"N-{n}") for n in events])
        async with sql_recorder(registry.store.engine) as statements:
            job = await maker.capture(born, *parts)
        assert job["success"], job
        counts.append(len([s for s in statements if s != "SELECT 1"]))
    assert counts[1] == counts[2] <= 30, counts  # the first prepares what is sent often


async def test_the_generated_events(maker):
    """932 events of another project: no eventID, wrong check digits, 21 parents of one child."""
    raw = third_party("epcis", "Generated Events.json").read_bytes()
    rules = ("00/{n:digits:18}", "01/{g:digits:14}/21/{s:alnum:1-20}")
    for number, pattern in enumerate(rules):
        body = {"identifier": f"{MAKER}/R-{number}", "kind": "class",
                "rule": {"pattern": pattern, "targets": []}}  # fmt: skip
        answer = await maker.registry.post("/v1/identifiers", body, key=maker.key)
        assert answer.status_code == 201, answer.text
    strict = (await maker.send(raw)).json()
    assert not strict["success"]
    assert strict["errors"][0]["fix"] == "correct it, or capture with check_digits=lenient"
    job = (await maker.send(raw, query="?check_digits=lenient")).json()
    assert job["success"], job["errors"]
    assert job["events"]["captured"] + job["events"]["known"] == 932
    assert len(await maker.rows(edges.c.sides)) == 2 * 1472
    assert {row.sides for row in await maker.rows(edges.c.sides)} == {3}
