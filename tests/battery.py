"""A small world that shows every state of an identifier: three companies, one of them suspended."""

from tests.authority import Authority, rule, target

PACK = "88.118.8/PACK-2026-000042"
COVERED = "88.118.8/PACK-2026-000043"
SUSPENDED = "88.118.8/BATCH-Q"
RETIRED = "88.118.8/OLD"
MISSING = "88.118.8/NOBODY"
FOREIGN = "99.1/X"
UNDER_SUSPENDED = "88.118.66/X"


def battery() -> Authority:
    """Register it all."""
    world = Authority()
    world.allocate("88", name="National node")
    world.allocate("88.118", name="Secondary node")
    world.allocate("88.118.8", name="长江动力电池 Yangtze Power")
    world.allocate("88.118.7", name="Spark Cells")
    world.allocate("88.118.9", name="Northern Vehicles")
    world.allocate("88.118.66", name="Gone")
    world.register(
        "88.118.8/PACK",
        "class",
        attributes={"title": {"zh": "动力电池包", "en": "Battery pack"}, "energy": "60 kWh"},
        targets=(
            target("gs1:pip", "https://pack.example/zh", hreflang="zh", title="产品页面"),
            target("gs1:pip", "https://pack.example/en", hreflang="en", title="Product page"),
            target("manual", "https://pack.example/manual.pdf", media_type="application/pdf"),
        ),
        rule=rule(
            "PACK-{year:digits:4}-{serial:digits:6}",
            ("item", "https://mes.example/{year}/{serial}"),
        ),
    )
    world.register("88.118.8/LOT-7", "batch", parent="88.118.8/PACK")
    world.register(
        PACK,
        parent="88.118.8/LOT-7",
        attributes={"serial": "000042", "mass": {"value": "412", "unit": "KGM"}},
        targets=(
            target("manual", "https://pack.example/own-manual.pdf"),
            target("telemetry", "mqtts://live.example/000042"),
        ),
    )
    world.register(
        SUSPENDED,
        "batch",
        status="suspended",
        targets=(target("manual", "https://pack.example/q"),),
    )
    world.register(RETIRED)
    world.retire(RETIRED)
    for prefix in ("88.118.7/CELL-1", "88.118.9/CAR-1", "88.118.66/X"):
        world.register(prefix)
    for side in ("upstream", "downstream"):
        world.link("88.118.7/CELL-1", PACK, side, quantity=("96", "H87"))
    world.link(PACK, "88.118.9/CAR-1", "upstream")
    world.suspend("88.118.66")
    return world
