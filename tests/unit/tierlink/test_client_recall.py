"""Recalls through both clients, with a hosted key and with the holder's own."""

import asyncio
from dataclasses import replace

import httpx
import pytest

from registry.app import create_app
from schemas.envelope import digest
from schemas.errors import Forbidden, IdentifierNotFound, NotFound
from schemas.identifier import Identifier, Prefix
from schemas.notice import ISSUED, LIFTED, Notice, parse_notice
from tests.bridge import Bridge
from tests.holders import hold
from tierlink.client import AsyncClient, Client, notices

PREFIX, GEAR, LOT = "88.9", "88.9/GEAR-1", "88.9/LOT-7"
DRAFT = {"iss": PREFIX, "id": "2026-1", "of": [GEAR], "reason": "cracks"}


class Speaker:
    """A client whose calls are awaited, whichever it is."""

    def __init__(self, client):
        self.client = client

    async def __call__(self, name, *arguments):
        method = getattr(self.client, name)
        if isinstance(self.client, Client):
            return await asyncio.to_thread(method, *arguments)
        return await method(*arguments)


@pytest.fixture(params=["asynchronous", "blocking"])
async def speak(registry, request):
    """Return the client of an API key and a signer."""
    opened = []

    def made(api_key, signer=None):
        app, common = create_app(registry.deps), {"api_key": api_key, "signer": signer}
        common["now"] = registry.clock
        if request.param == "blocking":
            client = Client("http://registry", transport=Bridge(app), **common)
        else:
            transport = httpx.ASGITransport(app)
            client = AsyncClient("http://registry", transport=transport, **common)
        opened.append(Speaker(client))
        return opened[-1]

    yield made
    for speaker in opened:
        await speaker("close")


@pytest.fixture(params=["hosted key", "own key"])
async def holder(registry, speak, request):
    if request.param == "own key":
        held = await hold(registry, PREFIX)
        speaker = speak(held.api_key, held.private)
    else:
        speaker = speak((await registry.allocate(PREFIX)).api_key)
    for text, kind in ((GEAR, "item"), (LOT, "batch")):
        await speaker("register", {"identifier": text, "kind": kind})
    return speaker


async def test_the_life_of_a_recall(holder, registry):
    first = await holder("recall", DRAFT)
    assert (first.created, first.notice.version, first.notice.state) == (True, 1, ISSUED)
    assert [item.text for item in first.notice.of] == [GEAR]
    registry.clock.now += 60
    wider = await holder("recall", {**DRAFT, "of": [GEAR, LOT], "href": "https://a.example/r"})
    assert (wider.created, wider.notice.version, wider.notice.prev) == (False, 2, first.digest)
    assert wider.notice.issued_at == registry.clock.now
    lifted = await holder("lift_recall", PREFIX, "2026-1")
    assert (lifted.notice.state, lifted.notice.version) == (LIFTED, 3)
    assert (await holder("lift_recall", Prefix.parse(PREFIX), "2026-1")).digest == lifted.digest
    again = await holder("recall", DRAFT)
    assert (again.created, again.notice.state, again.notice.version) == (False, ISSUED, 4)
    assert await holder("recalls", PREFIX) == (again,)
    assert parse_notice(again.envelope)[1] == again.notice
    assert digest(again.envelope) == again.digest


async def test_a_notice_may_be_given_whole(holder, registry):
    marked = (Identifier.parse(LOT),)
    notice = Notice(Prefix.parse(PREFIX), "lot", registry.clock(), marked, "mixed up")
    made = await holder("recall", notice)
    assert (made.created, made.notice) == (True, notice)
    await holder("recall", replace(notice, reason="another lot"))
    (listed,) = await holder("recalls", PREFIX)
    assert (listed.notice.reason, listed.notice.version) == ("another lot", 2)


async def test_a_listing_goes_on_to_its_last_page(holder, speak, monkeypatch):
    monkeypatch.setattr(notices, "PAGE", 2)
    names = ["a", "b", "c", "d", "e"]
    for name in names:
        await holder("recall", {**DRAFT, "id": name})
    await holder("lift_recall", PREFIX, "c")
    found = await speak(None)("recalls", PREFIX)  # anybody may
    assert [item.notice.id for item in found] == names
    assert [item.notice.state == LIFTED for item in found] == [name == "c" for name in names]
    assert await holder("recalls", "88.8") == ()


async def test_what_is_refused(holder, registry, speak):
    with pytest.raises(NotFound, match="no notice none"):
        await holder("lift_recall", PREFIX, "none")
    with pytest.raises(IdentifierNotFound, match=r"88\.9/NONE"):
        await holder("recall", {**DRAFT, "of": ["88.9/NONE"]})
    stranger = speak((await registry.allocate("88.8")).api_key)
    with pytest.raises(Forbidden):
        await stranger("recall", DRAFT)
    await holder("recall", DRAFT)
    with pytest.raises(Forbidden):
        await stranger("lift_recall", PREFIX, "2026-1")
