"""Recall notices: stated, logged, carried by every answer of what they mark, lifted.

88.8/MODEL is a class, whose rule covers 88.8/S-…; 88.8/LOT has the item 88.8/CELL; 88.8/OTHER is
on its own.
"""

from dataclasses import dataclass, replace

import pytest

from registry.reader import Reader
from registry.store.tables import changes, notice_marks
from resolver import tags
from resolver.answers import Answers
from resolver.labels import EN, ZH
from resolver.lookup import Lookup
from resolver.page import Pages
from resolver.render import document
from resolver.trust import Verifier
from schemas.answer import verify_answer
from schemas.change import Op
from schemas.envelope import digest
from schemas.errors import VerifyError
from schemas.identifier import Identifier, Prefix
from schemas.leaf import What
from schemas.notice import LIFTED, Notice, parse_notice
from schemas.source import Fetched
from tests.holders import hold
from tierlink.resolving import trust

SERIAL, CELL = "88.8/S-7", "88.8/CELL"
RULE = {"pattern": "S-{n:digits:1-9}", "targets": []}
BODIES = (
    {"identifier": "88.8/MODEL", "kind": "class", "rule": RULE},
    {"identifier": "88.8/LOT", "kind": "batch"},
    {"identifier": CELL, "kind": "item", "parent": "88.8/LOT"},
    {"identifier": "88.8/OTHER", "kind": "item"},
)


@dataclass
class Maker:
    registry: object
    key: str

    async def recall(self, *of, name="n", status=201, **members):
        body = {"iss": "88.8", "id": name, "of": list(of), "reason": "It may tear."} | members
        answer = await self.registry.post("/v1/notices", body, key=self.key)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def lift(self, name="n"):
        answer = await self.registry.post(f"/v1/notices/88.8/{name}/lift", key=self.key)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def reading(self, text):
        """What a resolver has on an identifier, verified."""
        verifier = Verifier(await trust(self.registry.store))
        reader = Reader(self.registry.store, self.registry.clock)
        return await Lookup(reader, verifier, Answers(64)).resolve(Identifier.parse(text))

    async def notices(self, text):
        return [notice.id for notice in (await self.reading(text)).parts.notices]


@pytest.fixture
async def maker(registry):
    maker = Maker(registry, (await registry.allocate("88.8")).api_key)
    for body in BODIES:
        answer = await registry.post("/v1/identifiers", body, key=maker.key)
        assert answer.status_code == 201, answer.text
    return maker


class TestAnswers:
    async def test_what_is_marked_carries_it_and_is_strict(self, maker):
        before = {text: await maker.reading(text) for text in (SERIAL, CELL, "88.8/OTHER")}
        assert not before[SERIAL].strict
        reader = Reader(maker.registry.store, maker.registry.clock)
        since = (await reader.changes(None)).watermark
        stated = await maker.recall("88.8/MODEL", "88.8/LOT")
        told = await reader.changes(since)
        # At once: what a resolver keeps of these depends on what the changes are about.
        touched = {tag for change in told.changes for tag in tags.of_change(change)}
        assert touched & set(tags.of_reading(before[SERIAL]))
        assert touched & set(tags.of_reading(before[CELL]))
        assert not touched & set(tags.of_reading(before["88.8/OTHER"]))
        for text in (SERIAL, CELL, "88.8/LOT", "88.8/MODEL"):
            reading = await maker.reading(text)
            assert (reading.notices, reading.strict) == ((stated["envelope"],), True), text
        assert await maker.notices("88.8/OTHER") == []
        await maker.lift()
        assert await maker.notices(SERIAL) == await maker.notices(CELL) == []
        assert not (await maker.reading(CELL)).strict

    async def test_a_serial_alone_and_several(self, maker):
        await maker.recall(SERIAL, name="b")
        await maker.recall("88.8/MODEL", SERIAL, name="a")
        assert await maker.notices(SERIAL) == ["a", "b"]
        assert await maker.notices("88.8/S-8") == ["a"]
        await maker.recall("88.8/S-8", name="a", status=200)  # the new version marks another
        assert await maker.notices(SERIAL) == ["b"]
        assert await maker.notices("88.8/S-8") == ["a"]

    async def test_a_verifier_takes_what_is_about_it_alone(self, maker):
        await maker.recall("88.8/LOT")
        other = await maker.recall("88.8/OTHER", name="other")
        anchor, now = await trust(maker.registry.store), maker.registry.clock.now
        whole = document(await maker.reading(CELL), proof=True)
        assert [n.id for n in verify_answer(whole, anchor, now).parts.notices] == ["n"]
        gone = await maker.lift()
        (token,) = whole["notices"]
        broken = token[:-4] + ("AAAA" if token[-4:] != "AAAA" else "BBBA")
        for tokens, code in (
            ([token, other["envelope"]], "E_ID"),
            ([gone["envelope"]], "E_ID"),
            ([token, token], "E_ID"),
            ([broken], "E_SIG"),
        ):
            with pytest.raises(VerifyError) as refused:
                verify_answer({**whole, "notices": tokens}, anchor, now)
            assert refused.value.code == code

    async def test_a_source_that_lies_is_not_believed(self, maker):
        await maker.recall("88.8/OTHER")
        verifier = Verifier(await trust(maker.registry.store))
        reader = Reader(maker.registry.store, maker.registry.clock)
        honest = reader.fetch

        async def fetch(identifiers, **asked):
            fetched = await honest([*identifiers, Identifier.parse("88.8/OTHER")], **asked)
            (token,) = fetched.found[Identifier.parse("88.8/OTHER")].notices
            found = {item: replace(fetched.found[item], notices=(token,)) for item in identifiers}
            assert Fetched.from_json(replace(fetched, found=found).to_json()).found == found
            return replace(fetched, found=found)

        reader.fetch = fetch
        reading = await Lookup(reader, verifier, Answers(64)).resolve(Identifier.parse(CELL))
        assert (reading.notices, reading.parts.notices) == ((), ())

    async def test_a_page_says_so_plainly(self, maker):
        await maker.recall("88.8/LOT", href="https://cells.example/recall")
        reading = await maker.reading(CELL)
        for language, word in ((EN, "Recalled"), (ZH, "召回")):
            page = Pages().record(reading, language, maker.registry.clock.now).decode()
            assert word in page
            assert "It may tear." in page
            assert "https://cells.example/recall" in page


class TestStating:
    async def test_it_is_logged_once_and_told_for_each_thing_marked(self, maker):
        made = await maker.recall("88.8/LOT", SERIAL)
        async with maker.registry.store.read() as tx:
            rows = (await tx.connection.execute(changes.select().order_by(changes.c.id))).all()
        leaf, *told = rows[-3:]
        assert (leaf.op, leaf.what, leaf.subject) == (Op.LOGGED, What.NOTICE, "notice/n")
        assert (leaf.digest, leaf.version) == (made["digest"], 1)
        assert [(row.op, row.about, row.what) for row in told] == [
            (Op.RECORD, "88.8/LOT", None),
            (Op.RECORD, SERIAL, None),
        ]

    async def test_versions(self, maker):
        first = await maker.recall("88.8/LOT")
        assert await maker.recall("88.8/LOT", status=200) == first
        second = await maker.recall("88.8/LOT", status=200, reason="It does tear.")
        assert (second["version"], second["state"]) == (2, "issued")
        gone = await maker.lift()
        assert (gone["version"], gone["state"]) == (3, LIFTED)
        assert parse_notice(gone["envelope"])[1].prev == second["digest"]
        assert await maker.lift() == gone
        async with maker.registry.store.read() as tx:
            assert (await tx.connection.execute(notice_marks.select())).all() == []
        again = await maker.recall("88.8/LOT", status=200)
        assert (again["version"], again["state"]) == (4, "issued")

    @pytest.mark.parametrize(
        ("members", "status", "code"),
        [
            ({"of": ["88.8/NONE"]}, 404, "identifier_not_found"),
            ({"of": ["88.9/X"]}, 400, "notice_invalid"),
            ({"of": []}, 400, "notice_invalid"),
            ({"reason": ""}, 400, "notice_invalid"),
            ({"iss": "88.9", "of": ["88.9/X"]}, 403, "forbidden"),
        ],
    )
    async def test_refusals(self, maker, members, status, code):
        assert (await maker.recall("88.8/LOT", status=status, **members))["code"] == code

    async def test_a_holder_with_a_key_of_his_own(self, registry):
        holder = await hold(registry, "88.9")
        body = holder.body("LOT", kind="batch")
        answer = await registry.post("/v1/identifiers", body, key=holder.api_key)
        assert answer.status_code == 201, answer.text
        notice = Notice(
            Prefix.parse("88.9"), "n", registry.clock.now, (Identifier.parse("88.9/LOT"),), "why"
        )

        async def send(notice):
            body = {"envelope": notice.sign(holder.private)}
            answer = await registry.post("/v1/notices", body, key=holder.api_key)
            return answer.status_code, answer.json()

        assert (await send(notice))[0] == 201
        assert (await send(replace(notice, reason="other")))[0] == 412
        prev = digest(notice.sign(holder.private))
        assert (await send(notice.lifted(prev, notice.issued_at, "mended")))[0] == 200

    async def test_everybody_is_told(self, maker):
        for name in ("a", "b", "c"):
            await maker.recall("88.8/LOT", name=name)
        first = (await maker.registry.get("/v1/notices?prefix=88.8&limit=2")).json()
        assert ([item["id"] for item in first["notices"]], first["next"]) == (["a", "b"], "b")
        rest = (await maker.registry.get("/v1/notices?prefix=88.8&limit=2&cursor=b")).json()
        assert ([item["id"] for item in rest["notices"]], rest["next"]) == (["c"], None)
        one = await maker.registry.get("/v1/notices/88.8/b")
        assert (one.status_code, one.json()) == (200, first["notices"][1])
        none = await maker.registry.get("/v1/notices/88.8/z")
        assert (none.status_code, none.json()["code"]) == (404, "not_found")
