"""The rows of relation aspects: which aspects have them, in which lists, whom a row names.

Read in one place, so that the links which are imported and the bill of material whose integrity is
checked are the same rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from schemas.link import DOWNSTREAM, UPSTREAM

from .twins import Aspect, array, mapping, read_uuid, step

_RELATION = re.compile(r"SingleLevel(Bom|Usage)(AsSpecified|AsPlanned|AsBuilt|AsMaintained)")
_FAR_ID = ("catenaXId", "childCatenaXId", "parentCatenaXId", "globalAssetId")


@dataclass(frozen=True, slots=True)
class Relation:
    """What an aspect relates: DOWNSTREAM speaks of children, UPSTREAM of parents.

    `lifecycle` is empty where each row states its own.
    """

    side: str
    lists: tuple[str, ...]
    lifecycle: str = ""


def relation(aspect: Aspect) -> Relation | None:
    """Return what an aspect relates, None where it has no rows."""
    found = _RELATION.fullmatch(aspect.name)
    if found is not None and found[1] == "Bom":
        return Relation(DOWNSTREAM, ("childItems",), found[2])
    if found is not None:
        return Relation(UPSTREAM, ("parentItems", "parentParts"), found[2])
    if aspect.name == "AssemblyPartRelationship":
        return Relation(DOWNSTREAM, ("childParts",))
    return None


def listed(
    payload: Mapping[str, object], where: str, names: tuple[str, ...]
) -> Iterator[tuple[Mapping[str, object], str]]:
    """Yield the rows of an aspect's lists and their places; a list may be absent."""
    groups = [(payload, where)]
    # One version of the usage aspect groups its rows by customer; others list customers as text.
    customers = step(where, "customers")
    for index, customer in enumerate(array(payload.get("customers", []), customers)):
        if isinstance(customer, Mapping):
            groups.append((customer, f"{customers}[{index}]"))
    for group, at in groups:
        for name in names:
            for index, item in enumerate(array(group.get(name, []), step(at, name))):
                place = f"{step(at, name)}[{index}]"
                yield mapping(item, place), place


def far_uuid(item: Mapping[str, object], where: str) -> str:
    """Return the twin that a row names, bare; raise BadInput where it names none."""
    name = next((name for name in _FAR_ID if name in item), _FAR_ID[0])
    return read_uuid(item.get(name), step(where, name))
