"""The words of the HTML pages, in English and Chinese."""

# ruff: noqa: RUF001  (Chinese is written with Chinese punctuation)

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

EN, ZH = "en", "zh"


@dataclass(frozen=True, slots=True)
class Labels:
    """The words of one language; tables fall back to the code itself."""

    lang: str
    service: str
    footer: str
    statuses: Mapping[str, str]
    kinds: Mapping[str, str]
    covered: str
    covered_by: str
    part_of: str
    suspended_title: str
    suspended_text: str
    recalled_title: str
    recalled_text: str
    recalled_more: str
    validity: Mapping[str, str]
    validity_text: str
    targets: str
    relations: Mapping[str, str]
    device: str
    attributes: str
    links: str
    upstream: str
    downstream: str
    no_links: str
    withheld: str
    more_links: str
    types: Mapping[str, str]
    lifecycles: Mapping[str, str]
    units: Mapping[str, str]
    states: Mapping[str, str]
    states_why: Mapping[str, str]
    verified: str
    verified_text: str
    signed_by: str
    numbers: Mapping[str, str]
    key: str
    issued_at: str
    valid_until: str
    no_end: str
    version: str
    scan: str
    machines: str
    machines_text: str
    trace_up: str
    trace_down: str
    yes: str
    no: str
    identifier: str
    tombstone: str
    tombstone_text: str
    headings: Mapping[str, str]
    leads: Mapping[str, str]
    welcome: str
    welcome_text: str
    resolve: str


ENGLISH = Labels(
    lang=EN,
    service="Identifier resolution",
    footer="Resolved and verified by tierlink",
    statuses={"active": "Active", "suspended": "Suspended", "retired": "Retired"},
    kinds={
        "class": "Product class",
        "batch": "Batch",
        "item": "Item",
        "document": "Document",
        "asset": "Asset",
    },
    covered="Covered by its class",
    covered_by="Answered by the class",
    part_of="Belongs to",
    suspended_title="This identifier is suspended",
    suspended_text="Its holder has put it on hold. Do not use or ship what it names "
    "before you have asked them.",
    recalled_title="Recalled",
    recalled_text="The holder recalls what this identifier names. Do not use, sell or ship it.",
    recalled_more="What to do",
    validity={"early": "Not valid yet", "late": "No longer valid"},
    validity_text="The holder signed this record for another period than today.",
    targets="Information and services",
    relations={
        "about": "About",
        "alternate": "Another form",
        "author": "Author",
        "certificate": "Certificate",
        "collection": "Collection",
        "describedby": "Description",
        "help": "Help",
        "item": "Item data",
        "license": "Licence",
        "manual": "Manual",
        "related": "Related",
        "service": "Service",
        "service-desc": "Service description",
        "service-doc": "Service manual",
        "support": "Support",
        "telemetry": "Live data",
        "gs1:certificationInfo": "Certificates",
        "gs1:defaultLink": "Start page",
        "gs1:dpp": "Digital product passport",
        "gs1:instructions": "Instructions",
        "gs1:pip": "Product information",
        "gs1:quickStartGuide": "Quick start guide",
        "gs1:recallStatus": "Recall status",
        "gs1:safetyInfo": "Safety information",
        "gs1:support": "Support",
        "gs1:sustainabilityInfo": "Sustainability",
        "gs1:traceability": "Traceability",
    },
    device="for programs",
    attributes="Details",
    links="Supply chain",
    upstream="Made of, supplied by",
    downstream="Used in, shipped to",
    no_links="Nobody has stated a link to or from this identifier.",
    withheld="more that the holder shows only to some",
    more_links="More links are at",
    types={
        "CONSUMED_INTO": "consumed into",
        "CONTAINED_IN": "contained in",
        "ATTACHED_TO": "attached to",
        "INSTANCE_OF": "instance of",
        "DERIVED_FROM": "derived from",
        "SAME_AS": "same as",
        "SHIPPED_AS": "shipped as",
    },
    lifecycles={
        "asSpecified": "as specified",
        "asPlanned": "as planned",
        "asBuilt": "as built",
        "asMaintained": "as maintained",
    },
    units={
        "KGM": "kg",
        "GRM": "g",
        "TNE": "t",
        "MTR": "m",
        "MTK": "m²",
        "MTQ": "m³",
        "LTR": "L",
        "H87": "pcs",
        "C62": "units",
    },
    states={
        "mutual": "Mutual",
        "proposed": "Proposed",
        "conflicting": "Conflicting",
        "withdrawn": "Withdrawn",
    },
    states_why={
        "mutual": "Both parties signed this link",
        "proposed": "Only one party has signed this link so far",
        "conflicting": "Both parties signed this link and disagree about the quantity",
        "withdrawn": "One of the parties took back what it had signed",
    },
    verified="Signature verified",
    verified_text="This resolver checked every signature up to the root",
    signed_by="Signed by",
    numbers={"uscc": "Unified social credit code", "lei": "Legal entity identifier"},
    key="Key",
    issued_at="Issued",
    valid_until="Valid until",
    no_end="No end stated",
    version="Version",
    scan="Scan to open this page elsewhere:",
    machines="For programs",
    machines_text="The JSON form carries every signature, so that you can check it offline: "
    "tierlink verify",
    trace_up="Trace upstream",
    trace_down="Trace downstream",
    yes="yes",
    no="no",
    identifier="Identifier",
    tombstone="The retirement is signed",
    tombstone_text="The holder signed the end of this identifier; it is never issued again",
    headings={
        "identifier_not_found": "Identifier not found",
        "identifier_invalid": "This is not an identifier",
        "prefix_not_found": "Prefix not found",
        "prefix_suspended": "Prefix suspended",
        "suspended": "Identifier suspended",
        "target_not_found": "No such target",
        "retired": "Identifier retired",
        "unavailable": "Temporarily unavailable",
        "query_invalid": "Invalid query",
        "not_acceptable": "No such representation",
    },
    leads={
        "identifier_not_found": "Nobody has registered this identifier, and no product class "
        "covers it. A code that you scanned from a product may be a forgery.",
        "prefix_not_found": "Nobody holds the namespace of this identifier here. A code that you "
        "scanned from a product may be a forgery.",
        "prefix_suspended": "The namespace of this identifier is suspended, and nothing under it "
        "resolves until it is resumed.",
        "suspended": "Its holder has put it on hold, so nobody is sent on to its targets.",
        "retired": "Its holder has retired this identifier for good. It is never issued again.",
        "unavailable": "What is known cannot be read at the moment. Please try again shortly.",
    },
    welcome="Resolve an identifier",
    welcome_text="Enter the full code as it stands on the product, with its prefix and the slash.",
    resolve="Resolve",
)

CHINESE = Labels(
    lang=ZH,
    service="工业互联网标识解析",
    footer="由 tierlink 解析并验证",
    statuses={"active": "有效", "suspended": "已暂停", "retired": "已注销"},
    kinds={
        "class": "产品类别",
        "batch": "批次",
        "item": "单品",
        "document": "文件",
        "asset": "资产",
    },
    covered="由所属类别解析",
    covered_by="应答的类别",
    part_of="隶属于",
    suspended_title="该标识已暂停",
    suspended_text="标识持有者已将其暂停。在向持有者确认之前，请勿使用或发运其所指对象。",
    recalled_title="召回",
    recalled_text="标识持有者已召回其所指对象，请勿使用、销售或发运。",
    recalled_more="处理办法",
    validity={"early": "尚未生效", "late": "已过有效期"},
    validity_text="持有者签署的有效期不包含当前时间。",
    targets="信息与服务",
    relations={
        "about": "相关介绍",
        "alternate": "其他形式",
        "author": "作者",
        "certificate": "证书",
        "collection": "所属集合",
        "describedby": "描述信息",
        "help": "帮助",
        "item": "单品数据",
        "license": "许可",
        "manual": "使用手册",
        "related": "相关",
        "service": "服务",
        "service-desc": "服务接口描述",
        "service-doc": "服务手册",
        "support": "技术支持",
        "telemetry": "实时数据",
        "gs1:certificationInfo": "认证信息",
        "gs1:defaultLink": "主页",
        "gs1:dpp": "数字产品护照",
        "gs1:instructions": "使用说明",
        "gs1:pip": "产品信息",
        "gs1:quickStartGuide": "快速入门",
        "gs1:recallStatus": "召回状态",
        "gs1:safetyInfo": "安全信息",
        "gs1:support": "技术支持",
        "gs1:sustainabilityInfo": "可持续性信息",
        "gs1:traceability": "追溯",
    },
    device="供程序使用",
    attributes="详细信息",
    links="供应链",
    upstream="上游：组成与来源",
    downstream="下游：用途与去向",
    no_links="尚无任何一方声明与该标识的关联。",
    withheld="项仅对部分对象披露",
    more_links="更多关联见",
    types={
        "CONSUMED_INTO": "投料",
        "CONTAINED_IN": "包含于",
        "ATTACHED_TO": "附属于",
        "INSTANCE_OF": "属于类别",
        "DERIVED_FROM": "衍生自",
        "SAME_AS": "等同于",
        "SHIPPED_AS": "发运为",
    },
    lifecycles={
        "asSpecified": "设计阶段",
        "asPlanned": "计划阶段",
        "asBuilt": "制造阶段",
        "asMaintained": "维护阶段",
    },
    units={
        "KGM": "千克",
        "GRM": "克",
        "TNE": "吨",
        "MTR": "米",
        "MTK": "平方米",
        "MTQ": "立方米",
        "LTR": "升",
        "H87": "件",
        "C62": "个",
    },
    states={
        "mutual": "双方确认",
        "proposed": "单方声明",
        "conflicting": "存在分歧",
        "withdrawn": "已撤回",
    },
    states_why={
        "mutual": "双方均已签署该关联",
        "proposed": "目前只有一方签署了该关联",
        "conflicting": "双方均已签署该关联，但数量不一致",
        "withdrawn": "其中一方已签署撤回声明",
    },
    verified="签名已验证",
    verified_text="本解析节点已逐级验证全部签名，直至根节点",
    signed_by="签署者",
    numbers={"uscc": "统一社会信用代码", "lei": "法人机构识别编码（LEI）"},
    key="密钥",
    issued_at="签发时间",
    valid_until="有效期至",
    no_end="未设期限",
    version="版本",
    scan="扫码在其他设备上打开：",
    machines="供程序使用",
    machines_text="JSON 形式包含全部签名，可离线验证：tierlink verify",
    trace_up="向上游追溯",
    trace_down="向下游追溯",
    yes="是",
    no="否",
    identifier="标识",
    tombstone="注销已签名",
    tombstone_text="持有者已签署注销声明，该标识不会再次分配",
    headings={
        "identifier_not_found": "未找到该标识",
        "identifier_invalid": "标识格式不正确",
        "prefix_not_found": "未找到该前缀",
        "prefix_suspended": "前缀已暂停",
        "suspended": "标识已暂停",
        "target_not_found": "没有该类目标",
        "retired": "标识已注销",
        "unavailable": "暂时无法解析",
        "query_invalid": "查询参数不正确",
        "not_acceptable": "没有该表示形式",
    },
    leads={
        "identifier_not_found": "该标识未被注册，也没有产品类别覆盖它。"
        "如果它来自产品上的标识码，请注意防伪。",
        "prefix_not_found": "此处没有任何机构持有该标识的前缀。"
        "如果它来自产品上的标识码，请注意防伪。",
        "prefix_suspended": "该标识的前缀已暂停，恢复之前其下的标识均不可解析。",
        "suspended": "标识持有者已将其暂停，暂不提供跳转。",
        "retired": "标识持有者已永久注销该标识，且不会再次分配。",
        "unavailable": "目前无法读取数据，请稍后再试。",
    },
    welcome="标识解析",
    welcome_text="请输入产品上的完整标识，包括前缀和斜杠。",
    resolve="解析",
)

BY_LANGUAGE: Mapping[str, Labels] = {EN: ENGLISH, ZH: CHINESE}
