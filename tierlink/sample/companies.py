"""The companies of the sample, from mine to road, and the platforms their data lives on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Company:
    """One company: the label of its prefix, its names, its domain; hosted: the registry signs."""

    key: str
    label: str
    zh: str
    en: str
    domain: str
    hosted: bool = False

    @property
    def name(self) -> str:
        """Both names, as registered."""
        return f"{self.zh} {self.en}"


COMPANIES = (
    Company(
        "minerals",
        "101",
        "岚泽锂盐科技有限公司",
        "Lanze Lithium Salts Co., Ltd.",
        "lanze-lithium.example",
    ),
    Company(
        "materials",
        "102",
        "沅汇新材料有限公司",
        "Yuanhui Advanced Materials Co., Ltd.",
        "yuanhui-materials.example",
    ),
    Company(
        "electrolyte",
        "103",
        "涵溪电解液有限公司",
        "Hanxi Electrolyte Co., Ltd.",
        "hanxi-electrolyte.example",
    ),
    Company(
        "cathode",
        "104",
        "硕衡正极材料有限公司",
        "Shuoheng Cathode Materials Co., Ltd.",
        "shuoheng-cathode.example",
        hosted=True,
    ),
    Company(
        "cell",
        "105",
        "霁川电芯制造有限公司",
        "Jichuan Cell Manufacturing Co., Ltd.",
        "jichuan-cell.example",
    ),
    Company(
        "electronics",
        "106",
        "恪微电子有限公司",
        "Kewei Electronics Co., Ltd.",
        "kewei-electronics.example",
        hosted=True,
    ),
    Company(
        "module",
        "107",
        "榆桥电池模组有限公司",
        "Yuqiao Battery Modules Co., Ltd.",
        "yuqiao-module.example",
    ),
    Company(
        "pack",
        "108",
        "瀚屿动力系统有限公司",
        "Hanyu Power Systems Co., Ltd.",
        "hanyu-power.example",
    ),
    Company(
        "vehicle",
        "109",
        "曜途商用车有限公司",
        "Yaotu Commercial Vehicles Co., Ltd.",
        "yaotu-vehicles.example",
    ),
    Company(
        "laboratory",
        "110",
        "谨度检测技术有限公司",
        "Jindu Testing Technology Co., Ltd.",
        "jindu-testing.example",
        hosted=True,
    ),
)
