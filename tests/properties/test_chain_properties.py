"""Trees of delegations at random: what is written by the rules validates, one breach never does.

A plan says how many levels there are below the root, how many keys each holder has, how many of
them must sign, how often root and holders rotate and whether a committed key comes forward. `grow`
writes it out; a breach is one thing done wrong while writing, everything after it done right.
"""

from dataclasses import dataclass, field, replace
from functools import cache

import pytest
from hypothesis import HealthCheck, assume, given, settings, strategies as st

from schemas.chain import Chain, anchor, index, validate
from schemas.delegation import DelegatedKey, Delegation, Revocation, parse_delegation, parse_root
from schemas.envelope import DELEGATION, RECORD, cosign, digest, parse, sign, verify
from schemas.identifier import Prefix
from tests.forgeries import CHIP, GOOD, GOOD_ES256, KEYS
from tests.parties import GEAR, ISSUED, STRANGER, delegation, key, record, refusal, trust

SPEAK = frozenset({"record", "delegate"})
ROTATE = frozenset({"rotate"})
named = cache(key)


@dataclass
class Level:
    """One holder: how many keys of each sort, how many must sign, whether a turn reveals one."""

    speakers: int
    needed: int
    rotators: int
    turners: int
    turns: list[bool]


@dataclass
class Grown:
    """What was written: root versions, delegations root-most first, and a record at the end."""

    roots: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    record: str = ""
    subject: Prefix | None = None

    def check(self):
        chain = validate(Chain((anchor(self.roots),)), self.tokens, self.subject)
        known = trust(roots=self.roots).chain(self.subject, index(self.tokens))
        assert known.delegations == chain.delegations
        chain.check_speaker(parse(self.record, RECORD), self.subject, ISSUED, "item")


@st.composite
def plans(draw):
    levels = []
    for _ in range(draw(st.integers(1, 3))):
        speakers, rotators = draw(st.integers(1, 3)), draw(st.integers(1, 3))
        levels.append(
            Level(
                speakers,
                draw(st.integers(1, speakers)),
                rotators,
                draw(st.integers(1, rotators)),
                draw(st.lists(st.booleans(), max_size=2)),
            )
        )
    return [Level(2, draw(st.integers(1, 2)), 2, draw(st.integers(1, 2)), levels[0].turns), *levels]


class Holder:
    """The signers of one level, and what its next delegation says."""

    def __init__(self, name, level):
        self.name, self.level = name, level
        self.speakers = [named(f"{name} speaks {n}") for n in range(level.speakers)]
        self.rotators = [named(f"{name} turns {n}") for n in range(level.rotators)]
        self.ended = []
        self.fresh = 0

    @property
    def committed(self):
        return named(f"{self.name} next {self.fresh}")

    def members(self):
        current = [
            *(DelegatedKey(item.public, SPEAK) for item in self.speakers),
            *(DelegatedKey(item.public, ROTATE) for item in self.rotators),
        ]
        return {
            "keys": (*current, *self.ended),
            "thresholds": {
                "delegate": self.level.needed,
                "record": self.level.needed,
                "rotate": self.level.turners,
            },
            "next_keys": (self.committed.public.kid,),
        }

    def turn(self, *, reveal):
        """Exchange a speaking key, and where it reveals a rotate key; return who must sign."""
        signers = self.rotators[: self.level.turners]
        old = self.speakers.pop(0)
        self.ended.append(DelegatedKey(old.public, SPEAK, None, ISSUED + 1))
        self.speakers.append(named(f"{self.name} speaks anew {len(self.ended)}"))
        if reveal:
            self.rotators = [*self.rotators[1:], self.committed]
            signers = [*signers, self.committed]
            self.fresh += 1
        return signers


def grow(plan, breach=None, at=0):
    """Write out a plan; `breach(kind, draft, signers, before)` is asked at one statement."""
    grown, written, above, chain = Grown(), 0, None, []

    def write(kind, draft, signers, before=None):
        nonlocal written
        if breach is not None and written == at:
            draft, signers = breach(kind, draft, list(signers), before)
        written += 1
        return draft.sign(*signers)

    for depth, level in enumerate(plan):
        holder = Holder(f"level {depth}", level)
        if depth == 0:
            draft = Delegation(Prefix(()), None, 1, ISSUED, **holder.members())
            token = write("root", draft, holder.rotators[: level.turners])
            run, read, turned = grown.roots, parse_root, "version"
        else:
            subject = Prefix(("88", *(str(n) for n in range(1, depth))))
            parent = subject.parent
            draft = Delegation(subject, parent, 1, ISSUED, **holder.members(), valid_until=2**40)
            token = write("delegation", draft, above.speakers[: above.level.needed], chain[-1])
            run, read, turned = grown.tokens, parse_delegation, "rotation"
            grown.subject = subject
        run.append(token)
        for reveal in level.turns:
            last = read(run[-1])[1]
            had = list(holder.rotators)
            signers = holder.turn(reveal=reveal)
            if depth == 0 and reveal:  # the new threshold counts too
                signers = distinct([*signers, *holder.rotators, *had[: level.turners]])
            draft = replace(
                last, sequence=last.sequence + 1, prev=digest(run[-1]), **holder.members()
            )
            run.append(write(turned, draft, signers, last))
        above = holder
        chain.append(read(run[-1])[1])
    grown.record = record(f"{grown.subject}/A").sign(above.speakers[0])
    for signer in above.speakers[1 : above.level.needed]:
        grown.record = cosign(grown.record, signer)
    return grown


def distinct(signers):
    return list({item.public.kid: item for item in signers}.values())


def statements(plan):
    return sum(1 + len(level.turns) for level in plan)


SOUND = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.filter_too_much]
)


@SOUND
@given(plans())
def test_what_is_written_by_the_rules_validates(plan):
    assume(statements(plan[1:]) <= 8)
    grow(plan).check()


# Breaches: each returns what is written and who signs, or asks for another plan


def by_a_stranger(_kind, draft, _signers, _before):
    return draft, [STRANGER]


def by_a_stranger_too(_kind, draft, signers, _before):
    return draft, [*signers, STRANGER]


def by_one_too_few(kind, draft, signers, _before):
    assume(len(signers) > 1 and kind != "version")  # where more sign than have to
    return draft, signers[:-1]


def by_itself(kind, draft, _signers, _before):
    assume(kind == "delegation")
    own = [item for item in NAMED if item.public.kid in {k.key.kid for k in draft.keys}]
    return draft, own[:3]


def of_its_parents_resources(kind, draft, signers, before):
    assume(kind == "delegation" and not before.subject.is_root)
    return replace(draft, resources=(before.subject,)), signers


def of_its_own_parent(kind, draft, signers, before):
    assume(kind == "delegation" and not before.subject.is_root)
    return replace(draft, subject=before.subject), signers


def of_a_foreign_prefix(kind, draft, signers, before):
    assume(kind == "delegation" and not before.subject.is_root)
    labels = (before.subject.labels[0] + "1", *draft.subject.labels[1:])
    return replace(draft, subject=Prefix(labels)), signers


def by_another_parent(kind, draft, signers, _before):
    assume(kind == "delegation")
    return replace(draft, parent=Prefix(("87",))), signers


def out_of_order(kind, draft, signers, _before):
    assume(kind in {"version", "rotation"})
    return replace(draft, sequence=draft.sequence + 1), signers


def after_something_else(kind, draft, signers, _before):
    assume(kind in {"version", "rotation"})
    return replace(draft, prev=digest("something else")), signers


def before_its_time(kind, draft, signers, _before):
    assume(kind in {"version", "rotation"})
    return replace(draft, issued_at=ISSUED - 1), signers


def for_longer(kind, draft, signers, _before):
    assume(kind == "rotation")
    return replace(draft, valid_until=None), signers


def with_a_rotate_key_of_nowhere(kind, draft, signers, _before):
    assume(kind in {"version", "rotation"})
    return replace(draft, keys=(*draft.keys, DelegatedKey(STRANGER.public, ROTATE))), [
        *signers,
        STRANGER,
    ]


def with_another_commitment(kind, draft, signers, before):
    assume(kind in {"version", "rotation"} and draft.next_keys == before.next_keys)
    return replace(draft, next_keys=(STRANGER.public.kid,)), signers


def by_a_speaker(kind, draft, _signers, before):
    assume(kind == "rotation")
    speaking = {k.key.kid for k in before.keys if k.uses == SPEAK and k.valid_until is None}
    return draft, [item for item in NAMED if item.public.kid in speaking][:3]


def a_spoiled_resource(kind, draft, signers, _before):
    assume(kind == "rotation")
    return replace(draft, resources=(draft.subject.parent,)), signers


NAMED = [
    named(f"level {depth} {what} {n}")
    for depth in range(4)
    for what in ("speaks", "turns", "speaks anew")
    for n in range(4)
]
BREACHES = [
    by_a_stranger,
    by_a_stranger_too,
    by_one_too_few,
    by_itself,
    of_its_parents_resources,
    of_its_own_parent,
    of_a_foreign_prefix,
    by_another_parent,
    out_of_order,
    after_something_else,
    before_its_time,
    for_longer,
    with_a_rotate_key_of_nowhere,
    with_another_commitment,
    by_a_speaker,
    a_spoiled_resource,
]


@pytest.mark.parametrize("breach", BREACHES)
@settings(SOUND, max_examples=25)
@given(st.data())
def test_one_breach_never_validates(breach, data):
    plan = data.draw(plans())
    assume(statements(plan[1:]) <= 8)
    at = data.draw(st.integers(0, statements(plan) - 1))
    grown = grow(plan, breach, at)
    assert refusal(grown.check) is not None


@SOUND
@given(plans(), st.data())
def test_nothing_may_be_taken_out_or_put_elsewhere(plan, data):
    assume(statements(plan[1:]) <= 8)
    grown = grow(plan)
    tokens = list(grown.tokens)
    gone = data.draw(st.integers(0, len(tokens) - 1))
    moved = data.draw(st.integers(0, len(tokens)))
    token = tokens.pop(gone)
    chain = Chain((anchor(grown.roots),))

    def speak(chosen):
        found = validate(chain, chosen, grown.subject)
        found.check_speaker(parse(grown.record, RECORD), grown.subject, ISSUED, "item")

    # The last rotation of a prefix may be missing: the one before was a valid one, too. That it is
    # shown to nobody any more is what the sequence and the log are for.
    subjects = [parse_delegation(item)[1].subject for item in grown.tokens]
    if subjects[gone] in subjects[gone + 1 :] or subjects.count(subjects[gone]) == 1:
        assert refusal(speak, tokens) is not None
    tokens.insert(moved, token)
    if tokens != grown.tokens:
        assert refusal(speak, tokens) is not None
    assert refusal(speak, [*grown.tokens, token]) is not None


@SOUND
@given(plans(), st.data())
def test_no_root_version_may_be_missing_inside(plan, data):
    grown = grow(plan)
    assume(len(grown.roots) > 2)
    gone = data.draw(st.integers(1, len(grown.roots) - 2))
    assert refusal(anchor, [*grown.roots[:gone], *grown.roots[gone + 1 :]]) == "E_ROOT"


@SOUND
@given(plans(), st.integers(0, 30), st.integers(0, 30))
def test_a_revoked_speaker_counts_by_its_place_in_the_log(plan, since, place):
    assume(statements(plan[1:]) <= 8)
    grown = grow(plan)
    envelope = parse(grown.record, RECORD)
    chain = validate(Chain((anchor(grown.roots),)), grown.tokens, grown.subject)
    revoked = (Revocation(envelope.kid, "compromised", since),)
    chain = Chain((*chain.delegations[:-1], replace(chain.holder, revoked=revoked)))
    code = refusal(chain.check_speaker, envelope, grown.subject, ISSUED, "item", index=place)
    assert code == (None if place < since else "E_REVOKED")


# Parsing

BOTH, TURNED = cosign(GOOD, CHIP), cosign(GOOD_ES256, GEAR)
GENUINE = {GOOD, GOOD_ES256, BOTH, TURNED}
PARTS = sorted({part for token in GENUINE for part in token.replace("~", ".").split(".")})


@given(st.lists(st.sampled_from([*PARTS, ".", "..", "~", "A", "=", "\n"]), max_size=14))
def test_only_the_genuine_is_put_together_from_genuine_parts(pieces):
    token = "".join(pieces)
    if refusal(verify, token, RECORD, KEYS) is None:
        assert token in GENUINE


@given(
    st.sampled_from(sorted(GENUINE)), st.integers(0, 2000), st.integers(0, 40), st.text(max_size=40)
)
def test_nothing_may_be_cut_out_or_put_in(token, at, length, text):
    mutant = token[:at] + text + token[at + length :]
    if refusal(verify, mutant, RECORD, KEYS) is None:
        assert mutant in GENUINE


@given(st.text() | st.binary() | st.none() | st.integers())
def test_nonsense_is_refused_and_nothing_else_is_raised(token):
    assert refusal(parse, token, RECORD) is not None


WRITTEN = delegation("88.100", "88", GEAR, sequence=2, prev="A" * 43).claims()
MEMBERS = [*WRITTEN, "thr", "next", "require", "revoked", "reset", "limits", "res", "except", "org"]
WORDS = st.sampled_from(
    ["delegate", "record", "kid", "reason", "since", "compromised", "A" * 43, "Ed25519", "88", ""]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2**53 - 1) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(MEMBERS), VALUES, min_size=1, max_size=3))
def test_whatever_stands_in_a_delegation_is_read_or_refused(members):
    """What is read says what was written, so that nothing is passed over."""
    claims = WRITTEN | members
    token = sign(DELEGATION, claims, GEAR)
    if refusal(parse_delegation, token) is None:
        read = parse_delegation(token)[1].claims()
        assert {name: value for name, value in claims.items() if value not in ({}, [])} == read
