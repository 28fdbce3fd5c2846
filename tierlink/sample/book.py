"""The book that the sample is written into: records and assertions, in the order of writing."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

from schemas.claims import without_empty
from schemas.identifier import Identifier, Prefix
from schemas.keys import PrivateKey, sha256
from schemas.link import DOWNSTREAM, UPSTREAM, Assertion, Link, Quantity
from schemas.record import ACTIVE, BATCH, CLASS, DOCUMENT, ITEM, Record
from schemas.rule import Rule
from schemas.target import Target
from tierlink.imports.plan import Holder, Plan

from . import pages
from .codes import lot_code
from .companies import COMPANIES, Company
from .products import Product

BOTH = (UPSTREAM, DOWNSTREAM)


class Book:
    """Collects a plan. Every identifier is written once, a parent before its children."""

    def __init__(self, parent: Prefix, seed: int, issued_at: int) -> None:
        self._issued_at = issued_at
        self._companies = {company.key: company for company in COMPANIES}
        self._holders = {
            company.key: Holder(
                Prefix((*parent.labels, company.label)),
                company.name,
                None if company.hosted else _signer(seed, company),
            )
            for company in COMPANIES
        }
        self._records: list[Record] = []
        self._assertions: list[Assertion] = []

    def plan(self) -> Plan:
        """Close the book."""
        return Plan(tuple(self._holders.values()), tuple(self._records), tuple(self._assertions))

    # records

    def identifier(self, maker: str, suffix: str) -> Identifier:
        """Name a thing of a company."""
        return Identifier(self._holders[maker].prefix, suffix)

    def product(self, product: Product, **facts: object) -> Identifier:
        """Write the class record of a product or of a kind of document."""
        company = self._companies[product.maker]
        return self._write(
            product,
            product.code,
            CLASS,
            pages.of_product(company, product),
            {"standards": list(product.standards), **product.facts, **facts},
            rule=pages.of_serials(company, product),
        )

    def lot(
        self,
        product: Product,
        made_on: dt.date,
        number: int,
        *,
        status: str = ACTIVE,
        **facts: object,
    ) -> Identifier:
        """Write a production lot of a product; one that is suspended says why."""
        company = self._companies[product.maker]
        lot = lot_code(product.code, made_on, number)
        held = pages.of_quarantine(company, lot) if status != ACTIVE else ()
        return self._write(
            product,
            lot,
            BATCH,
            (*pages.of_lot(company, lot), *held),
            {"made_on": made_on.isoformat(), **facts},
            parent=self.identifier(product.maker, product.code),
            status=status,
        )

    def piece(
        self,
        product: Product,
        code: str,
        made_on: dt.date,
        parent: Identifier | None = None,
        targets: tuple[Target, ...] = (),
        **facts: object,
    ) -> Identifier:
        """Write one serial of a product, in a lot or directly in its class."""
        company = self._companies[product.maker]
        return self._write(
            product,
            code,
            ITEM,
            (*pages.of_piece(company, code), *targets),
            {"made_on": made_on.isoformat(), **facts},
            parent=parent or self.identifier(product.maker, product.code),
        )

    def document(self, product: Product, about: Identifier, dated: dt.date) -> Identifier:
        """Write a document about something."""
        code = f"{product.code}-{about.suffix}"
        return self._write(
            product,
            code,
            DOCUMENT,
            pages.of_document(self._companies[product.maker], product, code),
            {"about": about.text, "dated": dated.isoformat(), "standards": list(product.standards)},
            parent=self.identifier(product.maker, product.code),
        )

    def thing(self, product: Product, code: str, kind: str, **facts: object) -> Identifier:
        """Write something that is no lot, piece or document: a machine."""
        parent = self.identifier(product.maker, product.code)
        return self._write(product, code, kind, (), facts, parent=parent)

    def company(self, maker: str) -> Company:
        """Return a company by its key."""
        return self._companies[maker]

    def _write(
        self,
        product: Product,
        suffix: str,
        kind: str,
        targets: tuple[Target, ...],
        facts: Mapping[str, object],
        *,
        parent: Identifier | None = None,
        status: str = ACTIVE,
        rule: Rule | None = None,
    ) -> Identifier:
        identifier = self.identifier(product.maker, suffix)
        attributes = {"name": {"zh": product.zh, "en": product.en}, **without_empty(facts)}
        self._records.append(
            Record(
                identifier,
                kind,
                self._issued_at,
                targets=targets,
                attributes=attributes,
                parent=parent,
                status=status,
                rule=rule,
            )
        )
        return identifier

    # links

    def link(
        self,
        kind: str,
        upstream: Identifier,
        downstream: Identifier,
        quantity: Quantity | None = None,
        *,
        sides: tuple[str, ...] = BOTH,
        shipped: Quantity | None = None,
        lifecycle: str = "asBuilt",
    ) -> None:
        """Write what the ends of a link state; `shipped` is the supplier's own figure, if other."""
        link = Link(kind, upstream, downstream, lifecycle)
        figures = {UPSTREAM: shipped or quantity, DOWNSTREAM: quantity}
        self._assertions += [
            Assertion(link, side, self._issued_at, quantity=figures[side]) for side in sides
        ]


def _signer(seed: int, company: Company) -> PrivateKey:
    return PrivateKey.from_seed(sha256(f"tierlink sample {seed} {company.key}".encode()))
