"""Carrying calls over HTTP: all that knows httpx. What is decided is decided in `call`.

Both carriers do the same: send, read a bounded reply, turn failures into exceptions of
`schemas.errors`, wait and try again where `Retry` says so. Redirects are never followed: an API
key goes to the host that it was given for and to no other.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Generator, Mapping
from typing import TypeAlias, TypeVar

import httpx

from schemas.errors import BadInput, TierlinkError, TooLarge, Unavailable

from .call import MAX_REPLY, Call, Reply, Retry, Steps
from .problem import failure

T = TypeVar("T")
Outcome: TypeAlias = "Reply | TierlinkError"

TIMEOUT = httpx.Timeout(connect=5, read=60, write=60, pool=60)


class _Sending:
    """What a call becomes on its way, and what comes back."""

    def __init__(self, base_url: str, api_key: str | None, retry: Retry) -> None:
        url = _base(base_url)
        self.base_url = str(url).rstrip("/")
        self.retry = retry
        self._authorization = {"authorization": f"Bearer {api_key}"} if api_key else {}

    def request(self, call: Call) -> httpx.Request:
        """Build the request; the target goes out byte for byte as it is."""
        headers = {**call.headers, **(self._authorization if call.private else {})}
        content = call.content if call.content or call.method in ("POST", "PUT") else None
        return httpx.Request(
            call.method,
            self.base_url + call.target,
            headers=headers,
            content=content,
            extensions={"timeout": TIMEOUT.as_dict()},
        )

    def effects(self, steps: Steps[T]) -> Generator[Call | float, Outcome, T]:
        """Yield what is to be done for an operation: a call to be sent, or seconds to wait."""
        try:
            call = next(steps)
            while True:
                outcome = yield from self._attempts(call)
                if isinstance(outcome, TierlinkError):
                    call = steps.throw(outcome)
                    continue
                call = steps.send(outcome)
        except StopIteration as done:
            value: T = done.value
            return value

    def _attempts(self, call: Call) -> Generator[Call | float, Outcome, Outcome]:
        attempt = 1
        while True:
            outcome = yield call
            failed = failure(outcome) if isinstance(outcome, Reply) else outcome
            if failed is None:
                return outcome
            wait = self.retry.wait(attempt, failed)
            if wait is None:
                return failed
            yield wait
            attempt += 1

    def away(self, err: httpx.TransportError) -> Unavailable:
        """Say that nobody answered, or that the answer broke off."""
        return Unavailable(
            f"{self.base_url} does not answer: {str(err) or type(err).__name__}",
            fix="check the address, and that a node runs there (`tierlink up`)",
        )


def _base(text: str) -> httpx.URL:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as err:
        raise BadInput(f"not a base URL: {err}", value=text) from err
    if url.scheme not in ("http", "https") or not url.host or url.query or url.fragment:
        raise BadInput(
            "not the http(s) base URL of a node", value=text, fix="such as http://127.0.0.1:8088"
        )
    return url


def _reply(response: httpx.Response, content: bytes) -> Reply:
    headers: Mapping[str, str] = {name.lower(): value for name, value in response.headers.items()}
    return Reply(response.status_code, headers, content)


def _bounded(size: int) -> None:
    if size > MAX_REPLY:
        raise TooLarge(f"the reply has more than {MAX_REPLY} bytes", value=MAX_REPLY)


class Carrier:
    """Carries calls, one at a time in each thread."""

    def __init__(
        self,
        base_url: str,
        api_key: str | None,
        *,
        retry: Retry,
        transport: httpx.BaseTransport | None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._sending = _Sending(base_url, api_key, retry)
        self._http = httpx.Client(transport=transport, timeout=TIMEOUT, trust_env=False)
        self._sleep = sleep

    def run(self, steps: Steps[T]) -> T:
        """Carry the calls of an operation until it returns."""
        effects = self._sending.effects(steps)
        try:
            effect = next(effects)
            while True:
                if isinstance(effect, Call):
                    effect = effects.send(self._attempt(effect))
                else:
                    self._sleep(effect)
                    effect = next(effects)
        except StopIteration as done:
            value: T = done.value
            return value

    def _attempt(self, call: Call) -> Outcome:
        content = bytearray()
        try:
            response = self._http.send(self._sending.request(call), stream=True)
            try:
                for piece in response.iter_bytes():
                    content += piece
                    _bounded(len(content))
            finally:
                response.close()
        except httpx.TransportError as err:
            return self._sending.away(err)
        return _reply(response, bytes(content))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


class AsyncCarrier:
    """Carries calls, any number at once in one event loop."""

    def __init__(
        self,
        base_url: str,
        api_key: str | None,
        *,
        retry: Retry,
        transport: httpx.AsyncBaseTransport | None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._sending = _Sending(base_url, api_key, retry)
        self._http = httpx.AsyncClient(transport=transport, timeout=TIMEOUT, trust_env=False)
        self._sleep = sleep

    async def run(self, steps: Steps[T]) -> T:
        """Carry the calls of an operation until it returns."""
        effects = self._sending.effects(steps)
        try:
            effect = next(effects)
            while True:
                if isinstance(effect, Call):
                    effect = effects.send(await self._attempt(effect))
                else:
                    await self._sleep(effect)
                    effect = next(effects)
        except StopIteration as done:
            value: T = done.value
            return value

    async def _attempt(self, call: Call) -> Outcome:
        content = bytearray()
        try:
            response = await self._http.send(self._sending.request(call), stream=True)
            try:
                async for piece in response.aiter_bytes():
                    content += piece
                    _bounded(len(content))
            finally:
                await response.aclose()
        except httpx.TransportError as err:
            return self._sending.away(err)
        return _reply(response, bytes(content))

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()
