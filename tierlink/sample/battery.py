"""The story of the sample: eighteen vans and everything their batteries are made of.

    lithium carbonate ┐
    iron phosphate    ┴ cathode material ┐
    graphite, copper foil, separator     ┼ cell lot ─ cell ┐
    electrolyte                          ┘                 ┼ module ┐
                                       supervision board   ┘        ┼ pack ─ van
                                                 management unit    ┘

One lot of each cathode material becomes one lot of cells, eight modules, two packs, two vans. All
links are stated by both ends but for a few, which are listed below; so are the lot in quarantine
and the delivery whose two ends do not agree on the amount.
"""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Mapping, Sequence
from decimal import Decimal

from schemas.identifier import Identifier, Prefix
from schemas.link import DOWNSTREAM, UPSTREAM, Quantity
from schemas.record import ACTIVE, ASSET, SUSPENDED
from tierlink.imports.plan import Plan

from . import pages, products
from .book import BOTH, Book
from .codes import CELL_TYPE, MODULE_TYPE, PACK_TYPE, traction_code, working_day
from .products import CELL, MASTER, MODULE, PACK, SLAVE, VEHICLE, Product

DEFAULT_SEED = 20260803

CELL_LOTS = 12
CELLS_PER_LOT = 128
CELLS_PER_MODULE = 16
MODULES = 82  # two of them in stock
MODULES_PER_LOT = 24
MODULES_PER_PACK = 4
PACKS = 20
VANS = 18  # two packs are in stock
SPARE_BOARDS = 6
SPARE_UNITS = 2

FIRST_DAY = dt.date(2026, 8, 3)
_CELLS_FROM, _MODULES_FROM, _PACKS_FROM, _VANS_FROM = 20, 34, 44, 52  # working days later
_CELL, _BOARD, _UNIT, _MODULE, _PACK, _VAN = 410_001, 22_001, 5_501, 31_001, 101, 700_001

# For each lot of cells, which lots of material went into it.
_LITHIUM = (0, 0, 1, 2, 2, 3, 4, 4, 5, 6, 6, 7)
_USED = {
    "AG350": (0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5),
    "CF6": (0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3),
    "SP9": (0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3),
    "EL5": (0, 0, 1, 1, 2, 2, 3, 4, 4, 5, 5, 6),
}
_TOPPED_UP = frozenset({1, 4, 7, 10})  # cathode lots that also took from the next raw lot

# What is out of the ordinary, on purpose.
QUARANTINED = 3  # electrolyte lot: went into cell lot 6 before the moisture was measured again
DISPUTED = 2  # cell lot: the cathode maker weighed more than the cell maker did
UNCONFIRMED_FOIL = 9  # cell lot: the foil maker has not confirmed its delivery
UNCONFIRMED_REPORT = 11  # cell lot: the cell maker has not linked the laboratory's report
UNCONFIRMED_BOARD = 5  # module: its maker has not confirmed the supervision board
UNCONFIRMED_VANS = frozenset({16, 17})  # vans: the pack maker has not confirmed the last two

EXAMPLES = ("pack", "vehicle", "material_batch", "suspended", "covered_serial")


def plan(parent: Prefix, seed: int, issued_at: int) -> Plan:
    """Make the sample under a parent prefix: the same seed and time give the same bytes."""
    story = _Story(Book(parent, seed, issued_at), random.Random(seed))  # noqa: S311  (no secrets)
    story.tell()
    return story.book.plan()


def examples(made: Plan) -> dict[str, Identifier]:
    """Return identifiers worth trying, by the names in EXAMPLES."""
    named = {record.identifier.suffix: record.identifier for record in made.records}
    held = next(record for record in made.records if record.status == SUSPENDED)
    cell_class = named[CELL.code]
    return {
        "pack": named[_pack_code(0)],
        "vehicle": named[_van_code(0)],
        "material_batch": next(
            identifier for suffix, identifier in named.items() if suffix.startswith("LC995-L")
        ),
        "suspended": held.identifier,
        "covered_serial": Identifier(cell_class.prefix, f"{CELL.code}-0900001"),
    }


def _pack_code(number: int) -> str:
    return f"{PACK.code}-2026-{_PACK + number:06d}"


def _van_code(number: int) -> str:
    return f"{VEHICLE.code}-{_VAN + number:06d}"


class _Story:
    """Writes the sample into a book, from the mine to the road."""

    def __init__(self, book: Book, chance: random.Random) -> None:
        self.book = book
        self._chance = chance
        self._classes: dict[str, Identifier] = {}

    def tell(self) -> None:
        self._catalogue()
        raw = {name: self._material(name, 8) for name in ("LC995", "FP30")}
        bought = {name: self._material(name, max(lots) + 1) for name, lots in _USED.items()}
        cathode = self._cathode(raw)
        cell_lots = self._cell_lots(cathode, bought)
        cells = self._cells(cell_lots)
        modules = self._modules(cells)
        packs = self._packs(modules)
        self._vans(packs)

    # what there is to buy

    def _catalogue(self) -> None:
        for product in (*products.PRODUCTS, *products.DOCUMENTS, products.FORMATION):
            self._classes[product.code] = self.book.product(product)
        for product in products.PRODUCTS:
            for code, (value, unit) in product.consumes.items():
                self.book.link(
                    "CONTAINED_IN" if unit == "H87" else "CONSUMED_INTO",
                    self._classes[code],
                    self._classes[product.code],
                    Quantity(value, unit),
                    lifecycle="asSpecified",
                )
        for material in products.MATERIALS:
            self.book.document(products.DECLARATION, self._classes[material.code], FIRST_DAY)
        self.book.document(products.TRANSPORT, self._classes[CELL.code], FIRST_DAY)
        for line in (1, 2):
            self.book.thing(
                products.FORMATION,
                f"FORMATION-{line:02d}",
                ASSET,
                channels=512,
                calibrated_on=working_day(FIRST_DAY, line).isoformat(),
            )

    # materials

    def _material(self, code: str, count: int) -> list[Identifier]:
        product = next(item for item in products.MATERIALS if item.code == code)
        return [self._material_lot(product, number) for number in range(count)]

    def _material_lot(self, product: Product, number: int) -> Identifier:
        made_on = working_day(FIRST_DAY, number)
        facts: dict[str, object] = {"mass": f"{self._chance.randrange(400, 900)} kg"}
        held = product.code == "EL5" and number == QUARANTINED
        if held:
            facts["quarantine"] = {
                "since": working_day(FIRST_DAY, _MODULES_FROM).isoformat(),
                "measured": "moisture 38 ppm",
                "reason": {
                    "zh": "复检水分超标，暂停使用并追溯",  # noqa: RUF001  (Chinese has its own comma)
                    "en": "moisture out of specification on re-test; stopped and traced",
                },
            }
        lot = self.book.lot(product, made_on, 1, status=SUSPENDED if held else ACTIVE, **facts)
        self.book.document(products.ANALYSIS[product.maker], lot, made_on)
        return lot

    def _cathode(self, raw: Mapping[str, Sequence[Identifier]]) -> list[Identifier]:
        product = products.MATERIALS[-1]
        lots = []
        for number, source in enumerate(_LITHIUM):
            made_on = working_day(FIRST_DAY, 10 + number // 2)
            mass = Decimal(self._chance.randrange(170_000, 180_000)) / 1000
            lot = self.book.lot(product, made_on, number % 2 + 1, mass=f"{_plain(mass)} kg")
            self.book.document(products.ANALYSIS[product.maker], lot, made_on)
            parts = [(source, Decimal(1))]
            if number in _TOPPED_UP:
                parts = [(source, Decimal("0.85")), (source + 1, Decimal("0.15"))]
            for code, (per_kilogram, unit) in product.consumes.items():
                for index, share in parts:
                    amount = Quantity(_plain(mass * Decimal(per_kilogram) * share), unit)
                    self.book.link("CONSUMED_INTO", raw[code][index], lot, amount)
            lots.append(lot)
        return lots

    # cells

    def _cell_lots(
        self, cathode: Sequence[Identifier], bought: Mapping[str, Sequence[Identifier]]
    ) -> list[Identifier]:
        lots = []
        for number in range(CELL_LOTS):
            made_on = working_day(FIRST_DAY, _CELLS_FROM + number)
            lot = self.book.lot(
                CELL, made_on, 1, cells=CELLS_PER_LOT, formation=f"FORMATION-{number % 2 + 1:02d}"
            )
            for code in CELL.consumes:
                source = cathode[number] if code == "LFP26" else bought[code][_USED[code][number]]
                self._fill(code, source, lot, number)
            report = self.book.document(products.TEST_REPORT, lot, made_on)
            sides = (UPSTREAM,) if number == UNCONFIRMED_REPORT else BOTH
            self.book.link("ATTACHED_TO", report, lot, sides=sides)
            lots.append(lot)
        return lots

    def _fill(self, code: str, source: Identifier, lot: Identifier, number: int) -> None:
        per_cell, unit = CELL.consumes[code]
        loss = 1 + Decimal(self._chance.randrange(20, 50)) / 1000
        amount = Decimal(per_cell) * CELLS_PER_LOT * loss
        quantity = Quantity(_plain(amount), unit)
        if unit == "GRM":  # a lot is weighed in kilograms
            quantity = Quantity(_plain(amount / 1000), "KGM")
        shipped = None
        if code == "LFP26" and number == DISPUTED:
            shipped = Quantity(_plain(amount / 1000 + Decimal("4.5")), "KGM")
        sides = (DOWNSTREAM,) if code == "CF6" and number == UNCONFIRMED_FOIL else BOTH
        self.book.link("CONSUMED_INTO", source, lot, quantity, sides=sides, shipped=shipped)

    def _cells(self, lots: Sequence[Identifier]) -> list[Identifier]:
        cells = []
        for number in range(CELL_LOTS * CELLS_PER_LOT):
            lot = lots[number // CELLS_PER_LOT]
            made_on = working_day(FIRST_DAY, _CELLS_FROM + number // CELLS_PER_LOT)
            serial = _CELL + number
            cell = self.book.piece(
                CELL,
                f"{CELL.code}-{serial:07d}",
                made_on,
                lot,
                capacity=f"{self._chance.randrange(17_320, 17_560) / 100:.2f} Ah",
                internal_resistance=f"{self._chance.randrange(310, 360) / 1000:.3f} mΩ",
                traction_battery_code=traction_code("0JC", CELL_TYPE, made_on, serial),
            )
            self.book.link("INSTANCE_OF", lot, cell)
            cells.append(cell)
        return cells

    # modules, packs, vans

    def _modules(self, cells: Sequence[Identifier]) -> list[Identifier]:
        boards = self._electronics(SLAVE, _BOARD, MODULES + SPARE_BOARDS)
        lots = [
            self.book.lot(MODULE, working_day(FIRST_DAY, _MODULES_FROM + 2 * number), 1)
            for number in range(-(-MODULES // MODULES_PER_LOT))
        ]
        return [
            self._module(
                number,
                lots[number // MODULES_PER_LOT],
                cells[number * CELLS_PER_MODULE : (number + 1) * CELLS_PER_MODULE],
                boards[number],
            )
            for number in range(MODULES)
        ]

    def _electronics(self, product: Product, first: int, count: int) -> list[Identifier]:
        made_on = working_day(FIRST_DAY, _CELLS_FROM)
        lot = self.book.lot(product, made_on, 1, boards=count)
        return [
            self.book.piece(product, f"{product.code}-{first + number:06d}", made_on, lot)
            for number in range(count)
        ]

    def _module(
        self, number: int, lot: Identifier, cells: Sequence[Identifier], board: Identifier
    ) -> Identifier:
        made_on = working_day(FIRST_DAY, _MODULES_FROM + number // 10)
        serial = _MODULE + number
        module = self.book.piece(
            MODULE,
            f"{MODULE.code}-{serial:06d}",
            made_on,
            lot,
            insulation=f"{self._chance.randrange(600, 990)} MΩ",
            traction_battery_code=traction_code("0YQ", MODULE_TYPE, made_on, serial),
        )
        for cell in cells:
            self.book.link("CONTAINED_IN", cell, module, _ONE)
        sides = (UPSTREAM,) if number == UNCONFIRMED_BOARD else BOTH
        self.book.link("CONTAINED_IN", board, module, _ONE, sides=sides)
        self.book.document(products.END_OF_LINE, module, made_on)
        return module

    def _packs(self, modules: Sequence[Identifier]) -> list[Identifier]:
        units = self._electronics(MASTER, _UNIT, PACKS + SPARE_UNITS)
        return [
            self._pack(
                number,
                modules[number * MODULES_PER_PACK : (number + 1) * MODULES_PER_PACK],
                units[number],
            )
            for number in range(PACKS)
        ]

    def _pack(self, number: int, modules: Sequence[Identifier], unit: Identifier) -> Identifier:
        made_on = working_day(FIRST_DAY, _PACKS_FROM + number // 4)
        code = _pack_code(number)
        company = self.book.company(PACK.maker)
        pack = self.book.piece(
            PACK,
            code,
            made_on,
            targets=(*pages.of_passport(company, code), *pages.of_twin(company, code)),
            carbon_footprint=f"{self._chance.randrange(6_200, 6_900) / 100:.2f} kg CO2e/kWh",
            energy=f"{self._chance.randrange(3_540, 3_610) / 100:.2f} kWh",
            traction_battery_code=traction_code("0HY", PACK_TYPE, made_on, _PACK + number),
        )
        for part in (*modules, unit):
            self.book.link("CONTAINED_IN", part, pack, _ONE)
        self.book.document(products.PASSPORT, pack, made_on)
        return pack

    def _vans(self, packs: Sequence[Identifier]) -> None:
        company = self.book.company(VEHICLE.maker)
        for number in range(VANS):
            made_on = working_day(FIRST_DAY, _VANS_FROM + number // 4)
            code = _van_code(number)
            van = self.book.piece(
                VEHICLE,
                code,
                made_on,
                targets=pages.of_twin(company, code),
                colour=self._chance.choice(("云白 cloud white", "岩灰 slate grey")),
            )
            sides = (DOWNSTREAM,) if number in UNCONFIRMED_VANS else BOTH
            self.book.link("CONTAINED_IN", packs[number], van, _ONE, sides=sides)
            self.book.document(products.CONFORMITY, van, made_on)


_ONE = Quantity("1", "H87")


def _plain(amount: Decimal) -> str:
    """Write an amount with three decimals at most and no trailing zeros."""
    text = f"{amount:.3f}".rstrip("0")
    return text.rstrip(".")
