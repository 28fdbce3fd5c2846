"""What the companies of the sample make: one class record each, from raw material to vehicle.

`serial` and `lot` are the patterns of the suffixes under a class; a class with a `serial` pattern
answers for every serial of it, registered or not. `consumes` is the bill of material per piece,
with UNECE Rec 20 units (KGM kilogram, GRM gram, MTK square metre, H87 piece).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Product:
    """One product, or one kind of document or equipment."""

    code: str
    maker: str
    zh: str
    en: str
    standards: tuple[str, ...] = ()
    facts: Mapping[str, object] = field(default_factory=dict)
    serial: str = ""
    consumes: Mapping[str, tuple[str, str]] = field(default_factory=dict)


MATERIALS = (
    Product(
        "LC995",
        "minerals",
        "电池级碳酸锂",
        "Lithium carbonate, battery grade",
        ("YS/T 582-2023",),
        {"cas": "554-13-2", "hs_code": "283691", "purity": "99.5 %", "moisture_max": "0.25 %"},
    ),
    Product(
        "FP30",
        "minerals",
        "电池用磷酸铁",
        "Iron phosphate for batteries",
        ("HG/T 4701-2021",),
        {"cas": "10045-86-0", "hs_code": "284290", "iron_phosphorus_ratio": "0.968"},
    ),
    Product(
        "AG350",
        "materials",
        "人造石墨负极材料",
        "Artificial graphite anode material",
        ("GB/T 24533-2019",),
        {"capacity": "353 mAh/g", "tap_density": "1.05 g/cm3"},
    ),
    Product(
        "CF6",
        "materials",
        "6微米电解铜箔",
        "Electrolytic copper foil, 6 µm",
        ("SJ/T 11483-2014",),
        {"thickness": "6 µm", "tensile_strength": "340 MPa"},
    ),
    Product(
        "SP9",
        "materials",
        "9微米湿法隔膜",
        "Wet-process separator, 9 µm",
        ("GB/T 36363-2018",),
        {"thickness": "9 µm", "porosity": "42 %"},
    ),
    Product(
        "EL5",
        "electrolyte",
        "磷酸铁锂电池电解液",
        "Electrolyte for LFP cells",
        ("SJ/T 11723-2018",),
        {"conducting_salt": "LiPF6 1.1 mol/L", "moisture_max": "15 ppm"},
    ),
    Product(
        "LFP26",
        "cathode",
        "磷酸铁锂正极材料",
        "Lithium iron phosphate cathode material",
        ("YS/T 1027-2015",),
        {"capacity": "156 mAh/g", "compaction_density": "2.60 g/cm3"},
        consumes={"LC995": ("0.252", "KGM"), "FP30": ("0.962", "KGM")},  # per kilogram
    ),
)

CELL = Product(
    "LFP173",
    "cell",
    "173Ah方形磷酸铁锂电芯",
    "Prismatic LFP cell, 173 Ah",
    ("GB/T 34013-2017", "GB/T 34014-2017", "GB 38031-2025", "GB/T 31486-2024"),
    {"nominal_voltage": "3.2 V", "nominal_capacity": "173 Ah", "mass": "3.28 kg"},
    serial="LFP173-{serial:digits:7}",
    consumes={
        "LFP26": ("1218", "GRM"),
        "AG350": ("562", "GRM"),
        "CF6": ("266", "GRM"),
        "SP9": ("5.12", "MTK"),
        "EL5": ("541", "GRM"),
    },
)
SLAVE = Product(
    "CSC16",
    "electronics",
    "16串电池采集从板",
    "Cell supervision board, 16 cells",
    ("QC/T 897-2011", "GB/T 38661-2020"),
    {"channels": 16, "firmware": "3.4.1"},
    serial="CSC16-{serial:digits:6}",
)
MASTER = Product(
    "BMU4",
    "electronics",
    "电池管理系统主控板",
    "Battery management unit",
    ("QC/T 897-2011", "GB/T 38661-2020"),
    {"modules": 4, "firmware": "5.1.0", "interface": "CAN FD"},
    serial="BMU4-{serial:digits:6}",
)
MODULE = Product(
    "M16",
    "module",
    "1P16S电池模组",
    "Battery module 1P16S",
    ("GB/T 34013-2017", "GB/T 34014-2017"),
    {"nominal_voltage": "51.2 V", "nominal_energy": "8.86 kWh", "mass": "56.4 kg"},
    serial="M16-{serial:digits:6}",
    consumes={"LFP173": ("16", "H87"), "CSC16": ("1", "H87")},
)
PACK = Product(
    "PK205",
    "pack",
    "35kWh动力电池包",
    "Traction battery pack, 35 kWh",
    ("GB 38031-2025", "GB/T 34014-2017", "GB/T 31467-2023"),
    {"nominal_voltage": "204.8 V", "nominal_energy": "35.4 kWh", "mass": "268 kg"},
    serial="PK205-{year:digits:4}-{serial:digits:6}",
    consumes={"M16": ("4", "H87"), "BMU4": ("1", "H87")},
)
VEHICLE = Product(
    "E5V",
    "vehicle",
    "E5纯电动厢式货车",
    "E5 battery-electric van",
    ("GB/T 18384-2020", "GB 7258-2017"),
    {"gross_mass": "3495 kg", "range": "252 km"},
    serial="E5V-{serial:digits:6}",
    consumes={"PK205": ("1", "H87")},
)
PRODUCTS = (*MATERIALS, CELL, SLAVE, MASTER, MODULE, PACK, VEHICLE)

# Kinds of documents, and the one kind of equipment: classes without serials of their own.
ANALYSIS = {
    maker: Product(f"COA-{maker.upper()}", maker, "质量分析报告", "Certificate of analysis")
    for maker in ("minerals", "materials", "electrolyte", "cathode")
}
DECLARATION = Product("MDS", "pack", "材料声明", "Material declaration", ("GB/T 30512-2014",))
END_OF_LINE = Product("EOL", "module", "模组下线检测报告", "End-of-line test report")
PASSPORT = Product("DPP", "pack", "电池护照", "Battery passport", ("EU 2023/1542",))
CONFORMITY = Product("COC", "vehicle", "车辆一致性证书", "Certificate of conformity")
TEST_REPORT = Product(
    "TR", "laboratory", "电芯批次检测报告", "Cell lot test report", ("GB/T 31486-2024",)
)
TRANSPORT = Product(
    "UN383", "laboratory", "UN 38.3试验概要", "UN 38.3 test summary", ("UN 38.3 Rev.8",)
)
DOCUMENTS = (
    *ANALYSIS.values(),
    DECLARATION,
    END_OF_LINE,
    PASSPORT,
    CONFORMITY,
    TEST_REPORT,
    TRANSPORT,
)
FORMATION = Product("FORMATION", "cell", "化成分容设备", "Formation and grading equipment")
