"""Where the data of the sample lives: the targets of each kind of record."""

from __future__ import annotations

from schemas.rule import Rule, TargetTemplate
from schemas.target import Target

from .companies import Company
from .products import Product

PAGE = "gs1:pip"
PASSPORT_REL = "gs1:dpp"
CERTIFICATE = "gs1:certificationInfo"
DATA = "gs1:masterData"
EVENTS = "gs1:traceability"
RECALL = "gs1:recallStatus"
MANUAL = "gs1:instructions"
SHELL = "aas:shell"

_HTML, _PDF, _JSON = "text/html", "application/pdf", "application/json"
_EVENTS_TYPE = "application/ld+json"


def of_product(company: Company, product: Product) -> tuple[Target, ...]:
    """Return the pages and data of a product: what every lot and piece of it inherits."""
    site = f"https://www.{company.domain}"
    targets = [
        Target(PAGE, f"{site}/zh/products/{product.code}", _HTML, f"{product.zh}产品信息", "zh"),
        Target(PAGE, f"{site}/en/products/{product.code}", _HTML, product.en, "en"),
        Target(
            DATA,
            f"https://api.{company.domain}/v1/products/{product.code}",
            _JSON,
            "产品主数据 Master data",
        ),
    ]
    if product.serial:
        targets += [
            Target(
                MANUAL,
                f"{site}/zh/manuals/{product.code}.pdf",
                _PDF,
                f"{product.zh}使用与安全手册",
                "zh",
            ),
            Target(
                MANUAL, f"{site}/en/manuals/{product.code}.pdf", _PDF, "Handling and safety", "en"
            ),
        ]
    return tuple(targets)


def of_serials(company: Company, product: Product) -> Rule | None:
    """Return the rule by which a class answers for pieces that have no record of their own."""
    if not product.serial:
        return None
    year = "{year}/" if "{year:" in product.serial else ""
    return Rule(
        product.serial,
        (
            TargetTemplate(
                EVENTS,
                f"https://mes.{company.domain}/v1/{product.code}/{year}{{serial}}/events",
                _EVENTS_TYPE,
                "生产履历 Production history",
            ),
            TargetTemplate(
                "gs1:verificationService",
                f"https://www.{company.domain}/verify{{?identifier}}",
                _HTML,
                "防伪查验 Verification",
            ),
        ),
    )


def of_lot(company: Company, lot: str) -> tuple[Target, ...]:
    """Return the data of one production lot."""
    return (
        Target(
            EVENTS,
            f"https://mes.{company.domain}/v1/lots/{lot}/events",
            _EVENTS_TYPE,
            "批次履历 Lot history",
        ),
    )


def of_quarantine(company: Company, lot: str) -> tuple[Target, ...]:
    """Return where a lot's quarantine is explained."""
    return tuple(
        Target(
            RECALL, f"https://quality.{company.domain}/{language}/hold/{lot}", _HTML, text, language
        )
        for language, text in (("zh", "批次隔离通知"), ("en", "Quarantine notice"))
    )


def of_piece(company: Company, code: str) -> tuple[Target, ...]:
    """Return the data of one piece."""
    return (
        Target(
            EVENTS,
            f"https://mes.{company.domain}/v1/pieces/{code}/events",
            _EVENTS_TYPE,
            "生产履历 Production history",
        ),
    )


def of_twin(company: Company, code: str) -> tuple[Target, ...]:
    """Return the asset administration shell of one piece."""
    return (
        Target(
            SHELL,
            f"https://aas.{company.domain}/shell-descriptors/{code}",
            _JSON,
            "资产管理壳 Asset administration shell",
        ),
    )


def of_passport(company: Company, code: str) -> tuple[Target, ...]:
    """Return the digital product passport of one battery, in both languages."""
    return tuple(
        Target(
            PASSPORT_REL,
            f"https://passport.{company.domain}/{language}/{code}",
            _HTML,
            text,
            language,
        )
        for language, text in (("zh", "电池护照"), ("en", "Battery passport"))
    )


def of_document(company: Company, product: Product, code: str) -> tuple[Target, ...]:
    """Return the files of one document, in both languages."""
    return tuple(
        Target(
            CERTIFICATE,
            f"https://docs.{company.domain}/{language}/{code}.pdf",
            _PDF,
            text,
            language,
        )
        for language, text in (("zh", product.zh), ("en", product.en))
    )
