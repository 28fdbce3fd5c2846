"""Three companies with nodes of their own in one process, which trace at each other.

    88.118/CAR     at http://child      the vehicle maker
      └ 77/PACK    at http://registry   the pack maker, whose node is that of the root
          └ 66/CELL   at http://third   the cell maker
              ├ 77/BOX                  what everybody may know of
              └ 66/ORE                  what nobody knows of, unless he is granted it

Each node has its registry, its deliverer, and a tracer that asks the others by `Wire`, which
keeps every reply.
"""

import itertools
import json
import time
from dataclasses import dataclass, field

import pytest

from registry import prefixes
from registry.here import Here
from registry.reader import Reader
from resolver.federated import Federated
from resolver.hopping import Hopping
from resolver.hops import PATH, Hops, receive
from resolver.referral import Place
from resolver.statements import Statements
from resolver.trace import Tracer
from resolver.trust import Verifier
from resolver.walk import Budget
from schemas import canonical
from schemas.chain import Trust, trust_document
from schemas.errors import PeerUnreachable
from schemas.identifier import Identifier, Prefix
from schemas.source import Fetched
from schemas.viewer import Viewer
from tests.clock import Clock
from tests.neighbours import CHILD, HERE, PARENT, neighbour
from tierlink.delivering import Deliverer
from tierlink.federating import Speaker
from tierlink.joining import Wish, join

THIRD = "http://third"
OEM, PACKS, CELLS = "88.118", "77", "66"
CAR, PACK, CELL, BOX, ORE = "88.118/CAR", "77/PACK", "66/CELL", "77/BOX", "66/ORE"
SECRET = b"66/ORE"

_numbers = itertools.count()


class Wire:
    """Stands where `resolver.peers` stands: between the nodes, in this process."""

    def __init__(self):
        self.nodes = {}
        self.down = set()
        self.sent = []  # (origin, path, body, reply as bytes)

    def traced(self, origin):
        """What a node was asked about traces, and what it answered."""
        return [
            (body, reply) for to, path, body, reply in self.sent if (to, path) == (origin, PATH)
        ]

    async def ask(self, origin, identifiers, *, whole=True):
        body = {"identifiers": [item.text for item in identifiers], "whole": whole}
        return Fetched.from_json(await self.post(origin, "/v1/source", body), len(identifiers))

    async def post(self, origin, path, body, *, seconds=None):
        if origin in self.down:
            raise PeerUnreachable(origin, "it is down")
        raw = canonical.encode(body)
        if path == PATH:
            reply = canonical.encode(await self.nodes[origin].hop(canonical.decode_object(raw)))
        else:
            answer = await self.nodes[origin].registry.post(path, json.loads(raw))
            assert answer.status_code == 200, answer.text
            reply = answer.content
        self.sent.append((origin, path, body, reply))
        return canonical.decode_object(reply)


@dataclass
class Company:
    """One node: what it has, and what it asks others."""

    origin: str
    prefix: str
    registry: object
    key: str
    wire: Wire
    wall: Clock = field(default_factory=lambda: Clock(0))

    async def open(self, root_url):
        async with self.registry.store.read() as tx:
            trust = Trust.parse(json.dumps(trust_document(await prefixes.roots(tx), ())).encode())
        self.verifier = Verifier(trust)
        reader = Reader(self.registry.store, self.registry.clock, ttl=30)
        place = Place(root_url, self.origin)
        source = Federated(
            reader, self.verifier, self.wire, place, clock=time.monotonic, wall=self.now
        )
        statements = Statements()
        self.speak = Speaker(self.registry.store, self.registry.keyring, Prefix.parse(self.prefix))
        self.hops = Hops(
            place,
            self.wire.post,
            self.speak,
            local=reader,
            everywhere=source,
            verifier=self.verifier,
            statements=statements,
            granting=reader,
            clock=time.monotonic,
            wall=self.now,
        )
        self.tracer = Tracer(
            source, self.verifier, time.monotonic, statements=statements, hops=self.hops
        )
        self.hopping = Hopping(self.tracer, self.hops, self.verifier)
        self.deliverer = Deliverer(self.registry.store, source, self.wire.post, self.later)
        self.wire.nodes[self.origin] = self

    def now(self):
        return self.registry.clock.now

    def later(self):
        """What the deliverer takes for now: whatever is queued, is due by the database's clock."""
        return time.time() + self.wall.now

    async def hop(self, request):
        received = receive(request, self.verifier, self.hops.place, self.now())
        return await self.hopping.answer(received)

    async def post(self, path, body, status=201):
        answer = await self.registry.post(path, body, key=self.key)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def get(self, path):
        answer = await self.registry.get(path, key=self.key)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def has(self, identifier):
        await self.post("/v1/identifiers", {"identifier": identifier, "kind": "item"})

    async def contains(self, downstream, upstream, kind="CONTAINED_IN"):
        ends = {"side": "downstream", "upstream": upstream, "downstream": downstream}
        await self.post("/v1/links", {"type": kind} | ends)

    async def grants(self, name, to, status=201, **members):
        draft = {"iss": self.prefix, "id": name, "to": to, "depth": 5} | members
        return await self.post("/v1/grants", draft, status)

    async def revokes(self, name):
        return await self.post(f"/v1/grants/{self.prefix}/{name}/revoke", None, 200)

    async def received(self):
        found = (await self.get("/v1/grants/received"))["grants"]
        return [(item["iss"], item["id"], item["version"], item["state"]) for item in found]

    async def trace(self, root, name="", purpose="", direction="upstream", seconds=5.0):
        """A trace from here, for the holder of this node, or for nobody (`name` None)."""
        caller = Prefix.parse(name or self.prefix) if name is not None else None
        return await self.tracer.walk(
            Identifier.parse(root),
            direction,
            Budget(seconds=seconds),
            viewer=Viewer(caller, purpose, f"trace{next(_numbers):017}"),
        )


@dataclass
class Companies:
    wire: Wire
    oem: Company
    packs: Company
    cells: Company

    def __iter__(self):
        return iter((self.oem, self.packs, self.cells))

    async def deliver(self):
        for company in self:
            await company.deliverer.once()


@pytest.fixture
async def companies(registry, child, parent, third_database, tmp_path):
    wire = Wire()
    packs = await registry.allocate(PACKS, opened=False)
    async with neighbour(third_database, registry, Here(THIRD, PARENT)) as third:
        keys = {}
        for node, prefix, here in ((child, OEM, HERE), (third, CELLS, Here(THIRD, PARENT))):
            folder = tmp_path / prefix
            folder.mkdir()
            wish = Wish(Prefix.parse(prefix), prefix, here)
            await join(node.store, node.keyring, parent, wish, data_dir=folder, now=node.clock.now)
            keys[prefix] = json.loads((folder / "operator.json").read_text())["api_key"]
        found = Companies(
            wire,
            Company(CHILD, OEM, child, keys[OEM], wire),
            Company(PARENT, PACKS, registry, packs.api_key, wire),
            Company(THIRD, CELLS, third, keys[CELLS], wire),
        )
        await found.oem.open(PARENT)
        await found.packs.open("")
        await found.cells.open(PARENT)
        for company, items in ((found.oem, [CAR]), (found.packs, [PACK, BOX])):
            for item in items:
                await company.has(item)
        for item in (CELL, ORE):
            await found.cells.has(item)
        await found.oem.contains(CAR, PACK)
        await found.packs.contains(PACK, CELL)
        await found.cells.contains(CELL, ORE)
        await found.cells.contains(CELL, BOX, "CONSUMED_INTO")
        await found.packs.grants("to-oem", OEM)
        await found.cells.grants("to-all", "*", aspects=["CONSUMED_INTO"])
        yield found
