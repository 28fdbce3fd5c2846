"""What holds for every route: refusals are problem documents, bodies are bounded, nothing leaks."""

import asyncio
import json
import logging

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text
from starlette.middleware.base import BaseHTTPMiddleware  # noqa: TID251  (shows it is not used)
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse

from registry.api import problems
from registry.api.deps import CallerDep, Deps, Read, StreamCaller, Write, read_object
from registry.app import create_app
from registry.keyring import Keyring
from registry.store.engine import Store
from tests.servers import free_port

GOOD = {"prefix": "88.118", "organisation": {"name": "试验"}}


def is_problem(answer, status, code):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    body = answer.json()
    assert (body["status"], body["code"]) == (status, code)
    assert body["title"]
    return body


@pytest.mark.parametrize(
    ("content", "code", "detail"),
    [
        pytest.param("{", "input_invalid", "not JSON", id="malformed"),
        pytest.param("[]", "input_invalid", "the body", id="an array"),
        pytest.param('"x"', "input_invalid", "the body", id="a string"),
        pytest.param("{}", "input_invalid", "prefix: Field required", id="empty"),
        pytest.param(
            json.dumps(GOOD | {"colour": "red"}), "input_invalid", "colour: Extra", id="unknown"
        ),
        pytest.param(json.dumps(GOOD | {"prefix": 88}), "input_invalid", "prefix", id="a number"),
        pytest.param(
            json.dumps(GOOD | {"organisation": {"name": "a\x00b"}}),
            "input_invalid",
            "organisation.name",
            id="a control character",
        ),
        pytest.param(
            json.dumps(GOOD | {"organisation": {"name": "\ud800"}}),
            "input_invalid",
            "organisation.name",
            id="a lone surrogate",
        ),
        pytest.param(
            json.dumps(GOOD | {"organisation": {"name": "x", "lei": "0"}}),
            "input_invalid",
            "organisation.lei",
            id="no lei",
        ),
        pytest.param(json.dumps(GOOD | {"prefix": "88..1"}), "identifier_invalid", "", id="prefix"),
        pytest.param(json.dumps(GOOD | {"prefix": "\x00"}), "identifier_invalid", "", id="nul"),
        pytest.param(json.dumps(GOOD | {"node": "file:///x"}), "E_FORMAT", "node", id="node"),
        pytest.param(b"\xff\xfe", "input_invalid", "", id="not UTF-8"),
        pytest.param("[" * 60_000, "input_invalid", "", id="deep"),
    ],
)
async def test_bad_bodies(registry, content, code, detail):
    answer = await registry.client.post(
        "/v1/prefixes",
        content=content,
        headers={
            "content-type": "application/json",
            "authorization": f"Bearer {registry.operator}",
        },
    )
    assert detail in is_problem(answer, 400, code)["detail"]


async def test_a_missing_body(registry):
    answer = await registry.client.post(
        "/v1/prefixes", headers={"authorization": f"Bearer {registry.operator}"}
    )
    is_problem(answer, 400, "input_invalid")


@pytest.mark.parametrize("declared", [None, "text/plain", "application/x-www-form-urlencoded"])
async def test_media_types(registry, declared):
    headers = {"authorization": f"Bearer {registry.operator}"}
    if declared:
        headers["content-type"] = declared
    answer = await registry.client.post("/v1/prefixes", content=json.dumps(GOOD), headers=headers)
    is_problem(answer, 415, "media_type_unsupported")


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/prefixes/", "/v1/nothing", "/docs/x"])
async def test_unknown_routes(registry, path):
    is_problem(await registry.get(path), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/v1/prefixes/88", "GET"),
        ("PATCH", "/v1/trust", "GET"),
        ("POST", "/v1/prefixes/88/delegation", "PUT"),
    ],
)
async def test_wrong_methods(registry, method, path, allowed):
    answer = await registry.send(method, path)
    is_problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == allowed


async def test_without_a_key(registry):
    answer = await registry.post("/v1/prefixes", GOOD)
    is_problem(answer, 401, "unauthenticated")
    assert answer.headers["www-authenticate"] == "Bearer"


class TestLargeBodies:
    async def test_one_byte_over(self, registry):
        for extra, status in ((0, 400), (1, 413)):
            answer = await self.send(registry, "x" * (131072 + extra))
            assert answer.status_code == status
        is_problem(answer, 413, "too_large")

    async def test_counted_while_it_is_read(self, registry):
        """In chunks, with no Content-Length at all; reading stops at the limit."""
        sent = 0

        async def chunks():
            nonlocal sent
            for _ in range(1000):
                sent += 1
                yield b"x" * 1024

        is_problem(await self.send(registry, chunks()), 413, "too_large")
        assert sent <= 130 or sent == 1000  # the transport may have read ahead

    async def send(self, registry, content):
        return await registry.client.post(
            "/v1/prefixes",
            content=content,
            headers={
                "content-type": "application/json",
                "authorization": f"Bearer {registry.operator}",
            },
        )


@pytest.fixture
async def away():
    """A registry whose database does not listen."""
    store = Store.open(f"postgresql+asyncpg://tierlink@127.0.0.1:{free_port()}/tierlink")
    app = create_app(Deps(store, Keyring(bytes(32)), lambda: 0))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://registry"
    ) as client:
        yield client
    await store.close()


class TestHealth:
    async def test_alive_and_ready(self, registry):
        assert (await registry.get("/healthz")).json() == {"status": "ok"}
        assert (await registry.get("/readyz")).json() == {"status": "ready"}

    async def test_not_founded(self, store):
        app = create_app(Deps(store, Keyring(bytes(32)), lambda: 0))
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://registry"
        ) as client:
            body = is_problem(await client.get("/readyz"), 503, "unavailable")
        assert body["fix"] == "tierlink up"

    async def test_not_migrated(self, registry):
        async with registry.store.write() as tx:
            await tx.connection.execute(text("DROP TABLE prefixes"))
        body = is_problem(await registry.get("/readyz"), 503, "unavailable")
        assert body["fix"] == "tierlink migrate"

    async def test_the_database_is_away(self, away):
        assert (await away.get("/healthz")).status_code == 200
        for method, path in (
            ("GET", "/readyz"),
            ("GET", "/v1/prefixes/88"),
            ("GET", "/v1/trust"),
            ("POST", "/v1/prefixes/88/suspend"),
        ):
            answer = await away.request(method, path)
            body = is_problem(answer, 503, "unavailable")
            assert answer.headers["retry-after"] == "1"
            assert body["detail"] == "the database does not answer"


@pytest.fixture
async def extra(registry):
    """The same layers around routes made for the test."""
    app = create_app(registry.deps)
    add_routes(app)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://registry"
    ) as client:
        registry.client = client
        yield registry


def add_routes(app: FastAPI) -> None:  # noqa: C901  (a list of routes)
    insert = text("INSERT INTO organisations (name) VALUES ('x')")

    @app.get("/broken")
    async def broken():
        raise ZeroDivisionError("the secret is 42")

    @app.post("/refuse-after-write")
    async def refuse(tx: Write):
        await tx.connection.execute(insert)
        return JSONResponse({"no": True}, 418)

    @app.post("/break-after-write")
    async def break_after(tx: Write):
        await tx.connection.execute(insert)
        raise ZeroDivisionError

    @app.post("/write-and-count")
    async def write_and_count(tx: Write, caller: CallerDep, same: Read):
        assert same is tx
        await tx.connection.execute(insert)
        return {"caller": str(caller.prefix)}

    @app.post("/stream")
    async def stream(request: problems.Request, caller: StreamCaller):
        sizes = [len(chunk) async for chunk in request.stream()]
        return PlainTextResponse("\n".join(map(str, sizes)))

    @app.post("/object")
    async def read(request: problems.Request):
        return await read_object(request)

    @app.get("/cut")
    async def cut():
        async def answer():
            yield "begun"
            raise ZeroDivisionError

        return StreamingResponse(answer())


async def organisations(registry):
    async with registry.store.read() as tx:
        found = await tx.connection.execute(text("SELECT count(*) FROM organisations"))
        return found.scalar_one() - 1


class TestOneRequestOneTransaction:
    async def test_an_unknown_exception_is_an_incident(self, extra, caplog):
        with caplog.at_level(logging.ERROR, "registry.api"):
            answer = await extra.get("/broken")
        body = is_problem(answer, 500, "internal")
        assert "42" not in answer.text
        assert body["incident"] in caplog.text
        assert "the secret is 42" in caplog.text

    @pytest.mark.parametrize(
        ("path", "status"), [("/refuse-after-write", 418), ("/break-after-write", 500)]
    )
    async def test_a_refusal_rolls_back(self, extra, path, status):
        assert (await extra.post(path)).status_code == status
        assert await organisations(extra) == 0

    async def test_caller_read_and_write_share_it(self, extra):
        answer = await extra.post("/write-and-count", key=extra.operator)
        assert answer.json() == {"caller": "."}
        assert await organisations(extra) == 1

    async def test_the_commit_comes_before_the_answer(self, extra):
        """Seen from the first byte of the answer on: another connection has the row."""
        app = extra.client._transport.app
        counts = []

        async def receive():
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message):
            counts.append((message["type"], await organisations(extra)))

        headers = [(b"authorization", f"Bearer {extra.operator}".encode())]
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/write-and-count",
            "raw_path": b"/write-and-count",
            "query_string": b"",
            "headers": headers,
        }
        await app(scope, receive, send)
        assert counts == [("http.response.start", 1), ("http.response.body", 1)]

    async def test_a_commit_that_fails_is_the_answer(self, extra):
        async with extra.store.write() as tx:
            await tx.connection.execute(
                text(
                    "ALTER TABLE organisations ADD CONSTRAINT late UNIQUE (name)"
                    " DEFERRABLE INITIALLY DEFERRED"
                )
            )
        answers = [await extra.post("/write-and-count", key=extra.operator) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [200, 500]
        assert await organisations(extra) == 1

    async def test_a_slow_sender_holds_no_connection(self, extra):
        """The body is read before the transaction begins."""
        open_before = extra.store.engine.pool.checkedout()
        waiting, more = asyncio.Event(), asyncio.Event()

        async def chunks():
            yield b"{"
            waiting.set()
            await more.wait()
            yield b"}"

        # ASGITransport reads a body ahead of the app, so speak to the app itself
        parts = chunks()

        async def receive():
            try:
                return {"type": "http.request", "body": await anext(parts), "more_body": True}
            except StopAsyncIteration:
                return {"type": "http.request", "body": b"", "more_body": False}

        async def send(_message):
            pass

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/write-and-count",
            "raw_path": b"/write-and-count",
            "query_string": b"",
            "headers": [(b"authorization", f"Bearer {extra.operator}".encode())],
        }
        task = asyncio.create_task(extra.client._transport.app(scope, receive, send))
        await waiting.wait()
        await asyncio.sleep(0.05)
        assert extra.store.engine.pool.checkedout() == open_before
        more.set()
        await task

    async def test_a_stream_reads_beyond_the_limit_but_not_without_a_key(self, extra):
        body = b"x" * 200_000
        headers = {"authorization": f"Bearer {extra.operator}"}
        answer = await extra.client.post("/stream", content=body, headers=headers)
        assert sum(map(int, answer.text.split())) == 200_000
        is_problem(await extra.client.post("/stream", content=body), 401, "unauthenticated")

    async def test_an_answer_that_breaks_is_cut(self, extra):
        transport = httpx.ASGITransport(extra.client._transport.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://registry") as client:
            with pytest.raises(ZeroDivisionError):
                await client.get("/cut")

    @pytest.mark.parametrize(
        ("content", "declared", "status", "code"),
        [
            (b'{"a":1}', "application/json", 200, None),
            (b'{"a":1}', "application/json; charset=utf-8", 200, None),
            (b'{"a":1,"a":2}', "application/json", 400, "input_invalid"),
            (b'{"a":1.5}', "application/json", 400, "input_invalid"),
            (b"[]", "application/json", 400, "input_invalid"),
            (b"", "application/json", 400, "input_invalid"),
            (b'{"a":1}', "text/plain", 415, "media_type_unsupported"),
        ],
    )
    async def test_strict_objects(self, extra, content, declared, status, code):
        answer = await extra.client.post(
            "/object", content=content, headers={"content-type": declared}
        )
        if status == 200:
            assert answer.json() == {"a": 1}
        else:
            is_problem(answer, status, code)


def test_layers_are_pure_asgi(registry):
    app = registry.client._transport.app
    layers = [layer.cls for layer in app.user_middleware]
    assert [layer.__name__ for layer in layers] == ["Problems", "Transactions"]
    assert not any(issubclass(layer, BaseHTTPMiddleware) for layer in layers)
