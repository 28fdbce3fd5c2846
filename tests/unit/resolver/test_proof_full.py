"""?proof=full and /v1/proof/…: what the log says beside what was read, or that it does not yet."""

import asyncio

import httpx
import pytest

from resolver import prover
from resolver.app import Resolver, create_app
from resolver.asgi import Route
from resolver.config import ResolverSettings
from resolver.proof import ROUTE, ProofRoute, read_time
from resolver.trust import Verifier
from schemas.envelope import digest
from schemas.errors import BadQuery, NotFound, PrefixNotFound, ProofPending, TierlinkError
from schemas.identifier import Identifier
from schemas.proof import verify
from schemas.source import Proved, State
from schemas.verdict import VALID
from tests import logbook
from tests.authority import ISSUED, Authority, rule, target
from tests.logbook import Logbook

GEAR, CLASS, COVERED = "88.100/GEAR-1", "88.100/GEAR", "88.100/SERIAL-0042"
STEEL = "88.101/STEEL-1"
FULL = f"/{GEAR}?proof=full"
PROOF = f"/v1/proof/{GEAR}"


class Logged(Authority):
    """An authority that keeps a log, and shows in proofs what stood when it last published."""

    def __init__(self):
        super().__init__()
        self.book = Logbook()
        self.time = ISSUED
        self.logged = set()
        self.shown = Authority()  # as of the last publication
        self.delay = 0.0

    def publish(self):
        """Log what is new, and publish."""
        for token in self.delegations.values():
            if token not in self.logged:
                self.book.delegate(token)
        for _, token in self.records.values():
            if token not in self.logged:
                self.book.record(token)
        self.logged |= {*self.delegations.values(), *(token for _, token in self.records.values())}
        self.time += 10
        self.book.publish(self.time, self.time + 1)
        self.shown.records, self.shown.delegations = dict(self.records), dict(self.delegations)

    async def prove(self, identifier, at=None):
        self._check()
        await asyncio.sleep(self.delay)
        if at is not None and at < self.time:
            raise NotFound("the log had no checkpoint at that time")
        now, then = self._find(identifier, whole=True), self.shown._find(identifier, whole=True)
        if now.state is State.FOREIGN:
            raise PrefixNotFound("nobody holds it")
        if then.state is not now.state:
            raise ProofPending("the next checkpoint will cover it")
        held = sorted(self.shown.delegations.items(), key=lambda item: len(item[0].labels))
        chain = tuple(token for prefix, token in held if prefix.covers(identifier.prefix))
        log = self.book.log_proof(identifier, then.records, chain)
        return Proved(identifier, next(iter(then.records), None), then.records[1:], chain, log)


@pytest.fixture
def source():
    source = Logged()
    for prefix in ("88", "88.100", "88.101"):
        source.allocate(prefix)
    source.register(
        CLASS,
        "class",
        rule=rule("SERIAL-{n:digits:4}", ("gs1:pip", "https://gear.example/{n}")),
    )
    source.register(GEAR, parent=CLASS, targets=(target("gs1:pip", "https://gear.example/1"),))
    source.register(STEEL)
    source.link(STEEL, GEAR, "downstream")
    source.link(STEEL, GEAR, "upstream")
    source.publish()
    return source


def resolver_of(source):
    return Resolver(source, Verifier(source.trust), ResolverSettings(fetch_timeout=0.3))


@pytest.fixture
async def resolver(source):
    resolver = resolver_of(source)
    await resolver.freshness.poll()
    return resolver


def client_of(resolver):
    app = create_app(resolver, routes=(Route(ROUTE, ProofRoute(resolver.prover)),))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://node.example")


@pytest.fixture
async def client(resolver):
    async with client_of(resolver) as client:
        yield client


def verdict(answer, source):
    trust = logbook.trust(roots=(source.root_token,))
    return verify(answer.json(), trust, source.time + 5)


def refused(answer):
    return answer.status_code, answer.json()["code"]


class TestFull:
    async def test_the_usual_answer_with_what_the_log_says(self, client, source):
        plain, full = await client.get(f"/{GEAR}"), await client.get(FULL)
        assert full.status_code == 200, full.text
        proof = full.json()["proof"]
        assert set(proof) == {"chain", "records", "links", "log"}
        assert plain.json() == full.json() | {
            "proof": {name: proof[name] for name in ("chain", "records", "links")}
        }
        found = verdict(full, source)
        assert (found.state, found.exists, found.codes) == (VALID, True, ())

    async def test_a_class_that_answers_for_a_serial(self, client, source):
        found = verdict(await client.get(f"/{COVERED}?proof=full"), source)
        assert (found.state, found.view["covered_by"]) == (VALID, CLASS)

    async def test_it_is_not_kept_and_what_was_kept_is_not_it(self, client, resolver, source):
        await client.get(f"/{GEAR}")
        kept = len(resolver.answers)
        first = await client.get(FULL)
        assert len(resolver.answers) == kept
        source.publish()  # another checkpoint, and no change that would tell of it
        again = await client.get(FULL)
        assert first.headers["etag"] != again.headers["etag"]
        assert "log" not in (await client.get(f"/{GEAR}?proof=chain")).json()["proof"]
        assert "proof" not in (await client.get(f"/{GEAR}?proof=none")).json()

    async def test_head_and_conditional_requests(self, client):
        full = await client.get(FULL)
        head = await client.head(FULL)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == str(len(full.content))
        same = await client.get(FULL, headers={"if-none-match": full.headers["etag"]})
        assert (same.status_code, same.content) == (304, b"")

    @pytest.mark.parametrize("more", ["&format=jose", "&format=linkset", "&format=html"])
    async def test_other_forms_have_no_place_for_it(self, client, source, more):
        source.prove = None  # nobody is asked
        answer = await client.get(FULL + more)
        assert answer.status_code == 200

    async def test_nor_has_a_redirect_or_a_refusal(self, client, source):
        source.prove = None
        assert (await client.get(f"{FULL}&linkType=gs1:pip")).status_code == 307
        answer = await client.get("/88.100/NOTHING?proof=full")
        assert refused(answer) == (404, "identifier_not_found")

    async def test_a_record_that_the_log_does_not_show_yet(self, client, source):
        source.update(GEAR, attributes={"teeth": 25})
        answer = await client.get(FULL)
        assert refused(answer) == (503, "proof_pending")
        assert answer.headers["retry-after"] == "1"
        assert (await client.get(f"/{GEAR}")).json()["attributes"] == {"teeth": 25}
        source.publish()
        answer = await client.get(FULL)
        assert (verdict(answer, source).state, answer.json()["version"]) == (VALID, 2)

    async def test_an_ancestor_that_the_log_does_not_show_yet(self, client, source):
        source.update(CLASS, attributes={"steel": "42CrMo4"})
        assert refused(await client.get(FULL)) == (503, "proof_pending")
        source.publish()
        assert verdict(await client.get(FULL), source).state == VALID

    async def test_a_delegation_that_the_log_does_not_show_yet(self, client, source):
        source.allocate("88.100", sequence=2, name="Gear")
        assert refused(await client.get(FULL)) == (503, "proof_pending")
        source.publish()
        assert verdict(await client.get(FULL), source).state == VALID

    async def test_a_partner_s_delegation_does_not_matter(self, client, source):
        source.allocate("88.101", sequence=2, name="Steel")
        assert verdict(await client.get(FULL), source).state == VALID

    async def test_a_new_record(self, client, source):
        source.register("88.100/NEW")
        assert refused(await client.get("/88.100/NEW?proof=full")) == (503, "proof_pending")

    async def test_an_unknown_word_is_refused(self, client):
        answer = await client.get(f"/{GEAR}?proof=whole")
        assert refused(answer) == (400, "query_invalid")
        assert "chain, full, none" in answer.json()["detail"]


class TestBundle:
    async def test_it_stands_alone(self, client, source):
        answer = await client.get(PROOF)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["access-control-allow-origin"] == "*"
        assert list(answer.json()) == ["v", "identifier", "envelope", "proof"]
        assert list(answer.json()["proof"]) == ["chain", "records", "log"]
        found = verdict(answer, source)
        assert (found.state, found.exists) == (VALID, True)
        assert digest(answer.json()["envelope"]) == digest(source.records[ident(GEAR)][1])

    async def test_that_nothing_is_registered(self, client, source):
        answer = await client.get("/v1/proof/88.100/NOTHING")
        assert answer.status_code == 200
        assert "envelope" not in answer.json()
        assert verdict(answer, source).exists is False

    async def test_escapes_are_decoded_once(self, client, source):
        source.register("88.100/50% 齿")
        source.publish()
        answer = await client.get("/v1/proof/88.100/50%25%20%E9%BD%BF")
        assert answer.json()["identifier"] == "88.100/50% 齿"

    async def test_head_and_conditional_requests(self, client):
        bundle = await client.get(PROOF)
        head = await client.head(PROOF)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["etag"] == bundle.headers["etag"]
        same = await client.get(PROOF, headers={"if-none-match": bundle.headers["etag"]})
        assert (same.status_code, same.content) == (304, b"")

    async def test_options_and_other_methods(self, client):
        answer = await client.request("OPTIONS", PROOF)
        assert (answer.status_code, answer.headers["allow"]) == (204, "GET, HEAD, OPTIONS")
        answer = await client.post(PROOF)
        assert refused(answer) == (405, "method_not_allowed")
        assert answer.headers["allow"] == "GET, HEAD, OPTIONS"

    @pytest.mark.parametrize(
        ("path", "status", "code"),
        [
            pytest.param("/v1/proof/99.1/A", 404, "prefix_not_found", id="foreign"),
            pytest.param("/v1/proof/88.100", 400, "identifier_invalid", id="no suffix"),
            pytest.param("/v1/proof/", 400, "identifier_invalid", id="nothing"),
            pytest.param(f"{PROOF}?at=soon", 400, "query_invalid", id="no time"),
            pytest.param(f"{PROOF}?at=1&at=2", 400, "query_invalid", id="twice"),
            pytest.param(f"{PROOF}?when=1", 400, "query_invalid", id="unknown parameter"),
            pytest.param(f"{PROOF}?at=1", 404, "not_found", id="before the log"),
        ],
    )
    async def test_refusals(self, client, path, status, code):
        assert refused(await client.get(path)) == (status, code)

    async def test_as_of_a_time(self, client, source):
        now = await client.get(PROOF)
        for at in (str(source.time), "2030-01-01T00:00:00Z", "2030-01-01T08:00:00%2B08:00"):
            assert (await client.get(f"{PROOF}?at={at}")).content == now.content

    async def test_pending(self, client, source):
        source.register("88.100/NEW")
        answer = await client.get("/v1/proof/88.100/NEW")
        assert refused(answer) == (503, "proof_pending")
        assert answer.headers["retry-after"] == "1"


class TestSource:
    async def test_one_without_a_log_says_so(self):
        source = Authority()
        source.allocate("88")
        source.register("88/A")
        async with client_of(resolver_of(source)) as client:
            for path in ("/88/A?proof=full", "/v1/proof/88/A"):
                assert refused(await client.get(path)) == (404, "no_log")
            assert (await client.get("/88/A")).status_code == 200

    async def test_one_that_is_away(self, client, source):
        source.away = True
        for path in (FULL, PROOF):
            assert refused(await client.get(path)) == (503, "unavailable")

    async def test_one_that_takes_too_long(self, client, source):
        source.delay = 5
        assert refused(await client.get(PROOF)) == (503, "unavailable")

    async def test_one_that_proves_something_else(self, client, source):
        other = await source.prove(ident(STEEL))

        async def prove(_identifier, _at=None):
            return other

        source.prove = prove
        for path in (FULL, PROOF):
            assert refused(await client.get(path)) == (503, "unavailable")

    async def test_one_whose_log_contradicts_itself_keeps_it_to_itself(self, client, source):
        async def prove(_identifier, _at=None):
            raise TierlinkError("bucket 5 is not what its root says")

        source.prove = prove
        answer = await client.get(PROOF)
        assert refused(answer) == (503, "unavailable")
        assert "bucket" not in answer.text

    async def test_too_many_at_a_time(self, client, monkeypatch):
        monkeypatch.setattr(prover, "MAX_PROOFS", 0)
        assert refused(await client.get(PROOF)) == (503, "unavailable")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("1795000000", 1_795_000_000),
        ("2026-11-25T10:00:00Z", 1_795_600_800),
        ("2026-11-25t10:00:00z", 1_795_600_800),
        ("2026-11-25 10:00:00Z", 1_795_600_800),
        ("2026-11-25T18:00:00+08:00", 1_795_600_800),
        ("2026-11-25T18:00:00 08:00", 1_795_600_800),  # an unescaped + of a query
        ("2026-11-25T10:00:00.999Z", 1_795_600_800),
    ],
)
def test_times(text, seconds):
    assert read_time(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-1",
        "01",
        "1.5",
        "\uff11",
        "1" * 13,
        "2026-11-25",
        "2026-11-25T10:00:00",
        "2026-11-25T25:00:00Z",
        "2026-02-30T10:00:00Z",
        "1969-12-31T23:59:59Z",
        "2026-11-25T10:00:00Z\n",
        "0001-01-01T00:00:00+23:59",
    ],
)
def test_what_is_no_time(text):
    with pytest.raises(BadQuery) as caught:
        read_time(text)
    assert caught.value.fix


def ident(text):
    return Identifier.parse(text)
