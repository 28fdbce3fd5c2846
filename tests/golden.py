"""Writes tests/vectors: golden bytes for other implementations, from fixed keys and times.

    python -m tests.golden          writes the files anew

A test compares them with what this module makes, so a change of a format shows in the diff.
"""

import base64
import json
from dataclasses import replace
from pathlib import Path

from schemas import canonical, hop as hops, leaf, merkle, opening, signed
from schemas.batched import build
from schemas.chain import trust_document
from schemas.delegation import Revocation, parse_delegation
from schemas.disclosure import hide, hide_attribute, hide_target, reveal
from schemas.envelope import LINK, RECORD, Envelope, cosign, digest, parse
from schemas.grant import GRANT, Grant
from schemas.hop import HOP, PART, Hop, Seal
from schemas.identifier import Identifier, Prefix
from schemas.keys import PrivateKey, b64decode, b64encode, sha256
from schemas.leaf import What
from schemas.link import Quantity, link_state
from schemas.notice import NOTICE, Notice
from schemas.proof import judge
from schemas.rule import Rule
from schemas.target import Target
from schemas.verifiable_map import VerifiableMap, map_key, map_value, prefix_key, prefix_value
from tests import forgeries, logbook, parties
from tests.checkpoints import NOTE_KEYS, NOTES
from tests.parties import GEAR, INDUSTRY, ISSUED, MADE_OF, NOW, ROOT, STEEL
from tests.trees import Leaves

FOLDER = Path(__file__).parent / "vectors"
NEXT = parties.key("next")
LONGEST = 20_000  # characters of a note that is worth publishing


def spelled(document):
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"


def identifiers():
    accepted = [
        "88.118.8/ABC-0001",
        "88.101.0042/x",
        "88.118.8/电池 #1",
        "88.118.8/50%",
        "88.118.8/a/b:c",
        "88.118.8/caf\u00e9",
    ]
    refused = {
        "88.118.8": 8,
        "/x": 0,
        "88.118/": 7,
        "88..1/x": 3,
        "88.A/x": 3,
        "88.a--b/x": 4,
        "8\uff18/x": 1,
        "88/a\tb": 4,
        "88/a\u200bb": 4,
        "88/a\u00a0b": 4,
        "88/ a": 3,
        "88/cafe\u0301": 6,
    }
    return {
        "accepted": [{"text": text, "path": Identifier.parse(text).path} for text in accepted],
        "refused": [{"text": text, "position": at} for text, at in refused.items()],
        "covers": [
            {"above": above, "below": below, "covers": covers}
            for above, below, covers in [
                ("88", "88.100", True),
                ("88.100", "88.100", True),
                (".", "88", True),
                ("88.100", "88.1001", False),
                ("88.100", "88", False),
                ("88.101.0042", "88.101.42", False),
            ]
        ],
    }


def keys():
    seeds = {name: sha256(name.encode()) for name in ("root", "industry", "gear", "steel")}
    listed = [
        {"name": name, "seed": seed.hex(), **_public(PrivateKey.from_seed(seed).public)}
        for name, seed in seeds.items()
    ]
    odd = [
        bytes(32),
        b"\x01" + bytes(31),
        b"\xec" + b"\xff" * 30 + b"\x7f",
        b"\xee" + b"\xff" * 30 + b"\x7f",
        bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
        bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa"),
    ]
    refused = [{"kty": "OKP", "crv": "Ed25519", "x": str(b64encode(raw))} for raw in odd]
    refused += [
        dict(GEAR.public.jwk) | {"alg": "Ed25519"},
        dict(forgeries.CHIP.public.jwk) | {"y": forgeries.CHIP.public.jwk["x"]},
    ]
    return {
        "keys": [*listed, {"name": "chip", **_public(forgeries.CHIP.public)}],
        "refused": refused,
    }


def _public(key):
    return {"alg": key.alg, "kid": key.kid, "jwk": dict(key.jwk)}


def envelopes():
    return {
        "keys": [dict(key.jwk) for key in forgeries.KEYS.values()],
        "typ": RECORD,
        "accepted": [
            _envelope(parse(token, RECORD)) for token in (forgeries.GOOD, forgeries.GOOD_ES256)
        ],
        "refused": [
            {"name": name, "token": token, "code": code}
            for name, (token, code) in forgeries.ROWS.items()
        ],
    }


def _envelope(found: Envelope):
    return {"token": found.token, "digest": found.digest, "claims": found.claims}


def records():
    item = parties.GEAR_ITEM
    second = item.next(digest(item.sign(GEAR)), ISSUED + 60)
    gone = second.tombstone(digest(second.sign(GEAR)), ISSUED + 120)
    versions = (parties.GEAR_CLASS, item, second, gone)
    return [_envelope(parse(record.sign(GEAR), RECORD)) for record in versions]


def rules():
    rows = [
        ("PACK-{y:digits:4}-{n:digits:6}", "PACK-2026-000042"),
        ("PACK-{y:digits:4}-{n:digits:6}", "PACK-2026-42"),
        ("{a:digits:1-3}5", "1235"),
        ("{a:digits:1-3}5", "125"),
        ("{a:digits:1-3}{b:digits:1}", "1234"),
        ("{a:digits:1-3}{b:digits:1}", "123"),
        ("{a:hex:1-9}{b:upper:1-9}", "12AB"),
        ("{n:any:1-9}", "电池 #1"),
        ("{n:any:1-9}", "a/b"),
        ("{{{n:digits:1}}}", "{1}"),
    ]
    covered = parties.identifier("88.100/GEAR-2026-000777")
    rule = parties.GEAR_CLASS.rule
    expanded = rule.expand(covered, rule.match(covered.suffix))
    return {
        "matches": [
            {"pattern": pattern, "suffix": suffix, "fields": Rule(pattern, ()).match(suffix)}
            for pattern, suffix in rows
        ],
        "expansions": [
            {"identifier": covered.text, "template": target.template, "href": href}
            for target, href in expanded
        ],
        "refused": ["", "abc", "{n}", "{N:digits:1}", "{n:digits:3-2}", "{suffix:digits:1}", "a}"],
    }


def links():
    says, says_too = parties.GEAR_SAYS, parties.STEEL_SAYS
    differing = parties.assertion("upstream", *MADE_OF, quantity=Quantity("1", "KGM"))
    withdrawn = says.withdrawal(digest(says.sign(GEAR)), ISSUED + 60)
    return {
        "keys": [
            {"members": link.claims(), "key": link.key}
            for link in (
                says.link,
                parties.assertion("upstream", *MADE_OF, occurrence="slot 7").link,
                parties.assertion("upstream", *MADE_OF, lifecycle="asPlanned").link,
            )
        ],
        "assertions": [
            _envelope(parse(token, LINK))
            for token in (
                says.sign(GEAR),
                says_too.sign(STEEL),
                withdrawn.sign(GEAR),
            )
        ],
        "states": [
            {"assertions": [item.claims() for item in said], "state": link_state(said)}
            for said in ([says], [says, says_too], [says, differing], [withdrawn, says_too])
        ],
    }


def chains():
    """Delegations root-most first, the prefix they must reach, and the verdict on it at a time."""

    def row(name, delegations, code=None, *, prefix="88.100", at=ISSUED, root=parties.ROOT_TOKEN):
        return {
            "name": name,
            "root": root,
            "delegations": list(delegations),
            "prefix": prefix,
            "at": at,
            "code": code,
        }

    industry, gear = parties.INDUSTRY_TOKEN, parties.GEAR_TOKEN

    def above(**members):
        return parties.delegation("88", ".", INDUSTRY, **members).sign(ROOT)

    def below(subject="88.100", signer=INDUSTRY, **members):
        return parties.delegation(subject, "88", GEAR, **members).sign(signer)

    other = parties.prefix("88.101")
    record_key = parties.held(INDUSTRY, "record")
    two = above(thresholds={"delegate": 2}, keys=(parties.held(INDUSTRY), parties.held(STEEL)))
    both = cosign(gear, STEEL)
    base = below(next_keys=(NEXT.public.kid,))
    rotated = parties.delegation(
        "88.100",
        "88",
        NEXT,
        sequence=2,
        prev=digest(base),
        keys=(parties.held(NEXT), parties.held(GEAR, "record", valid_until=NOW)),
    )
    widened = replace(rotated, depth=9)
    return [
        row("good", (industry, gear)),
        row("root-signed-by-another", (industry, gear), "E_ROOT", root=parties.root().sign(GEAR)),
        row("middle-missing", (gear,), "E_CHAIN"),
        row("swapped", (gear, industry), "E_CHAIN"),
        row("ends-elsewhere", (industry, gear), "E_CHAIN", prefix="88.101"),
        row("not-below", (industry, below("881")), "E_SCOPE", prefix="881"),
        row(
            "text-begins-alike",
            (above(resources=(parties.prefix("88.100"),)), below("88.1001")),
            "E_SCOPE",
            prefix="88.1001",
        ),
        row("resources-too-wide", (industry, below(resources=(other,))), "E_SCOPE"),
        row("excepted", (above(exceptions=(parties.prefix("88.100"),)), gear), "E_SCOPE"),
        row("too-deep", (above(depth=0), gear), "E_SCOPE"),
        row("by-a-record-key", (above(keys=(record_key,)), gear), "E_CHAIN"),
        row("by-itself", (industry, below(signer=GEAR)), "E_CHAIN"),
        row("threshold-of-two", (two, gear), "E_CHAIN"),
        row("threshold-met", (two, both)),
        row("one-key-twice", (two, _doubled(gear)), "E_CHAIN"),
        row("expired", (industry, below(valid_until=ISSUED)), "E_TIME"),
        row("not-yet", (industry, below(valid_from=ISSUED)), "E_TIME", at=ISSUED - 1),
        row("rotated", (industry, base, rotated.sign(GEAR, NEXT))),
        row("rotated-by-nobody-new", (industry, base, rotated.sign(GEAR)), "E_CHAIN"),
        row("rotated-not-as-committed", (industry, below(), rotated.sign(GEAR, NEXT)), "E_CHAIN"),
        row("rotated-and-widened", (industry, base, widened.sign(GEAR, NEXT)), "E_SCOPE"),
    ]


def _doubled(token):
    """An envelope that one key signed twice, as no signer makes it."""
    head, _, signature = token.split(".")
    return f"{token}~{head}..{signature}"


def answers():
    golden = parties.golden_answer()
    covered = parties.answer("88.100/GEAR-2026-000777", (parties.GEAR_CLASS.sign(GEAR),))
    later = ISSUED + 1_000_000
    return {
        "trust": {"v": 1, "roots": [parties.ROOT_TOKEN]},
        "answers": [
            {"name": name, "now": now, "code": code, "expired": expired, "document": document}
            for name, now, code, expired, document in [
                ("golden", NOW, None, [], golden),
                ("golden-expired", later, None, ["E_TIME"], golden),
                ("covered-by-a-class", NOW, None, [], covered),
                ("small", NOW, None, [], parties.small_answer()),
                ("version-true", NOW, "E_ANSWER", [], golden | {"version": True}),
                ("links-hidden", NOW, "E_ANSWER", [], golden | {"links": {}}),
                ("parent-left-out", NOW, "E_ID", [], _without_parent()),
                ("another-identifier", NOW, "E_ID", [], golden | {"identifier": "88.100/GEAR"}),
            ]
        ],
    }


def _without_parent():
    return parties.answer(parties.GEAR_ITEM.identifier.text, (parties.GEAR_ITEM.sign(GEAR),))


def trees():
    """A log of eight entries, the numbers 0 to 7 in decimal; hashes in base64."""
    tree = Leaves(8)
    return {
        "entries": [str(number) for number in range(8)],
        "leaves": _base64(tree.hashes),
        "roots": _base64(merkle.root_of(size, tree) for size in range(9)),
        "inclusion": [
            {
                "index": index,
                "size": size,
                "proof": _base64(merkle.inclusion_proof(index, size, tree)),
            }
            for index, size in [(0, 1), (0, 8), (4, 7), (6, 7), (2, 5)]
        ],
        "consistency": [
            {"old": old, "new": new, "proof": _base64(merkle.consistency_proof(old, new, tree))}
            for old, new in [(0, 8), (1, 8), (3, 7), (4, 7), (6, 8), (8, 8)]
        ],
    }


def _base64(hashes):
    return [base64.b64encode(item).decode() for item in hashes]


def maps():
    """A map of eight identifiers 88.1/1 … 88.1/8, each at the version of its number; all in hex."""
    salt = b"salt"
    texts = [f"88.1/{number}" for number in range(1, 9)]
    entries = [
        (map_key(salt, text.encode()), map_value(number, sha256(text.encode())))
        for number, text in enumerate(texts, 1)
    ]
    tree = VerifiableMap(entries)
    proofs = []
    slot = next(
        text
        for text in map("88.1/{}".format, range(9, 1000))
        if tree.prove(map_key(salt, text.encode())).terminal is None
    )
    for text in (texts[0], texts[6], "88.1/0", slot):
        key = map_key(salt, text.encode())
        proof = tree.prove(key)
        proofs.append(
            {
                "identifier": text,
                "key": key.hex(),
                "value": next((value.hex() for known, value in entries if known == key), None),
                "depth": proof.depth,
                "bitmap": proof.bitmap,
                "siblings": [item.hex() for item in proof.siblings],
                "terminal": proof.terminal and [part.hex() for part in proof.terminal],
            }
        )
    return {"salt": salt.decode(), "root": tree.root.hex(), "proofs": proofs}


def checkpoints():
    return {
        "log": NOTE_KEYS[0].vkey,
        "witnesses": [key.vkey for key in NOTE_KEYS[1:]],
        "notes": [
            {"name": name, "note": note, "code": code}
            for name, (note, code) in NOTES.items()
            if len(note) < LONGEST
        ],
    }


def leaves():
    """Leaves of the log with what they are made of, epochs, and what no leaf may look like."""
    statement = digest(parties.GEAR_TOKEN)
    blind = b64encode(bytes(range(16)))

    def row(what, subject, version, said):
        about = leaf.commitment(logbook.salt("88.100"), subject)
        entry = leaf.Leaf(what, parties.prefix("88.100"), about, version, said).entry
        return {
            "what": what,
            "prefix": "88.100",
            "salt": b64encode(logbook.salt("88.100")),
            "subject": subject,
            "version": version,
            "digest": said,
            "entry": entry.decode(),
            "hash": _base64([merkle.leaf_hash(entry)])[0],
        }

    good = row(What.RECORD, "88.100/GEAR-2026-000001", 7, digest(parties.GEAR_ITEM.sign(GEAR)))
    epoch = leaf.Epoch(3, 70_001, sha256(b"identifiers"), sha256(b"prefixes"))
    return {
        "leaves": [
            good,
            row(What.LINK, f"{parties.GEAR_SAYS.link.key}/downstream/{blind}", 1, statement),
            row(What.GRANT, f"grant/to-steel/{blind}", 1, statement),
            row(What.NOTICE, "notice/2026-07", 1, statement),
            row(What.DELEGATION, "88.100", 1, statement),
            row(What.STATUS, "88.100", 1, leaf.status_digest(statement, suspended=True)),
            row(What.STATUS, "88.100", 1, statement),
            row(What.REVOCATION, GEAR.public.kid, 40, statement),
        ],
        "epochs": [
            {
                "number": epoch.number,
                "size": epoch.size,
                "identifiers": b64encode(epoch.identifiers),
                "prefixes": b64encode(epoch.prefixes),
                "entry": epoch.entry.decode(),
                "hash": _base64([merkle.leaf_hash(epoch.entry)])[0],
            }
        ],
        "refused": [
            good["entry"].replace(old, new)
            for old, new in [
                ("leaf/v1", "leaf/v2"),
                ("record", "recall"),
                ("88.100", "88.A"),
                ("\n7\n", "\n07\n"),
                ("\n7\n", "\n7\n\n"),
                ("\n", "\r\n"),
            ]
        ]
        + [good["entry"][:-1], good["entry"] + "x"],
    }


def prefixes():
    """A map of prefixes, of 88, 88.100 (suspended) and 88.101, and how their values are made."""
    rows = []
    for index, token in enumerate(parties.DELEGATIONS):
        envelope, delegation = parse_delegation(token)
        prefix = str(delegation.subject)
        said = (
            leaf.status_digest(envelope.digest, suspended=True)
            if prefix == "88.100"
            else envelope.digest
        )
        about = leaf.commitment(logbook.salt(prefix), prefix)
        rows.append(
            {
                "prefix": prefix,
                "salt": b64encode(logbook.salt(prefix)),
                "commitment": about,
                "delegation": envelope.digest,
                "digest": said,
                "index": index,
                "key": prefix_key(prefix).hex(),
                "value": prefix_value(index, b64decode(about), b64decode(said)).hex(),
            }
        )
    tree = VerifiableMap([(bytes.fromhex(r["key"]), bytes.fromhex(r["value"])) for r in rows])
    return {"root": tree.root.hex(), "prefixes": rows}


def statements():
    """The two other forms of a signed statement: several signatures, and one for many records."""
    item = parties.GEAR_ITEM
    several = cosign(item.sign(GEAR), forgeries.CHIP)
    claims = [parties.record(f"88.100/B-{number}").claims() for number in range(5)]
    statement, tokens = build(
        claims, RECORD, GEAR, issued_at=ISSUED, prefix=parties.prefix("88.100")
    )
    batch = list(tokens)
    payload, _index, path, _ = batch[2].split("~")
    head, _, signature = several.partition("~")[2].split(".")
    refused = {
        "second-signature-spoiled": (several[:-4] + "AAAA", "E_SIG"),
        "one-key-twice": (_doubled(item.sign(GEAR)), "E_CHAIN"),
        "payload-repeated": (
            f"{item.sign(GEAR)}~{head}.{several.split('.')[1]}.{signature}",
            "E_FORMAT",
        ),
        "nine-signatures": (item.sign(GEAR) + f"~{head}..{signature}" * 8, "E_LIMIT"),
        "of-another-index": (f"{payload}~1~{path}~{statement}", "E_INCLUSION"),
        "index-beyond": (f"{payload}~5~{path}~{statement}", "E_INCLUSION"),
        "index-with-a-zero": (f"{payload}~02~{path}~{statement}", "E_FORMAT"),
        "path-cut": (f"{payload}~2~~{statement}", "E_INCLUSION"),
        "payload-of-another": (f"{batch[3].split('~')[0]}~2~{path}~{statement}", "E_INCLUSION"),
    }
    return {
        "keys": [dict(key.jwk) for key in forgeries.KEYS.values()],
        "typ": RECORD,
        "accepted": [
            {**_envelope(found), "kids": list(found.kids)}
            for found in (signed.parse(token, RECORD) for token in (several, *batch))
        ],
        "statement": statement,
        "refused": [
            {"name": name, "token": token, "code": code} for name, (token, code) in refused.items()
        ],
    }


def disclosures():
    """A record that hides two attributes and a target, what opens them, and what opens nothing."""
    salt = bytes(range(16))
    mass = hide_attribute("mass", {"value": "2.5", "unit": "KGM"}, salt)
    price = hide_attribute("price", "9", salt)
    manual = hide_target(Target("gs1:pip", "https://gear.example/manual"), salt)
    record = hide(replace(parties.GEAR_ITEM, attributes={"teeth": "41"}), [mass, price, manual])
    opened = reveal(record, [mass, manual])
    nine = price.value
    return {
        "envelope": record.sign(GEAR),
        "claims": record.claims(),
        "disclosures": [
            {"text": item.text, "digest": item.digest, "name": item.name, "value": item.value}
            for item in (mass, price, manual)
        ],
        "opened": {
            "disclosures": [mass.text, manual.text],
            "attributes": opened.attributes,
            "targets": [target.claims() for target in opened.targets],
            "withheld": 1,
        },
        "refused": [
            {"name": "twice", "disclosures": [price.text, price.text]},
            {"name": "other-value", "disclosures": [hide_attribute("price", "8", salt).text]},
            {"name": "other-name", "disclosures": [hide_attribute("cost", nine, salt).text]},
            {"name": "other-salt", "disclosures": [hide_attribute("price", "9", bytes(16)).text]},
        ],
    }


def proofs():
    """Bundles and a full answer, with the trust bundle, and the verdict at a time."""
    golden, rows = logbook.golden(), []
    bundle, nothing = golden.bundle(), golden.absent()
    serial = "88.100/GEAR-2026-000777"
    class_token = parties.GEAR_CLASS.sign(GEAR)
    suspended = logbook.Logbook()
    for token in logbook.CHAIN:
        suspended.delegate(token)
    suspended.record(logbook.SHAFT_TOKEN)
    suspended.suspend(parties.GEAR_TOKEN)
    suspended.publish(NOW - 1, NOW - 1)
    revoked = parties.delegation(
        "88.100", "88", GEAR, revoked=(Revocation(GEAR.public.kid, "compromised", 2),)
    ).sign(INDUSTRY)
    late = logbook.Logbook()
    for token in (parties.INDUSTRY_TOKEN, revoked):
        late.delegate(token)
    late.record(logbook.SHAFT_TOKEN)
    late.publish(NOW - 1, NOW - 1)
    shaft = (str(logbook.SHAFT.identifier), (logbook.SHAFT_TOKEN,))
    edit = logbook.edited
    for name, now, document in [
        ("golden", NOW, bundle),
        ("nothing-registered", NOW, nothing),
        (
            "covered-by-a-class",
            NOW,
            golden.book.bundle(serial, (class_token,), logbook.CHAIN),
        ),
        ("full-answer", NOW, golden.book.full(parties.golden_answer())),
        ("too-old-to-be-current", NOW + 1_000, bundle),
        ("before-it-was-seen", NOW - 1_000, bundle),
        ("suspended", NOW, suspended.bundle(*shaft, logbook.CHAIN)),
        ("revoked", NOW, late.bundle(*shaft, (parties.INDUSTRY_TOKEN, revoked))),
        ("another-index", NOW, edit(bundle, "proof.log.entries.0.index", 3)),
        ("another-epoch", NOW, edit(bundle, "proof.log.epoch.number", 3)),
        (
            "another-salt",
            NOW,
            edit(nothing, "proof.log.salt", b64encode(logbook.salt("another"))),
        ),
        (
            "one-witness",
            NOW,
            edit(bundle, "proof.log.checkpoint", logbook.cosigned(golden.book.checkpoint(), NOW)),
        ),
        (
            "absence-for-presence",
            NOW,
            edit(bundle, "proof.log.entries.0.map", nothing["proof"]["log"]["absent"]),
        ),
    ]:
        found = judge(canonical.encode(document), logbook.trust(), now)
        rows.append(
            {
                "name": name,
                "now": now,
                "state": found.state,
                "valid_at_issue": found.valid_at_issue,
                "current": found.current,
                "codes": [item.code for item in found.codes],
                "document": document,
            }
        )
    document = trust_document([parties.ROOT_TOKEN], (), logbook.POLICY)
    return {"trust": document, "documents": rows}


def grants():
    """A grant in two versions and its revocation, all that it may name, and what is no grant."""
    first = Grant(Prefix.parse("88.100"), "to-steel", ISSUED, Prefix.parse("88.101"), depth=2)
    second = replace(
        first,
        version=2,
        prev=digest(first.sign(GEAR)),
        issued_at=ISSUED + 60,
        root=Identifier.parse("88.100/GEAR-1"),
        direction="upstream",
        aspects=frozenset({"CONTAINED_IN", "CONSUMED_INTO", "asBuilt"}),
        purpose="recall",
        valid_from=ISSUED,
        valid_until=ISSUED + 86_400,
        show="blinded",
    )
    revoked = second.revocation(digest(second.sign(GEAR)), ISSUED + 120)
    anybody = Grant(Prefix.parse("88.100"), "to-all", ISSUED, depth=1)
    said = first.claims()
    return {
        "grants": [
            _envelope(parse(item.sign(GEAR), GRANT)) for item in (first, second, revoked, anybody)
        ],
        "refused": [
            said | changed
            for changed in (
                {"depth": 0},
                {"depth": 101},
                {"to": "88..101"},
                {"id": "to steel"},
                {"root": "88.101/STEEL-1"},
                {"aspects": ["BOLTED_TO"]},
                {"purpose": "Recall"},
                {"show": "none"},
                {"nbf": 2, "exp": 1},
                {"ver": 2},
                {"scope": "all"},
            )
        ],
    }


def notices():
    """A recall notice, a second version of it, and what lifts it."""
    first = Notice(
        Prefix.parse("88.100"), "2026-07", ISSUED, (Identifier.parse("88.100/GEAR-1"),), "cracks"
    )
    second = replace(
        first,
        version=2,
        prev=digest(first.sign(GEAR)),
        issued_at=ISSUED + 60,
        of=(*first.of, Identifier.parse("88.100/GEAR-2")),
        href="https://gear.example/2026-07",
    )
    lifted = second.lifted(digest(second.sign(GEAR)), ISSUED + 120, "the lot was checked")
    said = first.claims()
    return {
        "notices": [_envelope(parse(item.sign(GEAR), NOTICE)) for item in (first, second, lifted)],
        "refused": [
            said | changed
            for changed in ({"of": []}, {"of": ["88.101/S"]}, {"kind": "offer"}, {"state": "open"})
        ],
    }


def traces():
    """A question of one node to another and the sealed part that answers it; each fault alone."""
    here, there = "https://gear.example", "https://steel.example"
    request = {
        "entries": ["88.101/STEEL-1"],
        "delegations": [parties.INDUSTRY_TOKEN, parties.GEAR_TOKEN],
        "types": ["CONSUMED_INTO", "CONTAINED_IN"],
    }
    hop = Hop(
        trace="AAECAwQFBgcICQoLDA0ODw",
        issuer=Prefix.parse("88.100"),
        audience=there,
        ask=hops.asked(request),
        direction="upstream",
        depth=7,
        nodes=900,
        issued_at=NOW,
        deadline=1_000 * NOW + 1_500,
        subject=Prefix.parse("88.100"),
        purpose="recall",
    )
    part = {
        "trace": hop.trace,
        "node": there,
        "nodes": [
            {"identifier": "88.101/STEEL-1", "depth": 0, "kind": "batch", "status": "active"}
        ],
        "edges": [],
        "blinded": [
            {
                "near": "88.101/STEEL-1",
                "far": "b:AAECAwQFBgcICQoLDA0ODw",
                "type": "CONSUMED_INTO",
                "lifecycle": "asBuilt",
                "depth": 1,
            }
        ],
        "broken": [],
    }
    seal = Seal(hop.trace, Prefix.parse("88.101"), there, NOW, hops.digest_of(part))
    grant = Grant(Prefix.parse("88.101"), "to-gear", NOW, Prefix.parse("88.100")).sign(STEEL)
    key = opening.key_of(grant)
    walked = opening.Walked(hop.trace, hop.direction, hop.purpose, 1_000 * NOW + 2_000)
    mine = walked.opening(key)
    openings = opening.filled([mine], bytes(32))
    until = walked.until

    def asked(name, code=None, *, at=NOW, node=there, of=request, token=None, **members):
        signed_by = token or replace(hop, **members).sign(GEAR)
        return {
            "name": name,
            "token": signed_by,
            "request": of,
            "here": node,
            "now": at,
            "code": code,
        }

    def sealed(name, code=None, *, said=part, trace=hop.trace, token=None, **members):
        signed_by = token or replace(seal, **members).sign(STEEL)
        return {"name": name, "seal": signed_by, "part": said, "trace": trace, "code": code}

    return {
        "root": parties.ROOT_TOKEN,
        "chains": {
            "88.100": [parties.INDUSTRY_TOKEN, parties.GEAR_TOKEN],
            "88.101": [parties.INDUSTRY_TOKEN, parties.STEEL_TOKEN],
        },
        "hop": _envelope(parse(hop.sign(GEAR), HOP)),
        "hops": [
            asked("good"),
            asked("for nobody in particular", subject=None),
            asked("for another node", "E_HOP", node=here),
            asked("for another request", "E_HOP", of=request | {"entries": ["88.101/STEEL-2"]}),
            asked("of another key", "E_CHAIN", token=hop.sign(STEEL)),
            asked("too old", "E_TIME", at=NOW + 61),
            asked("deadline over", "E_TIME", deadline=1_000 * NOW),
            asked("no depth left", "E_HOP", depth=0),
            asked("no nodes left", "E_HOP", nodes=0),
            asked("with openings", openings=openings, until=until),
            asked("openings end before it", "E_TIME", openings=openings, until=until - 501),
            asked("openings without an end", "E_FORMAT", openings=openings),
            asked("openings are not in order", "E_FORMAT", openings=openings[::-1], until=until),
        ],
        "opening": {
            "grant": grant,
            "key": key.hex(),
            "trace": walked.trace,
            "direction": walked.direction,
            "purpose": walked.purpose,
            "until": until,
            "opening": mine,
            "nonce": bytes(range(12)).hex(),
            "content": '{"part":{}}',
            "box": opening.put(key, walked.trace, mine, b'{"part":{}}', bytes(range(12))),
        },
        "seal": _envelope(parse(seal.sign(STEEL), PART)),
        "parts": [
            sealed("good"),
            sealed("of another trace", "E_PART", trace="BBECAwQFBgcICQoLDA0ODw"),
            sealed("not what was sealed", "E_PART", said=part | {"blinded": []}),
            sealed("of another key", "E_CHAIN", token=seal.sign(GEAR)),
        ],
    }


FILES = {
    "identifiers.json": identifiers,
    "keys.json": keys,
    "envelopes.json": envelopes,
    "records.json": records,
    "rules.json": rules,
    "links.json": links,
    "chains.json": chains,
    "answers.json": answers,
    "merkle.json": trees,
    "map.json": maps,
    "checkpoints.json": checkpoints,
    "leaves.json": leaves,
    "prefixes.json": prefixes,
    "statements.json": statements,
    "disclosures.json": disclosures,
    "proofs.json": proofs,
    "grants.json": grants,
    "notices.json": notices,
    "traces.json": traces,
}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, make in FILES.items():
        (FOLDER / name).write_text(spelled(make()), encoding="utf-8")
