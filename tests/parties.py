"""Signed things made from fixed keys: a root, an industry (88), and two companies below it.

88.100 makes gears, 88.101 makes the steel they are made of. Everything is the same bytes in every
run, for a key is the seed SHA-256(name) and times are constants.
"""

from schemas import canonical
from schemas.answer import compose, parse_parts
from schemas.chain import Trust, trust_document
from schemas.delegation import (
    DELEGATE_USE,
    RECORD_USE,
    ROTATE_USE,
    DelegatedKey,
    Delegation,
)
from schemas.errors import VerifyError
from schemas.identifier import Identifier, Prefix
from schemas.keys import PrivateKey, sha256
from schemas.link import Assertion, Link, Quantity
from schemas.record import Record
from schemas.rule import Rule, TargetTemplate
from schemas.target import Target

ISSUED = 1_795_000_000
NOW = ISSUED + 1_000


def key(name):
    """The Ed25519 key of a name."""
    return PrivateKey.from_seed(sha256(name.encode()))


ROOT, INDUSTRY, GEAR, STEEL, STRANGER = (
    key(name) for name in ("root", "industry", "gear", "steel", "stranger")
)


def prefix(text):
    return Prefix.parse(text)


def identifier(text):
    return Identifier.parse(text)


def held(signer, *uses, valid_from=None, valid_until=None):
    """A key in a delegation; without uses it may do what a company's key may."""
    return DelegatedKey(
        signer.public,
        frozenset(uses or (RECORD_USE, DELEGATE_USE, ROTATE_USE)),
        valid_from,
        valid_until,
    )


def root(**members):
    members = {"keys": (held(ROOT, ROTATE_USE, DELEGATE_USE),), "issued_at": ISSUED} | members
    return Delegation(Prefix(()), None, members.pop("sequence", 1), **members)


def delegation(subject, parent, signer, **members):
    """A delegation of `subject` by `parent`; `signer` is the key it is given to."""
    members = {"keys": (held(signer),), "issued_at": ISSUED} | members
    return Delegation(prefix(subject), prefix(parent), members.pop("sequence", 1), **members)


ROOT_TOKEN = root().sign(ROOT)
INDUSTRY_TOKEN = delegation("88", ".", INDUSTRY).sign(ROOT)
GEAR_TOKEN = delegation("88.100", "88", GEAR, organisation={"name": "Gear"}).sign(INDUSTRY)
STEEL_TOKEN = delegation("88.101", "88", STEEL, organisation={"name": "Steel"}).sign(INDUSTRY)
DELEGATIONS = (INDUSTRY_TOKEN, GEAR_TOKEN, STEEL_TOKEN)


def trust(*delegations, roots=(ROOT_TOKEN,)):
    """What a verifier holds: by default the root alone."""
    return Trust.parse(canonical.encode(trust_document(roots, delegations)))


def record(text, kind="item", **members):
    return Record(identifier(text), kind, members.pop("issued_at", ISSUED), **members)


def assertion(side, upstream, downstream, **members):
    """What one side says of a link, by default CONTAINED_IN asBuilt."""
    link = Link(
        members.pop("type", "CONTAINED_IN"),
        identifier(upstream),
        identifier(downstream),
        members.pop("lifecycle", "asBuilt"),
        members.pop("occurrence", ""),
    )
    return Assertion(link, side, members.pop("issued_at", ISSUED), **members)


# The golden answer: a gear with a class above it, made of steel as both companies say.

GEAR_CLASS = record(
    "88.100/GEAR",
    "class",
    targets=(
        Target("manual", "https://gear.example/manual.pdf", "application/pdf", "手册", "zh-Hans"),
        Target("gs1:pip", "https://gear.example/GEAR"),
    ),
    rule=Rule(
        "GEAR-{year:digits:4}-{serial:digits:6}",
        (TargetTemplate("gs1:pip", "https://gear.example/{year}/{serial}{?identifier}"),),
    ),
)
GEAR_ITEM = record(
    "88.100/GEAR-2026-000001",
    parent=identifier("88.100/GEAR"),
    targets=(Target("gs1:pip", "https://gear.example/2026/1", "text/html"),),
    attributes={"teeth": 24, "hardened": True, "material": "20CrMnTi 渗碳钢"},
    valid_until=ISSUED + 1_000_000,
)
MADE_OF = ("88.101/STEEL-0091", "88.100/GEAR-2026-000001")
GEAR_SAYS = assertion("downstream", *MADE_OF, quantity=Quantity("0.90", "KGM"))
STEEL_SAYS = assertion("upstream", *MADE_OF, quantity=Quantity("0.9", "KGM"))


def parts(about, records, assertions=()):
    """Verify parts under the three delegations, as a resolver does."""
    chains = trust(*DELEGATIONS)

    def check(envelope, speaker, at, kind):
        chains.chain(speaker).check_speaker(envelope, speaker, at, kind)

    return parse_parts(identifier(about), records, assertions, check)


def answer(about, records, assertions=(), chain=DELEGATIONS):
    """The JSON of a resolve answer with its proof; records nearest first, all as tokens."""
    return compose(parts(about, records, assertions)) | {
        "envelope": records[0],
        "proof": {
            "chain": list(chain),
            "records": list(records[1:]),
            "links": list(assertions),
        },
    }


def golden_answer():
    return answer(
        GEAR_ITEM.identifier.text,
        (GEAR_ITEM.sign(GEAR), GEAR_CLASS.sign(GEAR)),
        (GEAR_SAYS.sign(GEAR), STEEL_SAYS.sign(STEEL)),
    )


def refusal(verify, *arguments, **options):
    """The verdict code that a call refuses with, None where it accepts; all else escapes."""
    try:
        verify(*arguments, **options)
    except VerifyError as err:
        return err.code
    return None


def small_answer():
    """A golden answer without anything that could be flipped and still be true."""
    shaft = record(
        "88.100/SHAFT-7",
        targets=(Target("gs1:pip", "https://gear.example/shaft/7"),),
        attributes={"steel": "42CrMo4"},
    )
    says = assertion("upstream", "88.100/SHAFT-7", "88.101/MILL-3")
    return answer("88.100/SHAFT-7", (shaft.sign(GEAR),), (says.sign(GEAR),), DELEGATIONS[:2])
