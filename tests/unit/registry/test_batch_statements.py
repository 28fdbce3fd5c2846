"""Batch statements in the registry: records of either form; each statement is kept once."""

import asyncio
import json
from contextlib import suppress
from dataclasses import replace

import pytest
from sqlalchemy import func, select

from registry import identifiers
from registry.accounts import Caller
from registry.offers import Offer
from registry.store import batch_statements
from registry.store.tables import batches, changes, unit_of
from schemas import canonical
from schemas.batched import Batch, build, parse_statement
from schemas.change import Op
from schemas.envelope import LINK, RECORD, digest, sign
from schemas.identifier import Identifier, Prefix
from schemas.keys import PublicKey, b64encode
from schemas.leaf import What
from schemas.link import Assertion, Link
from schemas.record import RETIRED, SUSPENDED, parse_record
from tests.holders import TARGET, hold

PREFIX = "88.118.9"
PATH = "/v1/identifiers"


@pytest.fixture
async def holder(registry):
    return await hold(registry, PREFIX)


def together(holder, *records, signer=None, **claims):
    """The statement of these records, and their tokens."""
    return signed([item.claims() for item in records], holder, signer=signer, **claims)


def signed(claims, holder, typ=RECORD, *, signer=None, prefix=PREFIX):
    statement, tokens = build(
        claims,
        typ,
        signer or holder.private,
        issued_at=claims[0]["iat"],
        prefix=Prefix.parse(prefix),
    )
    return statement, list(tokens)


async def post(registry, holder, token):
    return await registry.post(PATH, {"envelope": token}, key=holder.api_key)


async def send(registry, holder, *tokens, path=PATH):
    """Send a batch; return its results."""
    body = b"".join(json.dumps({"envelope": token}).encode() + b"\n" for token in tokens)
    headers = {"authorization": f"Bearer {holder.api_key}"}
    answer = await registry.client.post(f"{path}/batch", content=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def statuses(results):
    return [result["status"] for result in results]


async def kept(registry):
    """The statements that are kept, and the changes that tell of them, both by digest."""
    async with registry.store.read() as tx:
        rows = await tx.connection.execute(
            select(batches.c.unit, batches.c.digest, batches.c.records, batches.c.statement)
        )
        stored = sorted(tuple(row) for row in rows)
        told = await tx.connection.execute(
            select(
                changes.c.op,
                changes.c.about,
                changes.c.subject,
                changes.c.version,
                changes.c.digest,
            ).where(changes.c.what == What.BATCH)
        )
        return stored, sorted(tuple(row) for row in told)


async def assert_kept(registry, *statements):
    """Exactly these statements are kept and told of, each once."""
    unit = unit_of(Prefix.parse(PREFIX))
    found = [(digest(text), parse_statement(text).count, text) for text in statements]
    stored, told = await kept(registry)
    assert stored == sorted((unit, *row) for row in found)
    assert told == sorted((Op.LOGGED, PREFIX, name, count, name) for name, count, _ in found)


class TestOne:
    async def test_is_registered_as_it_came(self, registry, holder):
        statement, tokens = together(holder, *(holder.record(f"A-{n}") for n in range(5)))
        answer = await post(registry, holder, tokens[3])
        assert answer.status_code == 201, answer.text
        view = answer.json()
        assert (view["envelope"], view["digest"]) == (tokens[3], digest(tokens[3]))
        assert (await registry.get(f"{PATH}/{PREFIX}/A-3")).json() == view
        await assert_kept(registry, statement)

    async def test_the_next_of_the_same_statement_keeps_nothing_more(self, registry, holder):
        statement, tokens = together(holder, *(holder.record(f"A-{n}") for n in range(5)))
        for token in tokens:
            assert (await post(registry, holder, token)).status_code == 201
        await assert_kept(registry, statement)

    async def test_resolvers_are_told_of_the_record_alone(self, registry, holder):
        _, tokens = together(holder, holder.record("A-1"))
        since = (await registry.get("/v1/changes")).json()["watermark"]
        await post(registry, holder, tokens[0])
        told = (await registry.get(f"/v1/changes?after={since}")).json()["changes"]
        assert [(item["op"], item["about"]) for item in told] == [("record", f"{PREFIX}/A-1")]

    async def test_the_same_again_changes_nothing(self, registry, holder):
        statement, tokens = together(holder, holder.record("A-1"), holder.record("A-2"))
        await post(registry, holder, tokens[0])
        again = await post(registry, holder, tokens[0])
        assert (again.status_code, again.json()["envelope"]) == (200, tokens[0])
        _, anew = together(holder, holder.record("A-1", issued_at=holder.now - 5))
        again = await post(registry, holder, anew[0])
        assert (again.status_code, again.json()["envelope"]) == (200, tokens[0])
        await assert_kept(registry, statement)

    async def test_takes_six_statements(self, registry, holder, sql_recorder):
        # API key, chain, insert, change, batch statement, its change
        _, tokens = together(holder, holder.record("A-1"))
        async with sql_recorder(registry.store.engine) as statements:
            assert (await post(registry, holder, tokens[0])).status_code == 201
        assert len(statements) == 6, statements

    async def test_the_largest_fits(self, registry, holder):
        record = holder.record("A-1", attributes={"a": "x"})
        room = canonical.MAX_BYTES - len(canonical.encode(record.claims()))
        large = replace(record, attributes={"a": "x" * (room + 1)})
        assert len(canonical.encode(large.claims())) == canonical.MAX_BYTES
        _, tokens = together(holder, large, *(holder.record(f"B-{n}") for n in range(100)))
        assert (await post(registry, holder, tokens[0])).status_code == 201
        _, alone = together(holder, replace(large, identifier=holder.identifier("A-2")))
        assert statuses(await send(registry, holder, alone[0])) == [201]


class TestForms:
    """The form of one version says nothing of the form of the next."""

    async def test_an_envelope_follows(self, registry, holder):
        record = holder.record("A-1")
        statement, (token,) = together(holder, record)
        await post(registry, holder, token)
        following = holder.sign(holder.after(record, token, targets=(TARGET,)))
        answer = await registry.put(
            f"{PATH}/{PREFIX}/A-1", {"envelope": following}, key=holder.api_key
        )
        assert (answer.status_code, answer.json()["version"]) == (200, 2)
        await assert_kept(registry, statement)
        versions = (await registry.get(f"{PATH}/{PREFIX}/A-1/versions")).json()["versions"]
        assert [item["envelope"] for item in versions] == [following, token]

    async def test_follows_an_envelope(self, registry, holder):
        record = holder.record("A-1")
        token = holder.sign(record)
        await post(registry, holder, token)
        statement, (following,) = together(holder, holder.after(record, token, status=SUSPENDED))
        answer = await registry.put(
            f"{PATH}/{PREFIX}/A-1", {"envelope": following}, key=holder.api_key
        )
        assert (answer.status_code, answer.json()["status"]) == (200, "suspended")
        await assert_kept(registry, statement)

    async def test_a_tombstone(self, registry, holder):
        record = holder.record("A-1")
        first, (token,) = together(holder, record)
        await post(registry, holder, token)
        last, (tombstone,) = together(holder, record.tombstone(digest(token), holder.now))
        answer = await registry.delete(
            f"{PATH}/{PREFIX}/A-1", {"envelope": tombstone}, key=holder.api_key, If_Match='"1"'
        )
        assert (answer.status_code, answer.json()["status"]) == (200, RETIRED)
        gone = await registry.get(f"{PATH}/{PREFIX}/A-1")
        assert (gone.status_code, gone.json()["envelope"]) == (410, tombstone)
        await assert_kept(registry, first, last)

    async def test_a_draft_follows_where_the_key_is_hosted_too(self, registry):
        hosted = await registry.allocate("88.118.7")
        body = {"identifier": "88.118.7/A-1", "kind": "item"}
        first = await registry.post(PATH, body, key=hosted.api_key)
        assert first.status_code == 201
        stored, told = await kept(registry)
        assert (stored, told) == ([], [])

    async def test_a_child_of_the_other_form(self, registry, holder):
        await post(registry, holder, holder.sign(holder.record("C", "class")))
        statement, tokens = together(
            holder, holder.record("B", "batch", parent="C"), holder.record("A-1", parent="B")
        )
        assert statuses(await send(registry, holder, *tokens)) == [201, 201]
        await assert_kept(registry, statement)


class TestMany:
    async def test_lines_of_both_forms(self, registry, holder):
        statement, tokens = together(holder, *(holder.record(f"A-{n}") for n in range(4)))
        alone = [holder.sign(holder.record(f"B-{n}")) for n in range(4)]
        lines = [token for pair in zip(tokens, alone, strict=True) for token in pair]
        assert statuses(await send(registry, holder, *lines)) == [201] * 8
        await assert_kept(registry, statement)

    async def test_several_statements(self, registry, holder):
        made = [
            together(holder, holder.record(f"A-{n}"), holder.record(f"B-{n}")) for n in range(3)
        ]
        results = await send(registry, holder, *(token for _, tokens in made for token in tokens))
        assert statuses(results) == [201] * 6
        await assert_kept(registry, *(statement for statement, _ in made))

    async def test_versions_of_one_identifier(self, registry, holder):
        record = holder.record("A-1")
        first, (token,) = together(holder, record)
        second = holder.after(record, token, targets=(TARGET,))
        later, (following,) = together(holder, second)
        last = holder.after(second, following, status=SUSPENDED)
        results = await send(registry, holder, token, following, holder.sign(last))
        assert statuses(results) == [201, 200, 200]
        assert [item["version"] for item in results] == [1, 2, 3]
        await assert_kept(registry, first, later)

    async def test_retirements_and_moves(self, registry, holder):
        record = holder.record("A-1")
        first, (token,) = together(holder, record)
        last, (tombstone,) = together(holder, record.tombstone(digest(token), holder.now))
        assert statuses(await send(registry, holder, token, tombstone)) == [201, 200]
        await assert_kept(registry, first, last)

    async def test_a_refused_line_costs_no_other_and_keeps_no_statement(self, registry, holder):
        await post(registry, holder, holder.sign(holder.record("A-1")))
        _, (taken,) = together(holder, holder.record("A-1", targets=(TARGET,)))
        statement, tokens = together(holder, *(holder.record(f"B-{n}") for n in range(4)))
        broken = tokens[1].replace("~1~", "~2~", 1)
        results = await send(registry, holder, taken, tokens[0], broken, tokens[3])
        assert statuses(results) == [409, 201, 400, 201]
        assert results[2]["code"] == "E_INCLUSION"
        await assert_kept(registry, statement)

    async def test_the_signature_is_checked_once(self, registry, holder, monkeypatch):
        checks = []
        original = PublicKey.verifies
        monkeypatch.setattr(
            PublicKey,
            "verifies",
            lambda key, signature, message: (
                checks.append(signature) or original(key, signature, message)
            ),
        )
        statement, tokens = together(holder, *(holder.record(f"A-{n}") for n in range(300)))
        before = len(checks)
        assert statuses(await send(registry, holder, *tokens)) == [201] * 300
        signature = parse_statement(statement).envelope.signature
        assert 1 <= checks[before:].count(signature) <= 2  # two threads may begin at once
        await assert_kept(registry, statement)


class TestRefused:
    async def refusal(self, registry, holder, token):
        alone = await post(registry, holder, token)
        assert alone.status_code >= 400, alone.text
        (line,) = await send(registry, holder, token)
        assert (line["status"], line["code"]) == (alone.status_code, alone.json()["code"])
        stored, told = await kept(registry)
        assert (stored, told) == ([], [])
        return alone.status_code, alone.json()["code"]

    async def test_a_statement_of_another_prefix(self, registry, holder):
        _, (token,) = together(holder, holder.record("A-1"), prefix="88.118.8")
        assert await self.refusal(registry, holder, token) == (400, "E_SCOPE")

    async def test_a_statement_of_the_prefix_above(self, registry, holder):
        _, (token,) = together(holder, holder.record("A-1"), prefix="88.118")
        assert await self.refusal(registry, holder, token) == (400, "E_SCOPE")

    async def test_by_another_key(self, registry, holder):
        stranger = await hold(registry, "88.118.6", name="stranger")
        _, (token,) = together(holder, holder.record("A-1"), signer=stranger.private)
        assert await self.refusal(registry, holder, token) == (400, "E_CHAIN")

    async def test_a_signature_that_does_not_hold(self, registry, holder):
        _, (token,) = together(holder, holder.record("A-1"))
        broken = token.rpartition(".")[0] + f".{b64encode(bytes(64))}"
        assert await self.refusal(registry, holder, broken) == (400, "E_SIG")

    async def test_of_the_future(self, registry, holder):
        _, (token,) = together(holder, holder.record("A-1", issued_at=holder.now + 3600))
        assert await self.refusal(registry, holder, token) == (400, "E_TIME")

    async def test_after_its_time(self, registry, holder):
        record = holder.record("A-1")
        batch = Batch(RECORD, Prefix.parse(PREFIX), holder.now)
        payload = batch.add(record.claims())
        statement = batch.sign(holder.private, valid_from=holder.now, valid_until=holder.now + 60)
        token = batch.token(0, payload, statement)
        registry.clock.now += 60
        assert await self.refusal(registry, holder, token) == (400, "E_TIME")
        registry.clock.now -= 1
        assert (await post(registry, holder, token)).status_code == 201

    async def test_a_statement_alone(self, registry, holder):
        statement, _ = together(holder, holder.record("A-1"))
        assert await self.refusal(registry, holder, statement) == (400, "E_TYP")

    async def test_a_statement_of_links_over_a_record(self, registry, holder):
        record = holder.record("A-1").claims()
        _, (token,) = signed([record], holder, LINK)
        assert await self.refusal(registry, holder, token) == (400, "E_TYP")

    async def test_a_record_that_is_none(self, registry, holder):
        claims = holder.record("A-1").claims() | {"kind": "thing"}
        _, (token,) = signed([claims], holder)
        assert await self.refusal(registry, holder, token) == (400, "record_invalid")

    async def test_under_a_forged_statement_of_a_great_count(self, registry, holder):
        _, (token,) = together(holder, holder.record("A-1"))
        claims = parse_statement(token.split("~", 3)[3]).envelope.claims | {"count": 10**6}
        forged = "~".join(
            [*token.split("~", 3)[:3], sign("tierlink-batch+jws", claims, holder.private)]
        )
        assert await self.refusal(registry, holder, forged) == (400, "E_INCLUSION")


class TestRaces:
    async def test_chunks_of_one_statement_at_once(self, registry, holder):
        statement, tokens = together(holder, *(holder.record(f"A-{n}") for n in range(120)))
        shares = [tokens[n::4] for n in range(4)]
        results = await asyncio.gather(*(send(registry, holder, *share) for share in shares))
        assert [statuses(item) for item in results] == [[201] * 30] * 4
        await assert_kept(registry, statement)

    async def test_the_same_records_at_once_in_opposite_order(self, registry, holder):
        statement, tokens = together(holder, *(holder.record(f"A-{n}") for n in range(60)))
        results = await asyncio.gather(
            send(registry, holder, *tokens), send(registry, holder, *reversed(tokens))
        )
        assert sorted(statuses([*results[0], *results[1]])) == [200] * 60 + [201] * 60
        await assert_kept(registry, statement)

    async def test_one_by_one_at_once(self, registry, holder):
        statement, tokens = together(holder, *(holder.record(f"A-{n}") for n in range(8)))
        answers = await asyncio.gather(
            *(post(registry, holder, token) for token in [*tokens, *tokens])
        )
        assert sorted(answer.status_code for answer in answers) == [200] * 8 + [201] * 8
        await assert_kept(registry, statement)

    @pytest.mark.parametrize("fails", [False, True], ids=["committed", "rolled back"])
    async def test_who_waits_for_the_first_of_a_statement(self, registry, holder, fails):
        statement, tokens = together(holder, holder.record("A-1"), holder.record("A-2"))
        caller, now = Caller("test", Prefix.parse(PREFIX)), registry.clock()
        envelope, record = parse_record(tokens[0])
        offer = Offer(record, envelope)
        with suppress(RuntimeError):
            async with registry.store.write() as tx:
                await identifiers.register(tx, registry.keyring, caller, offer, now)
                second = asyncio.create_task(post(registry, holder, tokens[1]))
                await waiting(registry)
                if fails:
                    raise RuntimeError
        assert (await second).status_code == 201
        await assert_kept(registry, statement)
        async with registry.store.read() as tx:
            assert await batch_statements.count(tx, unit_of(Prefix.parse(PREFIX))) == 1
            query = select(func.count()).where(changes.c.op == Op.RECORD)
            registered = (await tx.connection.execute(query)).scalar_one()
        assert registered == (1 if fails else 2)


async def waiting(registry):
    """Wait until somebody waits for a lock."""
    async with registry.store.read() as tx:
        while True:
            query = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            if (await (await tx.driver()).fetchval(query)) > 0:
                return
            await asyncio.sleep(0.01)


class TestLinks:
    @pytest.fixture
    async def said(self, registry, holder):
        """What the holder says of twelve links, from the upstream end."""
        await post(registry, holder, holder.sign(holder.record("A-1")))
        ends = [Identifier.parse(f"88.118.1/B-{number}") for number in range(12)]
        return [
            Assertion(Link("CONTAINED_IN", holder.identifier("A-1"), end), "upstream", holder.now)
            for end in ends
        ]

    async def test_one(self, registry, holder, said):
        statement, tokens = signed([item.claims() for item in said], holder, LINK)
        answer = await registry.post("/v1/links", {"envelope": tokens[7]}, key=holder.api_key)
        assert (answer.status_code, answer.json()["envelope"]) == (201, tokens[7])
        again = await registry.post("/v1/links", {"envelope": tokens[7]}, key=holder.api_key)
        assert again.status_code == 200
        await assert_kept(registry, statement)

    async def test_many_and_a_withdrawal_of_the_other_form(self, registry, holder, said):
        statement, tokens = signed([item.claims() for item in said], holder, LINK)
        results = await send(registry, holder, *tokens, path="/v1/links")
        assert statuses(results) == [201] * 12
        taken_back = said[0].withdrawal(digest(tokens[0]), holder.now).sign(holder.private)
        answer = await registry.post("/v1/links", {"envelope": taken_back}, key=holder.api_key)
        assert (answer.status_code, answer.json()["state"]) == (200, "withdrawn")
        await assert_kept(registry, statement)

    async def test_a_statement_of_another_prefix(self, registry, holder, said):
        _, (token,) = signed([said[0].claims()], holder, LINK, prefix="88.118.8")
        answer = await registry.post("/v1/links", {"envelope": token}, key=holder.api_key)
        assert (answer.status_code, answer.json()["code"]) == (400, "E_SCOPE")
