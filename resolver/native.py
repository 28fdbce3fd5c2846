"""The native front end: GET, HEAD and OPTIONS of /{prefix}/{suffix}.

    N1  the method: GET or HEAD, OPTIONS tells which; else 405
    N2  the identifier, from the raw path, percent-decoded once                    400
    N3  the query: format, linkType, proof, recursive, purpose, each at most once  400
    N4  the representation: `format`, else Accept (RFC 9110 §12.5.1)               406
    N5  a finished answer that is fresh, of this process or of the second cache: sent as it is
    N6  look up, verify, render, keep, send; 304 where the entity tag matches
        `recursive=false`: where another node would be asked, the answer is which one
    N7  the source is away: what was fresh when it went, marked stale; else 503
    N8  whoever gives an API key is shown the links that are his to see, for the `purpose` that he
        names, and what records hide from others. It is read for him alone: such an answer is
        neither kept here nor anywhere on its way, and makes none that is kept any other

Both ways to a kept answer, the edge's and this one, send the same bytes: an answer is kept under
the raw request target and its form, and depends on nothing else of the request.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Final
from urllib.parse import parse_qsl

from schemas.errors import (
    BadIdentifier,
    BadQuery,
    MethodNotAllowed,
    NoLog,
    NotAcceptable,
    TierlinkError,
    Unavailable,
)
from schemas.evidence import LogProof
from schemas.identifier import Identifier
from schemas.viewer import PURPOSE, Viewer

from . import tags
from .answers import Answer, Answers, target_of
from .asgi import Receive, Scope, Send, finish, start
from .edge import Told
from .labels import EN, ZH
from .lookup import CROWDED, Lookup
from .metrics import Metrics
from .prefetch import Prefetch
from .prover import Prover
from .reading import ANSWERED, Reading
from .render import Form, Rendered, Renderer, Wanted
from .shared import Shared

Headers = list[tuple[bytes, bytes]]

_log = logging.getLogger(__name__)

ALLOW: Final = b"GET, HEAD, OPTIONS"
HTML: Final = "html"
FORMATS: Final = {"json": Form.JSON, "jose": Form.JOSE, "linkset": Form.LINKSET, HTML: None}
CHAIN, FULL, NONE = "chain", "full", "none"
PROOFS: Final = (CHAIN, FULL, NONE)
RECURSIVE: Final = {"true": True, "false": False}
MAX_PARAMETERS = 16

# In the order in which they are preferred where Accept leaves the choice open.
_OFFERED: Final = (
    ("application/json", Form.JSON),
    ("application/linkset+json", Form.LINKSET),
    ("application/jose", Form.JOSE),
    ("text/html", None),
)
# Of front ends beside this one: with them, Accept decides differently from path to path.
_OTHER_FORMS: Final = re.compile(rb"ndjson|ld\+json", re.IGNORECASE)
_BY_PATH: Final = {int(form): Wanted(form) for form in Form}
_PRIVATE: Final = (
    (b"cache-control", b"private, no-store"),
    (b"vary", b"accept, accept-language, authorization"),
)
_PREFLIGHT: Final = [
    (b"allow", ALLOW),
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", ALLOW),
    (b"access-control-allow-headers", b"accept, accept-language, authorization, if-none-match"),
    (b"access-control-max-age", b"86400"),
]


def negotiate(accept: bytes | None) -> int | None:
    """Return the variant that an Accept header asks for, None where it alone does not decide.

    For the edge: a page is in the language of another header, and 406 is the application's.
    """
    if accept is not None and _OTHER_FORMS.search(accept):
        return None
    try:
        form = _accepted(accept)
    except NotAcceptable:
        return None
    return None if form is None else int(form)


def _accepted(accept: bytes | None) -> Form | None:
    """Return the form that fits Accept best; None is HTML, whose language is still open.

    RFC 9110 §12.5.1: the most specific range that fits a type gives its quality.
    """
    if accept is None or not accept.strip():
        return Form.JSON
    qualities = dict(_ranges(accept))
    best, form = 0.0, Form.JSON
    found: Form | None = form
    for media_type, offered in _OFFERED:
        quality = _quality(qualities, media_type)
        if quality > best:
            best, found = quality, offered
    if best == 0:
        raise NotAcceptable(
            "this resolver has none of the media types that Accept names",
            value=accept.decode("latin-1"),
            fix=f"accept {', '.join(name for name, _ in _OFFERED)}",
        )
    return found


def _quality(qualities: dict[str, float], media_type: str) -> float:
    for fitting in (media_type, f"{media_type.partition('/')[0]}/*", "*/*"):
        if fitting in qualities:
            return qualities[fitting]
    return 0.0


def _ranges(header: bytes) -> Iterator[tuple[str, float]]:
    """Read `range;q=…, …`; an entry whose quality is malformed is passed over."""
    for entry in header.decode("latin-1").split(","):
        name, *parameters = (part.strip() for part in entry.split(";"))
        quality = 1.0
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip().lower() == "q":
                quality = _q(value.strip())
        if name and quality >= 0:
            yield name.lower(), quality


def _q(text: str) -> float:
    whole, _, fraction = text.partition(".")
    if whole not in {"0", "1"} or not (fraction == "" or fraction.isdigit()):
        return -1.0
    return min(float(text), 1.0)


def languages_of(header: bytes | None) -> tuple[str, ...]:
    """Return the language ranges of Accept-Language, the most preferred first."""
    if not header:
        return ()
    ranges = [(name, quality) for name, quality in _ranges(header) if quality > 0]
    return tuple(name for name, _ in sorted(ranges, key=lambda pair: -pair[1]))


def _page_form(languages: Iterable[str]) -> Form:
    for language in languages:
        if language.partition("-")[0] == ZH:
            return Form.HTML_ZH
        if language.partition("-")[0] == EN:
            return Form.HTML_EN
    return Form.HTML_EN


@dataclass(frozen=True, slots=True)
class Request:
    """What this front end reads of a request."""

    method: str
    path: bytes
    query: bytes
    accept: bytes | None
    languages: tuple[str, ...]
    if_none_match: bytes | None
    authorization: bytes | None = None

    @classmethod
    def read(cls, scope: Scope) -> Request:
        """Read an ASGI scope; of a header that is there twice, the values are joined."""
        found: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            if name in {b"accept", b"accept-language", b"authorization", b"if-none-match"}:
                found[name] = found[name] + b", " + value if name in found else value
        return cls(
            scope["method"],
            scope["raw_path"],
            scope["query_string"],
            found.get(b"accept"),
            languages_of(found.get(b"accept-language")),
            found.get(b"if-none-match"),
            found.get(b"authorization"),
        )

    def form(self, named: str | None = None) -> Form:
        """N4: return the representation asked for; raise NotAcceptable."""
        form = _accepted(self.accept) if named is None else FORMATS[named]
        return _page_form(self.languages) if form is None else form

    def problem_form(self) -> Form:
        """Return the form in which to tell this client of an error, whatever it accepts."""
        try:
            form = self.form()
        except NotAcceptable:
            return Form.JSON
        return form if form.page else Form.JSON


def read_query(query: bytes, known: Iterable[str]) -> dict[str, str]:
    """N3: read a query string strictly; raise BadQuery, which names what is amiss."""
    allowed = tuple(known)
    fix = f"the parameters are {', '.join(allowed)}, each at most once"
    try:
        pairs = parse_qsl(
            query.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(query),
            errors="strict",
            max_num_fields=MAX_PARAMETERS,
        )
    except ValueError:
        shown = query.decode("latin-1")
        raise BadQuery("the query is not name=value pairs", value=shown, fix=fix) from None
    found: dict[str, str] = {}
    for name, value in pairs:
        if name not in allowed:
            raise BadQuery(f"unknown query parameter {name}"[:200], value=name, fix=fix)
        if name in found:
            raise BadQuery(f"query parameter {name} is there twice", value=name, fix=fix)
        found[name] = value
    return found


def one_of(name: str, value: str | None, choices: Iterable[str]) -> str | None:
    """Return a parameter that is one of a few words, or absent; raise BadQuery."""
    if value is None or value in choices:
        return value
    raise BadQuery(f"{name} is not one of {', '.join(choices)}", value=value)


def _purpose(value: str | None, *, named: bool) -> str:
    """N8: return the word that says what a caller asks for; raise BadQuery."""
    if value is None:
        return ""
    if not named:
        # What everybody is shown is kept by its target: as many purposes would be as many copies.
        raise BadQuery(
            "purpose is for whoever gives an API key",
            value=value,
            fix="send Authorization: Bearer …, or ask /v1/links and /v1/trace",
        )
    if not PURPOSE.fullmatch(value):
        raise BadQuery("purpose is not one word of lower-case letters and digits", value=value)
    return value


class Native:
    """Resolves native identifiers; an ASGI application for what is no service path."""

    def __init__(
        self,
        lookup: Lookup,
        answers: Answers,
        renderer: Renderer,
        age: Callable[[], float],
        metrics: Metrics,
        *,
        prover: Prover | None = None,
        shared: Shared | None = None,
        referrals: Lookup | None = None,
    ) -> None:
        """`age` tells for how many seconds the changes have not been followed.

        `referrals` asks no other node, and says which one to ask.
        """
        self._lookup = lookup
        self._referrals = referrals or lookup
        self._prover = prover
        self._shared = shared
        self._telling: set[asyncio.Task[None]] = set()
        self._reading: set[bytes] = set()  # targets that the edge waits for
        self._crowded = renderer.problem(Unavailable(CROWDED))
        self._answers = answers
        self._renderer = renderer
        self._last: tuple[Reading, Wanted, Rendered, tuple[bytes, ...]] | None = None
        self._age = age
        requests = "tierlink_resolve_requests_total"
        explained = "Answers sent, by where they came from (db: read from the source)."
        self._read = metrics.counter(requests, explained, source="db")
        self._found_shared = metrics.counter(requests, explained, source="l2")
        self.prefetch = Prefetch(answers, list(Form), self._refill, metrics)

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer one request; raise what the error edge translates."""
        # N1
        if scope["method"] == "OPTIONS":
            await start(send, 204, _PREFLIGHT)
            await finish(send)
            return
        if scope["method"] not in {"GET", "HEAD"}:
            raise MethodNotAllowed(
                "an identifier is only read here",
                value=ALLOW.decode(),
                fix="write through /v1/identifiers",
            )
        request = Request.read(scope)
        # N2
        identifier = Identifier.from_path(request.path[1:])
        # N3, N4
        wanted = self._wanted(request)
        if request.authorization is None:
            target = target_of(request.path, request.query)
            # One identifier has one spelling in a path that is kept, else escapes could fill the
            # store.
            keeps = request.path[1:] == identifier.path.encode() and not wanted.full
            answer, marks = await self._answer(target, identifier, wanted, keeps=keeps)
        else:
            answer, marks = await self._private(request, identifier, wanted)
        for message in answer.asgi(request.method, request.if_none_match, marks):
            await send(message)

    def _wanted(self, request: Request) -> Wanted:
        query = read_query(request.query, ("format", "linkType", "proof", "recursive", "purpose"))
        form = request.form(one_of("format", query.get("format"), FORMATS))
        proof = one_of("proof", query.get("proof"), PROOFS)
        recursive = one_of("recursive", query.get("recursive"), RECURSIVE)
        return Wanted(
            form,
            query.get("linkType"),
            request.languages,
            proof != NONE,
            full=proof == FULL,
            recursive=recursive is None or RECURSIVE[recursive],
            purpose=_purpose(query.get("purpose"), named=request.authorization is not None),
        )

    def ask(self, target: bytes, variant: int, told: Told) -> bool:
        """Tell the edge what it has not: N5 to N7 for a plain request, of a path alone.

        False where the application has to answer it, with what else the request may say.
        """
        shared = self._shared
        if shared is None or not shared.ask(
            target, variant, partial(self._or, target, variant, told)
        ):
            return self._begin(target, variant, told)
        return True

    def _or(self, target: bytes, variant: int, told: Told, answer: Answer | None) -> None:
        """Pass on what the second cache has, or begin to read."""
        if answer is not None:
            self._found_shared.add()
            self._answers.misses += 1
            told(answer)
        elif not self._begin(target, variant, told):
            told(None)

    def _begin(self, target: bytes, variant: int, told: Told) -> bool:
        # L6, before anything is made for it: unless it is being read, or something stale is kept
        kept = target in self._answers.table(variant) or target in self._reading
        if not kept and self._lookup.turns_away():
            asyncio.get_running_loop().call_soon(told, self._crowded)
            return True
        try:
            identifier = Identifier.from_path(target[1:])
        except BadIdentifier:
            return False
        if target[1:] != identifier.path.encode():
            return False
        task = asyncio.get_running_loop().create_task(
            self._tell(target, identifier, _BY_PATH[variant], told)
        )
        self._reading.add(target)
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)
        task.add_done_callback(lambda _: self._reading.discard(target))
        return True

    async def _tell(
        self, target: bytes, identifier: Identifier, wanted: Wanted, told: Told
    ) -> None:
        answer: Answer | None = None
        marks: Headers = []
        try:
            self._answers.misses += 1
            answer, marks = await self._read_anew(target, identifier, wanted, keeps=True)
        except TierlinkError as err:
            answer = self._renderer.problem(err)
        except Exception:  # noqa: BLE001  (whatever it is, the client waits)
            # The application meets it too, and gives it a number.
            _log.exception("%s was not read", identifier)
        told(answer, marks)

    async def _answer(
        self, target: bytes, identifier: Identifier, wanted: Wanted, *, keeps: bool
    ) -> tuple[Answer, Headers]:
        # N5
        kept = self._answers.get(target, wanted.form)
        if kept is not None:
            return kept, []
        if keeps and self._shared is not None:
            kept = await self._shared.get(target, wanted.form)
            if kept is not None:
                self._found_shared.add()
                return kept, []
        return await self._read_anew(target, identifier, wanted, keeps=keeps)

    async def _read_anew(
        self, target: bytes, identifier: Identifier, wanted: Wanted, *, keeps: bool
    ) -> tuple[Answer, Headers]:
        # N7, at once while the source is known to be away
        if self._lookup.away and (stale := self._answers.stale(target, wanted.form)):
            return stale, self._marks()
        # N6
        try:
            reading = await self._asked(wanted).resolve(identifier)
            rendered, names = await self._render(reading, wanted)
        except Unavailable:
            stale = self._answers.stale(target, wanted.form)
            if stale is None:
                raise
            return stale, self._marks()
        if rendered.keep and keeps:
            return self._keep(target, wanted.form, rendered.answer, names, reading), []
        return rendered.answer, []

    def _keep(
        self, target: bytes, form: Form, answer: Answer, names: tuple[bytes, ...], reading: Reading
    ) -> Answer:
        """Keep an answer, and return it; or what was kept while it was read, and is no older."""
        epoch = reading.watermark.epoch
        if epoch == self._answers.epoch:
            standing = self._answers.standing(target, form, answer.filled)
            if standing is not None:
                return standing
        if not self._answers.put(target, form, answer, epoch):
            return answer
        if self._shared is not None:
            self._shared.put(target, form, answer, names, epoch)
        if b"?" not in target:
            self.prefetch.kept(reading.identifier, form, answer)
        return answer

    async def _refill(self, identifier: Identifier, form: int) -> None:
        """Read an identifier and keep the answer to its path alone, in one form."""
        wanted = Wanted(Form(form))
        reading = await self._lookup.resolve(identifier)
        rendered, names = await self._render(reading, wanted)
        if rendered.keep:
            target = b"/" + identifier.path.encode()
            self._keep(target, wanted.form, rendered.answer, names, reading)

    async def _private(
        self, request: Request, identifier: Identifier, wanted: Wanted
    ) -> tuple[Answer, Headers]:
        # N8
        assert request.authorization is not None
        caller = await self._lookup.caller(request.authorization.decode("latin-1"))
        viewer = Viewer(caller, wanted.purpose)
        reading = await self._asked(wanted).resolve(identifier, viewer)
        rendered, _ = await self._render(reading, replace(wanted, caller=caller))
        return rendered.answer, list(_PRIVATE)

    def _asked(self, wanted: Wanted) -> Lookup:
        return self._lookup if wanted.recursive else self._referrals

    async def _render(self, reading: Reading, wanted: Wanted) -> tuple[Rendered, tuple[bytes, ...]]:
        self._read.add()
        # Those who waited for one reading come here one after another: what they want is the same.
        last = self._last
        if last is not None and last[0] is reading and last[1] == wanted and not wanted.full:
            rendered, names = last[2:]
            if self._answers.clock() < rendered.answer.expires:
                return rendered, names
        log = await self._logged(reading, wanted)
        names = tags.of_reading(reading)
        rendered = self._renderer.answer(reading, wanted, names, log)
        self._last = (reading, wanted, rendered, names)
        return rendered, names

    async def _logged(self, reading: Reading, wanted: Wanted) -> LogProof | None:
        """Return what the log says of a reading, where that is asked for and has a place."""
        shows = wanted.form is Form.JSON and wanted.link_type is None
        if not wanted.full or not shows or reading.state not in ANSWERED:
            return None
        if self._prover is None:
            raise NoLog("this resolver has no log to ask", fix="leave out proof=full")
        return await self._prover.of(reading)

    def _marks(self) -> Headers:
        """N7: what tells a client that an answer may be stale, and since when."""
        return [
            (b"tierlink-stale", b"1"),
            (b"age", b"%d" % max(0, int(self._age()))),
            (b"cache-control", b"public, max-age=30"),
        ]
