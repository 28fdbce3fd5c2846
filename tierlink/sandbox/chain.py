"""The sample, spread over the network, and what its companies let each other see.

The vehicle maker and the maker of lithium salts have nodes of their own; all other companies are
held by the secondary node. So a trace from a van to its lithium crosses three nodes.

    1. records, at each node those of its companies
    2. links: each company states its side at its own node, and the nodes carry statements to each
       other until all that two companies state is mutual at both
    3. grants: by default a company sees the links of its own things, to the next tier either way;
       they go to the nodes of those to whom they are

        opened    the pack maker shows the vehicle maker what packs are made of
        blinded   the module maker shows him pseudonyms in the place of cells and boards
        recall    everybody shows the two everything, where they ask for a recall

`sample.json` in the folder of the secondary node holds what is needed to speak for its companies.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from schemas.errors import TierlinkError
from schemas.grant import BLINDED, Grant
from schemas.identifier import Prefix
from schemas.keys import PrivateKey, Signer
from schemas.link import DOWNSTREAM, UPSTREAM
from tierlink import keyfile
from tierlink.client import AsyncClient
from tierlink.imports.delivery import Delivery, deliver
from tierlink.imports.plan import Holder, Plan
from tierlink.imports.report import Company
from tierlink.sample.battery import DEFAULT_SEED, examples, plan

from .network import ENTERPRISES, MINERALS, SECONDARY, VEHICLE, Address, Network, together

RECALL = "recall"  # the purpose for which everything is opened
DELIVERED_SECONDS = 60.0
_LOOK = 0.2  # seconds between two looks whether all is delivered

Say = Callable[[str], None]


class SpreadFailed(TierlinkError):
    """The sample could not be spread whole."""

    code = "sample_failed"
    title = "Sample not loaded"


class Book:
    """sample.json of one node: its companies, their API keys and the files of their keys."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "sample.json"
        found = json.loads(self.path.read_bytes()) if self.path.exists() else {}
        self.loaded: bool = found.get("loaded") is True
        self.examples: dict[str, str] = found.get("examples", {})
        self.keys: dict[str, str] = {
            item["prefix"]: item["api_key"] for item in found.get("enterprises", [])
        }
        self._folder = folder

    def write(self, holders: Iterable[Holder], examples: dict[str, str], *, loaded: bool) -> None:
        """Write what is known by now."""
        enterprises = [
            {
                "prefix": str(holder.prefix),
                "name": holder.organisation,
                "api_key": self.keys[str(holder.prefix)],
                "key_file": self._key_file(holder),
            }
            for holder in holders
            if str(holder.prefix) in self.keys
        ]
        document = {"enterprises": enterprises, "examples": examples, "loaded": loaded}
        text = json.dumps(document, ensure_ascii=False, indent=1)
        keyfile.write_private(self.path, text.encode() + b"\n")

    def _key_file(self, holder: Holder) -> str:
        """Write the signing key of a holder; empty for one whose key the node hosts."""
        if not isinstance(holder.signer, PrivateKey):
            return ""
        path = self._folder / "keys" / f"{holder.prefix}.pem"
        path.parent.mkdir(mode=0o700, exist_ok=True)
        if not path.exists():
            keyfile.save(path, holder.signer)
        return str(path.resolve())


async def spread(network: Network, say: Say) -> dict[str, str]:
    """Load the sample where it is not loaded yet; return examples of it by their names.

    Raise SpreadFailed where a part was refused.
    """
    book = Book(network.address[SECONDARY].folder)
    if book.loaded:
        return book.examples
    made = plan(network.address[SECONDARY].prefix, DEFAULT_SEED, int(time.time()))
    shares = _shares(network, made)
    named = {name: identifier.text for name, identifier in examples(made).items()}
    say(f"spreading {len(made.records)} identifiers of {len(made.holders)} companies")
    # 1
    await together(_deliver(network, name, part, book) for name, part in _records(shares))
    book.write(shares[SECONDARY].holders, named, loaded=False)
    # 2
    await together(_deliver(network, name, part, book) for name, part in _links(shares))
    await delivered(network, book)
    # 3
    await together(_grant(network, book, made.holders))
    await delivered(network, book)
    book.write(shares[SECONDARY].holders, named, loaded=True)
    return named


def _shares(network: Network, made: Plan) -> dict[str, Plan]:
    """Cut the plan by where its companies are held; an enterprise's own node hosts its key."""
    enterprises = {network.address[name].prefix: name for name in ENTERPRISES}

    def at(prefix: Prefix) -> str:
        return enterprises.get(prefix, SECONDARY)

    return {
        name: Plan(
            tuple(
                replace(item, signer=None) if item.prefix in enterprises else item
                for item in made.holders
                if at(item.prefix) == name
            ),
            tuple(item for item in made.records if at(item.identifier.prefix) == name),
            tuple(item for item in made.assertions if at(item.asserter.prefix) == name),
        )
        for name in (SECONDARY, *ENTERPRISES)
    }


def _records(shares: dict[str, Plan]) -> list[tuple[str, Plan]]:
    return [(name, replace(share, assertions=())) for name, share in shares.items()]


def _links(shares: dict[str, Plan]) -> list[tuple[str, Plan]]:
    return [(name, replace(share, records=())) for name, share in shares.items()]


async def _deliver(network: Network, name: str, share: Plan, book: Book) -> None:
    address = network.address[name]

    def connect(api_key: str, signer: Signer | None) -> AsyncClient:
        return AsyncClient(address.url, api_key=api_key, signer=signer, trust="fetch")

    def keep(company: Company) -> None:
        assert company.api_key is not None
        book.keys[company.prefix] = company.api_key
        book.write(share.holders, {}, loaded=False)

    if name == SECONDARY:
        known = {Prefix.parse(text): api_key for text, api_key in book.keys.items()}
    else:
        known = {address.prefix: address.api_key}
    report = await deliver(Delivery(connect, address.api_key, known, keep), share)
    if not report.complete:
        first = report.refused[0]
        raise SpreadFailed(
            f"{len(report.refused)} parts were refused at {name}; the first, {first.place}: "
            f"{first.code}: {first.reason}",
            fix=f"remove {network.folder} and begin anew",
        )


async def delivered(network: Network, book: Book) -> None:
    """Wait until nothing that was stated or granted is on its way; raise SpreadFailed."""
    own = [network.address[name] for name in ENTERPRISES]
    speakers = [(address, address.prefix, address.api_key) for address in own]
    speakers += [
        (network.address[SECONDARY], Prefix.parse(prefix), api_key)
        for prefix, api_key in book.keys.items()
    ]
    waiting: list[str] = []
    try:
        async with asyncio.timeout(DELIVERED_SECONDS):
            while True:
                waiting = [left for item in speakers for left in await _waiting(*item)]
                if not waiting:
                    return
                await asyncio.sleep(_LOOK)
    except TimeoutError as err:
        raise SpreadFailed(
            f"{len(waiting)} statements or grants were not delivered; the first: {waiting[0]}",
            fix="see GET /v1/deliveries and /v1/grants of the node, and node.log in its folder",
        ) from err


async def _waiting(address: Address, prefix: Prefix, api_key: str) -> Sequence[str]:
    async with AsyncClient(address.url, api_key=api_key) as client:
        left = [
            f"{item.far}: {item.failure or 'not tried yet'}" for item in await client.deliveries()
        ]
        return left + [
            f"{item.grant.grantor} {item.grant.id}: {item.handover or 'not tried yet'}"
            for item in await client.grants(prefix)
            if item.handover is not None
        ]


# Who shows whom what


def grants(network: Network, holders: Iterable[Prefix], now: int) -> list[Grant]:
    """Return the grants of the network."""
    vehicle, minerals = (network.address[name].prefix for name in (VEHICLE, MINERALS))
    parent = network.address[SECONDARY].prefix
    pack, module = (Prefix((*parent.labels, label)) for label in ("108", "107"))
    given = [
        Grant(pack, "opened", now, vehicle, direction=UPSTREAM),
        Grant(module, "blinded", now, vehicle, direction=UPSTREAM, show=BLINDED),
    ]
    for holder in holders:
        for to, direction in ((vehicle, UPSTREAM), (minerals, DOWNSTREAM)):
            if holder != to:
                name = f"{RECALL}-{direction}"
                given.append(Grant(holder, name, now, to, direction=direction, purpose=RECALL))
    return given


def _grant(network: Network, book: Book, holders: Sequence[Holder]) -> list[Awaitable[None]]:
    """Let each holder grant at its own node, signed by its own key where it has one."""
    wanted = grants(network, [item.prefix for item in holders], int(time.time()))
    enterprises = {network.address[name].prefix: network.address[name] for name in ENTERPRISES}
    secondary = network.address[SECONDARY]

    async def say(holder: Holder) -> None:
        own = enterprises.get(holder.prefix)
        address, api_key, signer = (
            (secondary, book.keys[str(holder.prefix)], holder.signer)
            if own is None
            else (own, own.api_key, None)
        )
        async with AsyncClient(
            address.url, api_key=api_key, signer=signer, trust="fetch"
        ) as client:
            for grant in wanted:
                if grant.grantor == holder.prefix:
                    await client.grant(grant)

    return [say(holder) for holder in holders]
