"""Identifiers over HTTP: every answer of the contract, and what is refused how."""

import itertools
import json
from dataclasses import replace

import pytest
from sqlalchemy import select

from registry.store.tables import changes, identifier_history, identifiers, rules
from schemas.change import Op
from schemas.envelope import digest
from schemas.record import RETIRED, SUSPENDED, parse_record
from tests.holders import TARGET, hold

PREFIX = "88.118.8"
ITEM = f"{PREFIX}/A-1"
PATH = f"/v1/identifiers/{ITEM}"
RULE = {
    "pattern": "A-{n:digits:6}",
    "targets": [{"rel": "gs1:pip", "template": "https://a.example/{n}"}],
}


@pytest.fixture
async def hosted(registry):
    return await registry.allocate(PREFIX)


@pytest.fixture
async def holder(registry):
    return await hold(registry, "88.118.9")


def draft(identifier=ITEM, kind="item", **members):
    return {"identifier": identifier, "kind": kind} | members


async def rows(registry, *columns):
    async with registry.store.read() as tx:
        return [tuple(row) for row in await tx.connection.execute(select(*columns))]


async def told(registry):
    """The changes about identifiers, in order."""
    async with registry.store.read() as tx:
        query = select(changes.c.op, changes.c.about, changes.c.version, changes.c.digest)
        found = await tx.connection.execute(
            query.where(changes.c.op != Op.PREFIX).order_by(changes.c.xid, changes.c.id)
        )
        return [tuple(row) for row in found]


class TestRegister:
    async def test_a_draft_is_signed_with_the_hosted_key(self, registry, hosted):
        targets = [{"rel": "gs1:pip", "href": "https://a.example/1", "title": "电芯"}]
        answer = await registry.post("/v1/identifiers", draft(targets=targets), key=hosted.api_key)
        assert answer.status_code == 201, answer.text
        view = answer.json()
        assert list(view) == [
            "identifier", "version", "kind", "status", "issued_at", "digest", "envelope",
        ]  # fmt: skip
        assert (view["identifier"], view["version"], view["kind"]) == (ITEM, 1, "item")
        assert answer.headers["etag"] == '"1"'
        assert answer.headers["location"] == f"/{ITEM}"
        envelope, record = parse_record(view["envelope"])
        assert record.targets[0].title == "电芯"
        assert envelope.digest == view["digest"]
        assert await told(registry) == [(Op.RECORD, ITEM, 1, view["digest"])]

    async def test_an_envelope_is_stored_as_it_came(self, registry, holder):
        body = holder.body("钢-1", targets=(TARGET,))
        answer = await registry.post("/v1/identifiers", body, key=holder.api_key)
        assert answer.status_code == 201, answer.text
        assert answer.json()["envelope"] == body["envelope"]
        assert answer.headers["location"] == "/88.118.9/%E9%92%A2-1"
        shown = await registry.get("/v1/identifiers/88.118.9/%E9%92%A2-1")
        assert shown.json() == answer.json()

    async def test_the_same_content_again_is_answered_with_what_stands(self, registry, hosted):
        first = await registry.post("/v1/identifiers", draft(), key=hosted.api_key)
        registry.clock.now += 60
        again = await registry.post("/v1/identifiers", draft(), key=hosted.api_key)
        assert (again.status_code, again.json()) == (200, first.json())
        assert len(await told(registry)) == 1

    async def test_the_same_content_signed_anew_is_the_same(self, registry, holder):
        first = holder.body("A-1", targets=(TARGET,))
        await registry.post("/v1/identifiers", first, key=holder.api_key)
        later = holder.body("A-1", targets=(TARGET,), issued_at=holder.now + 9)
        again = await registry.post("/v1/identifiers", later, key=holder.api_key)
        assert again.status_code == 200
        assert again.json()["envelope"] == first["envelope"]

    async def test_other_content_is_a_conflict(self, registry, hosted):
        await registry.post("/v1/identifiers", draft(), key=hosted.api_key)
        other = draft(attributes={"colour": "red"})
        answer = await registry.post("/v1/identifiers", other, key=hosted.api_key)
        assert answer.status_code == 409
        assert answer.json()["code"] == "already_registered"
        assert answer.json()["value"] == ITEM
        assert 'If-Match: "1"' in answer.json()["fix"]

    async def test_the_content_of_a_later_version_is_the_same_too(self, registry, hosted):
        key = hosted.api_key
        await registry.post("/v1/identifiers", draft(), key=key)
        red = draft(attributes={"colour": "red"})
        await registry.put(PATH, red, key=key, If_Match='"1"')
        answer = await registry.post("/v1/identifiers", red, key=key)
        assert (answer.status_code, answer.json()["version"]) == (200, 2)

    async def test_a_rule_is_found_by_its_head(self, registry, hosted):
        body = draft(f"{PREFIX}/CLASS", "class", rule=RULE)
        answer = await registry.post("/v1/identifiers", body, key=hosted.api_key)
        assert answer.status_code == 201, answer.text
        assert await rows(registry, rules.c.identifier, rules.c.head, rules.c.pattern) == [
            (f"{PREFIX}/CLASS", "A-", "A-{n:digits:6}")
        ]
        assert [row[0] for row in await told(registry)] == [Op.RULE]

    async def test_the_next_version_may_be_posted_as_an_envelope(self, registry, holder):
        record = holder.record("A-1")
        token = holder.sign(record)
        await registry.post("/v1/identifiers", {"envelope": token}, key=holder.api_key)
        following = holder.sign(holder.after(record, token, status=SUSPENDED))
        body = {"envelope": following}
        answer = await registry.post("/v1/identifiers", body, key=holder.api_key)
        assert (answer.status_code, answer.json()["version"]) == (200, 2)

    async def test_a_repeated_idempotency_key_is_answered_alike(self, registry, hosted):
        sent = {"key": hosted.api_key, "Idempotency_Key": "once"}
        first = await registry.post("/v1/identifiers", draft(), **sent)
        again = await registry.post("/v1/identifiers", draft(), **sent)
        assert (again.status_code, again.content) == (201, first.content)
        assert again.headers["idempotency-replayed"] == "true"
        assert again.headers["etag"] == first.headers["etag"]


class TestRefused:
    async def test_without_an_api_key(self, registry):
        answer = await registry.post("/v1/identifiers", draft())
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")

    @pytest.mark.parametrize("prefix", ["88.118", "88.118.80", "88.118.8.1"])
    async def test_outside_the_callers_prefix(self, registry, hosted, prefix):
        answer = await registry.post("/v1/identifiers", draft(f"{prefix}/A-1"), key=hosted.api_key)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")

    @pytest.mark.usefixtures("hosted")
    async def test_the_holder_of_the_parent_does_not_register_below(self, registry):
        answer = await registry.post("/v1/identifiers", draft(), key=registry.operator)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")

    async def test_under_a_suspended_prefix(self, registry, hosted):
        await registry.post(f"/v1/prefixes/{PREFIX}/suspend", key=registry.operator)
        answer = await registry.post("/v1/identifiers", draft(), key=hosted.api_key)
        assert (answer.status_code, answer.json()["code"]) == (403, "prefix_suspended")
        shown = await registry.get(PATH)
        assert (shown.status_code, shown.json()["code"]) == (403, "prefix_suspended")

    async def test_a_draft_where_no_key_is_hosted(self, registry, holder):
        answer = await registry.post("/v1/identifiers", draft("88.118.9/A-1"), key=holder.api_key)
        assert (answer.status_code, answer.json()["code"]) == (409, "key_not_hosted")

    async def test_a_key_that_is_not_the_holders(self, registry, holder):
        stranger = await hold(registry, "88.118.10", name="stranger")
        body = {"envelope": stranger.sign(holder.record("A-1"))}
        answer = await registry.post("/v1/identifiers", body, key=holder.api_key)
        assert (answer.status_code, answer.json()["code"]) == (400, "E_CHAIN")

    async def test_a_key_that_may_not_sign_records(self, registry):
        holder = await hold(registry, "88.118.11", use=["delegate"])
        answer = await registry.post("/v1/identifiers", holder.body("A-1"), key=holder.api_key)
        assert (answer.status_code, answer.json()["code"]) == (400, "E_CHAIN")

    async def test_a_broken_signature(self, registry, holder):
        token = holder.sign(holder.record("A-1"))
        head, _, signature = token.rpartition(".")
        flipped = ("B" if signature[0] == "A" else "A") + signature[1:]
        body = {"envelope": f"{head}.{flipped}"}
        answer = await registry.post("/v1/identifiers", body, key=holder.api_key)
        assert (answer.status_code, answer.json()["code"]) == (400, "E_SIG")

    @pytest.mark.parametrize(("ahead", "status"), [(300, 201), (301, 400)])
    async def test_issued_in_the_future(self, registry, holder, ahead, status):
        body = holder.body("A-1", issued_at=holder.now + ahead)
        answer = await registry.post("/v1/identifiers", body, key=holder.api_key)
        assert answer.status_code == status
        assert status == 201 or answer.json()["code"] == "E_TIME"

    async def test_a_first_version_that_is_retired(self, registry, hosted):
        answer = await registry.post("/v1/identifiers", draft(status=RETIRED), key=hosted.api_key)
        assert (answer.status_code, answer.json()["code"]) == (400, "record_invalid")

    async def test_a_next_version_of_nothing(self, registry, holder):
        record = replace(holder.record("A-1"), version=2, prev=digest("x"))
        body = {"envelope": holder.sign(record)}
        answer = await registry.post("/v1/identifiers", body, key=holder.api_key)
        assert (answer.status_code, answer.json()["code"]) == (404, "identifier_not_found")


# What is sent, the code it is refused with, and the position of the first bad character.
BAD = {
    "no slash": (draft("88.118.8"), "identifier_invalid", 8),
    "empty suffix": (draft(f"{PREFIX}/"), "identifier_invalid", 9),
    "upper case in the prefix": (draft("88.11A.8/X"), "identifier_invalid", 5),
    "empty label": (draft("88..8/X"), "identifier_invalid", 3),
    "NUL in the suffix": (draft(f"{PREFIX}/A\0B"), "identifier_invalid", 10),
    "line break in the suffix": (draft(f"{PREFIX}/A\n"), "identifier_invalid", 10),
    "suffix in NFD": (draft(f"{PREFIX}/Zu\u0308rich"), "identifier_invalid", 10),
    "identifier of 1,025 bytes": (
        draft(f"{PREFIX}/{'a' * 1016}"),
        "identifier_invalid",
        1024,
    ),
    "identifier is a number": (draft(7), "record_invalid", None),
    "identifier is missing": ({"kind": "item"}, "record_invalid", None),
    "kind is missing": ({"identifier": ITEM}, "record_invalid", None),
    "kind is unknown": (draft(kind="thing"), "record_invalid", None),
    "status is unknown": (draft(status="sold"), "record_invalid", None),
    "an unknown member": (draft(colour="red"), "record_invalid", None),
    "a null": (draft(parent=None), "record_invalid", None),
    "parent of another prefix": (draft(parent="88.118.80/B"), "record_invalid", None),
    "parent is itself": (draft(parent=ITEM), "record_invalid", None),
    "parent is malformed": (draft(parent="88.118.8"), "identifier_invalid", 8),
    "targets is an object": (draft(targets={}), "record_invalid", None),
    "target is a string": (draft(targets=["https://a.example"]), "record_invalid", None),
    "href is relative": (
        draft(targets=[{"rel": "gs1:pip", "href": "/a"}]),
        "record_invalid",
        None,
    ),
    "257 targets": (
        draft(targets=[{"rel": "gs1:pip", "href": "https://a.example/"}] * 257),
        "record_invalid",
        None,
    ),
    "attributes is an array": (draft(attributes=[]), "record_invalid", None),
    "a fraction": (draft(attributes={"mass": 1.5}), "input_invalid", None),
    "a huge number": (draft(nbf=2**53), "input_invalid", None),
    "a number of 400 digits": (draft(attributes={"n": 10**400}), "input_invalid", None),
    "a negative time": (draft(nbf=-1), "record_invalid", None),
    "a time as text": (draft(exp="2030"), "record_invalid", None),
    "ends before it begins": (draft(nbf=5, exp=5), "record_invalid", None),
    "a rule on an item": (draft(rule=RULE), "record_invalid", None),
    "a malformed rule": (draft(kind="class", rule={"pattern": "x{"}), "record_invalid", 1),
    "attribute name not in ASCII": (draft(attributes={"质量": "1"}), "input_invalid", None),
    "a retired record with content": (
        draft(status="retired", attributes={"a": 1}),
        "record_invalid",
        None,
    ),
    "envelope and something else": ({"envelope": "a.b.c", "kind": "item"}, "record_invalid", None),
    "envelope is a number": ({"envelope": 1}, "E_FORMAT", None),
    "envelope is empty": ({"envelope": ""}, "E_FORMAT", None),
    "envelope is no JWS": ({"envelope": "a.b.c"}, "E_ENCODING", None),
    "an array": ([draft()], "input_invalid", None),
    "a string": ("draft", "input_invalid", None),
}


@pytest.mark.parametrize(("body", "code", "position"), BAD.values(), ids=list(BAD))
async def test_bad_input_is_named(registry, hosted, body, code, position):
    answer = await registry.post("/v1/identifiers", body, key=hosted.api_key)
    assert (answer.status_code, answer.json()["code"]) == (400, code), answer.text
    assert answer.json().get("position") == position
    assert answer.headers["content-type"] == "application/problem+json"
    assert await told(registry) == []


# Bodies that no JSON library would send.
RAW = {
    "not JSON": (b"{", 400, "input_invalid"),
    "not UTF-8": (b'{"kind":"\xff"}', 400, "input_invalid"),
    "a byte order mark": (b"\xef\xbb\xbf{}", 400, "input_invalid"),
    "a member twice": (b'{"kind":"item","kind":"class"}', 400, "input_invalid"),
    "a lone surrogate": (b'{"kind":"\\ud800"}', 400, "input_invalid"),
    "a lone surrogate in the identifier": (
        b'{"identifier":"88.118.8/A\\ud800"}',
        400,
        "identifier_invalid",
    ),
    "NaN": (b'{"nbf":NaN}', 400, "input_invalid"),
    "nested too deep": (b'{"attributes":' + b"[" * 5000, 400, "input_invalid"),
    "empty": (b"", 400, "input_invalid"),
    "128 KiB and one byte": (b" " * (128 * 1024 + 1), 413, "too_large"),
}


@pytest.mark.parametrize(("raw", "status", "code"), RAW.values(), ids=list(RAW))
async def test_bad_bodies(registry, hosted, raw, status, code):
    headers = {
        "authorization": f"Bearer {hosted.api_key}",
        "content-type": "application/json",
    }
    answer = await registry.client.post("/v1/identifiers", content=raw, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


async def test_a_body_must_be_declared_as_json(registry, hosted):
    headers = {"authorization": f"Bearer {hosted.api_key}", "content-type": "text/plain"}
    body = json.dumps(draft()).encode()
    answer = await registry.client.post("/v1/identifiers", content=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (415, "media_type_unsupported")


# Paths, already percent-encoded as sent.
PATHS = {
    "no suffix": (f"{PREFIX}/", 9),
    "no slash": (PREFIX, 8),
    "a broken escape": (f"{PREFIX}/A%zz", 10),
    "not UTF-8": (f"{PREFIX}/%ff", 9),
    "NUL": (f"{PREFIX}/A%00", 10),
    "NFD": (f"{PREFIX}/u%CC%88", 9),
    "a bidi override": (f"{PREFIX}/A%E2%80%AEB", 10),
}


@pytest.mark.parametrize(("path", "position"), PATHS.values(), ids=list(PATHS))
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_bad_paths(registry, hosted, method, path, position):
    body = {"kind": "item"} if method == "PUT" else None
    answer = await registry.send(method, f"/v1/identifiers/{path}", body, key=hosted.api_key)
    assert (answer.status_code, answer.json()["code"]) == (400, "identifier_invalid")
    assert answer.json()["position"] == position


class TestUpdate:
    async def test_a_draft_replaces_the_version_it_names(self, registry, hosted):
        key = hosted.api_key
        first = await registry.post("/v1/identifiers", draft(), key=key)
        registry.clock.now += 5
        body = {"kind": "item", "attributes": {"colour": "red"}}
        answer = await registry.put(PATH, body, key=key, If_Match='"1"')
        assert answer.status_code == 200, answer.text
        assert answer.headers["etag"] == '"2"'
        record = parse_record(answer.json()["envelope"])[1]
        assert (record.version, record.prev) == (2, first.json()["digest"])
        assert record.issued_at == registry.clock.now
        assert await rows(registry, identifier_history.c.version, identifier_history.c.digest) == [
            (1, first.json()["digest"])
        ]
        assert [row[2] for row in await told(registry)] == [1, 2]

    @pytest.mark.parametrize("match", ['"1"', '"1.0123456789abcdef"', "*", "1", ' "1" '])
    async def test_what_if_match_may_be(self, registry, hosted, match):
        await registry.post("/v1/identifiers", draft(), key=hosted.api_key)
        body = draft(status=SUSPENDED)
        answer = await registry.put(PATH, body, key=hosted.api_key, If_Match=match)
        assert (answer.status_code, answer.json()["status"]) == (200, SUSPENDED)

    @pytest.mark.parametrize("match", ['"2"', '"0"', '"9999999999999999"'])
    async def test_a_stale_if_match(self, registry, hosted, match):
        await registry.post("/v1/identifiers", draft(), key=hosted.api_key)
        body = draft(status=SUSPENDED)
        answer = await registry.put(PATH, body, key=hosted.api_key, If_Match=match)
        assert (answer.status_code, answer.json()["code"]) == (412, "version_stale")

    @pytest.mark.parametrize("match", ["one", 'W/"1"', '"1", "2"', '"99999999999999999999"', '""'])
    async def test_a_malformed_if_match(self, registry, hosted, match):
        await registry.post("/v1/identifiers", draft(), key=hosted.api_key)
        answer = await registry.put(PATH, draft(), key=hosted.api_key, If_Match=match)
        assert (answer.status_code, answer.json()["code"]) == (400, "input_invalid")

    async def test_a_draft_without_if_match(self, registry, hosted):
        await registry.post("/v1/identifiers", draft(), key=hosted.api_key)
        answer = await registry.put(PATH, draft(status=SUSPENDED), key=hosted.api_key)
        assert (answer.status_code, answer.json()["code"]) == (428, "precondition_required")

    async def test_the_same_draft_is_no_new_version(self, registry, hosted):
        first = await registry.post("/v1/identifiers", draft(), key=hosted.api_key)
        answer = await registry.put(PATH, draft(), key=hosted.api_key, If_Match='"1"')
        assert (answer.status_code, answer.json()) == (200, first.json())
        assert len(await told(registry)) == 1

    async def test_an_envelope_carries_its_own_condition(self, registry, holder):
        path, key = "/v1/identifiers/88.118.9/A-1", holder.api_key
        record = holder.record("A-1")
        token = holder.sign(record)
        await registry.post("/v1/identifiers", {"envelope": token}, key=key)
        body = {"envelope": holder.sign(holder.after(record, token, targets=(TARGET,)))}
        answer = await registry.put(path, body, key=key)
        assert (answer.status_code, answer.json()["version"]) == (200, 2)
        again = await registry.put(path, body, key=key, If_Match='"1"')
        assert (again.status_code, again.json()) == (200, answer.json())
        assert len(await told(registry)) == 2

    @pytest.mark.parametrize(
        "changes_of_it",
        [{"version": 3}, {"prev": digest("another")}, {"version": 1, "prev": None}],
        ids=["skips a version", "another predecessor", "the first version again"],
    )
    async def test_an_envelope_that_is_not_the_next(self, registry, holder, changes_of_it):
        record = holder.record("A-1")
        token = holder.sign(record)
        await registry.post("/v1/identifiers", {"envelope": token}, key=holder.api_key)
        following = holder.after(record, token, targets=(TARGET,))
        body = {"envelope": holder.sign(replace(following, **changes_of_it))}
        path = "/v1/identifiers/88.118.9/A-1"
        answer = await registry.put(path, body, key=holder.api_key)
        assert (answer.status_code, answer.json()["code"]) == (412, "version_stale")
        assert digest(token) in answer.json()["fix"]

    async def test_an_envelope_whose_if_match_is_stale(self, registry, holder):
        record = holder.record("A-1")
        token = holder.sign(record)
        await registry.post("/v1/identifiers", {"envelope": token}, key=holder.api_key)
        body = {"envelope": holder.sign(holder.after(record, token, targets=(TARGET,)))}
        path = "/v1/identifiers/88.118.9/A-1"
        answer = await registry.put(path, body, key=holder.api_key, If_Match='"7"')
        assert (answer.status_code, answer.json()["code"]) == (412, "version_stale")

    async def test_a_kind_never_changes(self, registry, hosted):
        await registry.post("/v1/identifiers", draft(), key=hosted.api_key)
        answer = await registry.put(PATH, draft(kind="batch"), key=hosted.api_key, If_Match='"1"')
        assert (answer.status_code, answer.json()["code"]) == (400, "record_invalid")

    async def test_the_body_is_about_another(self, registry, hosted):
        await registry.post("/v1/identifiers", draft(), key=hosted.api_key)
        other = draft(f"{PREFIX}/B-1")
        answer = await registry.put(PATH, other, key=hosted.api_key, If_Match='"1"')
        assert (answer.status_code, answer.json()["code"]) == (400, "record_invalid")

    async def test_nothing_is_there(self, registry, hosted, holder):
        answer = await registry.put(PATH, draft(), key=hosted.api_key, If_Match='"1"')
        assert (answer.status_code, answer.json()["code"]) == (404, "identifier_not_found")
        path = "/v1/identifiers/88.118.9/A-1"
        answer = await registry.put(path, holder.body("A-1"), key=holder.api_key)
        assert (answer.status_code, answer.json()["code"]) == (404, "identifier_not_found")

    async def test_somebody_elses(self, registry, hosted, holder):
        await registry.post("/v1/identifiers", draft(), key=hosted.api_key)
        answer = await registry.put(PATH, draft(), key=holder.api_key, If_Match='"1"')
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")

    async def test_the_rule_is_kept_in_step(self, registry, hosted):
        path, name, key = f"/v1/identifiers/{PREFIX}/C", f"{PREFIX}/C", hosted.api_key
        other = RULE | {"pattern": "B-{n:digits:6}"}
        await registry.post("/v1/identifiers", draft(name, "class", rule=RULE), key=key)
        seen = []
        steps = [
            draft(name, "class", rule=RULE, status=SUSPENDED),  # the rule as before
            draft(name, "class", rule=other),
            draft(name, "class"),
            draft(name, "class", rule=RULE),
        ]
        for version, body in enumerate(steps, 1):
            answer = await registry.put(path, body, key=key, If_Match=f'"{version}"')
            assert answer.status_code == 200, answer.text
            seen.append([head for (head,) in await rows(registry, rules.c.head)])
        assert seen == [["A-"], ["B-"], [], ["A-"]]
        ops = [row[0] for row in await told(registry)]
        assert ops == [Op.RULE, Op.RECORD, Op.RULE, Op.RULE, Op.RULE]
        answer = await registry.delete(path, key=key)
        assert answer.status_code == 200
        assert await rows(registry, rules.c.head) == []
        assert (await told(registry))[-1][0] == Op.RULE


class TestRetire:
    async def test_with_the_hosted_key(self, registry, hosted):
        body = draft(attributes={"colour": "red"})
        first = await registry.post("/v1/identifiers", body, key=hosted.api_key)
        answer = await registry.delete(PATH, key=hosted.api_key, If_Match='"1"')
        assert answer.status_code == 200, answer.text
        assert (answer.json()["status"], answer.json()["version"]) == (RETIRED, 2)
        record = parse_record(answer.json()["envelope"])[1]
        assert (record.prev, record.attributes) == (first.json()["digest"], {})
        assert [row[2] for row in await told(registry)] == [1, 2]

    async def test_whatever_comes_later_is_gone(self, registry, hosted):
        key = hosted.api_key
        await registry.post("/v1/identifiers", draft(), key=key)
        tombstone = (await registry.delete(PATH, key=key)).json()["envelope"]
        later = [
            await registry.get(PATH),
            await registry.post("/v1/identifiers", draft(), key=key),
            await registry.put(PATH, draft(), key=key, If_Match="*"),
            await registry.put(PATH, draft(), key=key),
            await registry.delete(PATH, key=key),
        ]
        assert [answer.status_code for answer in later] == [410] * 5
        assert {answer.json()["code"] for answer in later} == {"retired"}
        assert {answer.json()["envelope"] for answer in later} == {tombstone}
        assert len(await told(registry)) == 2

    async def test_with_the_clients_tombstone(self, registry, holder):
        path = "/v1/identifiers/88.118.9/A-1"
        record = holder.record("A-1", targets=(TARGET,))
        token = holder.sign(record)
        await registry.post("/v1/identifiers", {"envelope": token}, key=holder.api_key)
        without = await registry.delete(path, key=holder.api_key)
        assert (without.status_code, without.json()["code"]) == (409, "key_not_hosted")
        live = {"envelope": holder.sign(holder.after(record, token))}
        answer = await registry.delete(path, live, key=holder.api_key)
        assert (answer.status_code, answer.json()["code"]) == (400, "record_invalid")
        tombstone = record.tombstone(digest(token), holder.now)
        body = {"envelope": holder.sign(tombstone)}
        stale = await registry.delete(path, body, key=holder.api_key, If_Match='"2"')
        assert stale.status_code == 412
        answer = await registry.delete(path, body, key=holder.api_key)
        assert (answer.status_code, answer.json()["status"]) == (200, RETIRED)

    async def test_by_an_update(self, registry, hosted):
        await registry.post("/v1/identifiers", draft(), key=hosted.api_key)
        body = draft(status=RETIRED)
        answer = await registry.put(PATH, body, key=hosted.api_key, If_Match='"1"')
        assert (answer.status_code, answer.json()["status"]) == (200, RETIRED)

    async def test_a_stale_if_match(self, registry, hosted):
        await registry.post("/v1/identifiers", draft(), key=hosted.api_key)
        answer = await registry.delete(PATH, key=hosted.api_key, If_Match='"2"')
        assert (answer.status_code, answer.json()["code"]) == (412, "version_stale")

    async def test_nothing_is_there(self, registry, hosted):
        answer = await registry.delete(PATH, key=hosted.api_key)
        assert (answer.status_code, answer.json()["code"]) == (404, "identifier_not_found")

    async def test_a_parent_outlives_its_children(self, registry, hosted):
        key, above = hosted.api_key, f"{PREFIX}/C"
        await registry.post("/v1/identifiers", draft(above, "class"), key=key)
        await registry.post("/v1/identifiers", draft(parent=above), key=key)
        path = f"/v1/identifiers/{above}"
        answer = await registry.delete(path, key=key)
        assert (answer.status_code, answer.json()["code"]) == (409, "has_children")
        assert (await registry.get(path)).status_code == 200
        assert len(await told(registry)) == 2
        await registry.delete(PATH, key=key)
        assert (await registry.delete(path, key=key)).status_code == 200


class TestParents:
    async def family(self, registry, hosted, *generations):
        """Classes, each the parent of the next."""
        above = {}
        for name in generations:
            body = draft(f"{PREFIX}/{name}", "class", **above)
            answer = await registry.post("/v1/identifiers", body, key=hosted.api_key)
            assert answer.status_code == 201, answer.text
            above = {"parent": f"{PREFIX}/{name}"}

    async def put(self, registry, hosted, name, parent, version=1):
        return await registry.put(
            f"/v1/identifiers/{PREFIX}/{name}",
            {"kind": "class", "parent": f"{PREFIX}/{parent}"},
            key=hosted.api_key,
            If_Match=f'"{version}"',
        )

    async def test_a_missing_one(self, registry, hosted):
        body = draft(parent=f"{PREFIX}/C")
        answer = await registry.post("/v1/identifiers", body, key=hosted.api_key)
        assert (answer.status_code, answer.json()["code"]) == (409, "parent_unfit")
        assert await rows(registry, identifiers.c.identifier) == []

    async def test_a_retired_one(self, registry, hosted):
        await self.family(registry, hosted, "C")
        await registry.delete(f"/v1/identifiers/{PREFIX}/C", key=hosted.api_key)
        body = draft(parent=f"{PREFIX}/C")
        answer = await registry.post("/v1/identifiers", body, key=hosted.api_key)
        assert (answer.status_code, answer.json()["code"]) == (409, "parent_unfit")

    async def test_one_of_a_narrower_kind(self, registry, hosted):
        await registry.post("/v1/identifiers", draft(), key=hosted.api_key)
        body = draft(f"{PREFIX}/B-1", "batch", parent=ITEM)
        answer = await registry.post("/v1/identifiers", body, key=hosted.api_key)
        assert (answer.status_code, answer.json()["code"]) == (400, "record_invalid")

    async def test_four_levels_and_no_more(self, registry, hosted):
        await self.family(registry, hosted, "C1", "C2", "C3", "C4")
        leaf = draft(parent=f"{PREFIX}/C4")
        answer = await registry.post("/v1/identifiers", leaf, key=hosted.api_key)
        assert answer.status_code == 201
        await self.put(registry, hosted, "C5", "C4")
        fifth = draft(f"{PREFIX}/C5", "class", parent=f"{PREFIX}/C4")
        await registry.post("/v1/identifiers", fifth, key=hosted.api_key)
        leaf = draft(f"{PREFIX}/A-2", parent=f"{PREFIX}/C5")
        answer = await registry.post("/v1/identifiers", leaf, key=hosted.api_key)
        assert (answer.status_code, answer.json()["code"]) == (409, "parent_unfit")

    async def test_a_move_takes_the_descendants_along(self, registry, hosted):
        await self.family(registry, hosted, "C1", "C2", "C3", "C4")
        leaf = draft(parent=f"{PREFIX}/C4")
        await registry.post("/v1/identifiers", leaf, key=hosted.api_key)
        await self.family(registry, hosted, "ABOVE")
        answer = await self.put(registry, hosted, "C1", "ABOVE")
        assert (answer.status_code, answer.json()["code"]) == (409, "parent_unfit")
        answer = await self.put(registry, hosted, "C2", "ABOVE")
        assert answer.status_code == 200, answer.text

    @pytest.mark.parametrize("below", ["C2", "C3"])
    async def test_no_circle(self, registry, hosted, below):
        await self.family(registry, hosted, "C1", "C2", "C3")
        answer = await self.put(registry, hosted, "C1", below)
        assert (answer.status_code, answer.json()["code"]) == (409, "parent_unfit")
        assert "its own ancestor" in answer.json()["detail"]
        assert await rows(registry, identifier_history.c.version) == []


class TestReading:
    @pytest.mark.usefixtures("hosted")
    async def test_nothing_is_there(self, registry):
        for tail in ("", "/versions"):
            answer = await registry.get(PATH + tail)
            assert (answer.status_code, answer.json()["code"]) == (404, "identifier_not_found")

    async def test_nobody_was_allocated_the_prefix(self, registry):
        for tail in ("", "/versions"):
            answer = await registry.get(f"/v1/identifiers/99.1/A{tail}")
            assert (answer.status_code, answer.json()["code"]) == (404, "prefix_not_found")

    async def test_versions_newest_first_by_pages(self, registry, hosted):
        key = hosted.api_key
        await registry.post("/v1/identifiers", draft(), key=key)
        for version in range(1, 5):
            body = draft(attributes={"version": version})
            await registry.put(PATH, body, key=key, If_Match=f'"{version}"')
        await registry.delete(PATH, key=key)
        seen, cursor = [], ""
        while cursor is not None:
            answer = await registry.get(f"{PATH}/versions?limit=2{cursor}")
            page = answer.json()
            assert page["identifier"] == ITEM
            seen += page["versions"]
            cursor = page["next"] and f"&cursor={page['next']}"
        assert [item["version"] for item in seen] == [6, 5, 4, 3, 2, 1]
        assert [item["status"] for item in seen] == [RETIRED] + ["active"] * 5
        for newer, older in itertools.pairwise(seen):
            assert parse_record(newer["envelope"])[1].prev == older["digest"]

    async def test_a_suffix_that_ends_like_the_list(self, registry, hosted):
        name = f"{PREFIX}/A/versions"
        await registry.post("/v1/identifiers", draft(name), key=hosted.api_key)
        answer = await registry.get(f"/v1/identifiers/{PREFIX}/A%2Fversions")
        assert (answer.status_code, answer.json()["identifier"]) == (200, name)
        answer = await registry.get(f"/v1/identifiers/{PREFIX}/A/versions/versions")
        assert answer.json()["identifier"] == name

    async def test_a_list_in_byte_order_by_pages(self, registry, hosted):
        names = ["a", "B", "A", "z z", "é", "中", "a/b", "😀", "A-1", "A.1"]
        for name in names:
            body = draft(f"{PREFIX}/{name}")
            answer = await registry.post("/v1/identifiers", body, key=hosted.api_key)
            assert answer.status_code == 201, answer.text
        seen, cursor = [], ""
        while cursor is not None:
            path = f"/v1/identifiers?prefix={PREFIX}&limit=3{cursor}"
            page = (await registry.get(path, key=hosted.api_key)).json()
            seen += [item["identifier"] for item in page["identifiers"]]
            cursor = page["next"] and f"&cursor={page['next']}"
        expected = sorted((f"{PREFIX}/{name}" for name in names), key=str.encode)
        assert seen == expected

    async def test_a_list_shows_what_it_takes_to_look_further(self, registry, hosted):
        above = f"{PREFIX}/C"
        await registry.post("/v1/identifiers", draft(above, "class"), key=hosted.api_key)
        await registry.post("/v1/identifiers", draft(parent=above), key=hosted.api_key)
        answer = await registry.get(f"/v1/identifiers?prefix={PREFIX}", key=hosted.api_key)
        assert answer.json() == {
            "identifiers": [
                {"identifier": ITEM, "version": 1, "kind": "item", "status": "active",
                 "parent": above},
                {"identifier": above, "version": 1, "kind": "class", "status": "active",
                 "parent": None},
            ],
            "next": None,
        }  # fmt: skip

    @pytest.mark.usefixtures("hosted")
    async def test_a_list_is_its_holders(self, registry, holder):
        path = f"/v1/identifiers?prefix={PREFIX}"
        assert (await registry.get(path)).status_code == 401
        assert (await registry.get(path, key=holder.api_key)).status_code == 403

    @pytest.mark.parametrize(
        ("query", "code"),
        [
            ("", "query_invalid"),
            ("?prefix=88.118.8&limit=0", "query_invalid"),
            ("?prefix=88.118.8&limit=1001", "query_invalid"),
            ("?prefix=88.118.8&limit=ten", "query_invalid"),
            ("?prefix=88.118.8&cursor=!", "query_invalid"),
            ("?prefix=88.118.8&cursor=_w", "query_invalid"),
            ("?prefix=88.118.8&prefix=88.118.9", "query_invalid"),
            ("?prefix=88.118.8&colour=red", "query_invalid"),
            ("?prefix=88.X", "identifier_invalid"),
        ],
    )
    async def test_bad_queries(self, registry, hosted, query, code):
        answer = await registry.get(f"/v1/identifiers{query}", key=hosted.api_key)
        assert (answer.status_code, answer.json()["code"]) == (400, code), answer.text

    @pytest.mark.parametrize("query", ["cursor=x", "cursor=-1", "limit=0", "colour=red"])
    @pytest.mark.usefixtures("hosted")
    async def test_bad_queries_of_versions(self, registry, query):
        answer = await registry.get(f"{PATH}/versions?{query}")
        assert (answer.status_code, answer.json()["code"]) == (400, "query_invalid")
