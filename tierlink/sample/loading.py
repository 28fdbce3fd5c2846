"""Loads the sample into a running node, as any company would: through its API.

`<data_dir>/sample.json` (0600) holds what is needed to speak for each company, and is written
again with every key that is learnt, so that a loading that broke off goes on where it was.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from schemas.errors import PrefixNotFound, TierlinkError
from schemas.identifier import Prefix
from schemas.keys import PrivateKey, Signer
from tierlink import keyfile
from tierlink.client import AsyncClient
from tierlink.imports.delivery import IDENTIFIERS, Delivery, deliver
from tierlink.imports.plan import Holder
from tierlink.imports.report import Company

from .battery import DEFAULT_SEED, examples, plan

PARENT = Prefix.parse("88.118")
HOLDER = "Sample secondary node"

Recover = Callable[[Prefix], Awaitable[str | None]]


class SampleFailed(TierlinkError):
    """The sample could not be loaded whole."""

    code = "sample_failed"
    title = "Sample not loaded"


class _File:
    """sample.json: the companies that are known so far."""

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir / "sample.json"
        self.document: dict[str, object] = {}
        self.keys: dict[str, str] = {}
        if self.path.exists():
            self.document = json.loads(self.path.read_bytes())
            for item in self.document.get("enterprises", []):  # type: ignore[attr-defined]
                self.keys[item["prefix"]] = item["api_key"]

    @property
    def loaded(self) -> bool:
        return self.document.get("loaded") is True

    def write(self, **members: object) -> None:
        self.document.update(members)
        text = json.dumps(self.document, ensure_ascii=False, indent=1)
        keyfile.write_private(self.path, text.encode() + b"\n")


async def load(
    base_url: str,
    operator_key: str,
    data_dir: Path,
    *,
    recover: Recover,
    say: Callable[[str], None],
) -> None:
    """Load the sample where it is not loaded yet; raise SampleFailed where a part was refused."""
    file = _File(data_dir)
    if file.loaded:
        return
    made = plan(PARENT, DEFAULT_SEED, int(time.time()))
    key_files = {holder.prefix: _key_file(holder, data_dir) for holder in made.holders}
    found = examples(made)

    def keep(company: Company) -> None:
        assert company.api_key is not None
        file.keys[company.prefix] = company.api_key
        file.write(enterprises=_enterprises())

    def _enterprises() -> list[dict[str, str]]:
        return [
            {
                "prefix": str(holder.prefix),
                "name": holder.organisation,
                "api_key": file.keys[str(holder.prefix)],
                "key_file": key_files[holder.prefix],
            }
            for holder in made.holders
            if str(holder.prefix) in file.keys
        ]

    parent_key = await _parent_key(base_url, operator_key, file, recover)
    file.write(parent=str(PARENT), parent_api_key=parent_key)
    say(f"loading the sample: {len(made.records)} identifiers of {len(made.holders)} companies")
    told = 0

    def progress(stage: str, done: int, of: int) -> None:
        nonlocal told
        if stage == IDENTIFIERS and done - told >= of // 4:
            told = done
            say(f"  {done} of {of} identifiers")

    def connect(api_key: str, signer: Signer | None) -> AsyncClient:
        return AsyncClient(base_url, api_key=api_key, signer=signer, trust="fetch")

    known = {Prefix.parse(text): api_key for text, api_key in file.keys.items()}
    delivery = Delivery(connect, parent_key, known, keep, progress, recover, opened=True)
    report = await deliver(delivery, made)
    if not report.complete:
        first = report.refused[0]
        raise SampleFailed(
            f"{len(report.refused)} parts of the sample were refused; the first, {first.place}: "
            f"{first.code}: {first.reason}",
            fix="start with TIERLINK_SAMPLE=none, or with an empty TIERLINK_DATA_DIR",
        )
    file.write(
        enterprises=_enterprises(),
        examples={name: identifier.text for name, identifier in found.items()},
        loaded=True,
    )
    say(f"  {report.identifiers} identifiers, {report.assertions} assertions of links")


def _key_file(holder: Holder, data_dir: Path) -> str:
    """Write a holder's signing key; empty for one whose key the registry hosts."""
    if holder.signer is None:
        return ""
    assert isinstance(holder.signer, PrivateKey)  # made from the seed
    folder = data_dir / "keys"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"{holder.prefix}.pem"
    if not path.exists():
        keyfile.save(path, holder.signer)
    return str(path.resolve())


async def _parent_key(base_url: str, operator_key: str, file: _File, recover: Recover) -> str:
    known = file.document.get("parent_api_key")
    if isinstance(known, str):
        return known
    async with AsyncClient(base_url, api_key=operator_key) as client:
        try:
            await client.prefix(PARENT)
        except PrefixNotFound:
            view = await client.allocate(PARENT, HOLDER, idempotency_key="sample-parent")
            assert view.api_key is not None
            return view.api_key
    recovered = await recover(PARENT)
    if recovered is None:
        raise SampleFailed(f"{PARENT} is somebody's already", fix="set TIERLINK_SAMPLE=none")
    return recovered
