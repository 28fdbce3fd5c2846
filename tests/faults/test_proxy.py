"""The proxy breaks what it is told to break, and nothing else."""

import socket
import threading
import time
from contextlib import contextmanager

import pytest

from tests.faults.proxy import Cut, HalfClose, Lose, Proxy, Refuse, Slow, Stall


@pytest.fixture(scope="module")
def echo():
    """A server that sends back what it is sent."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve(connection):
        with connection:
            try:
                while piece := connection.recv(4096):
                    connection.sendall(piece)
            except OSError:
                pass

    def accept():
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    yield listening.getsockname()[1]
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join(5)


@pytest.fixture
def proxy(echo):
    with Proxy(echo) as proxy:
        yield proxy


@contextmanager
def connected(proxy, timeout=5.0):
    with socket.create_connection(("127.0.0.1", proxy.port), timeout) as connection:
        yield connection


def ask(connection, text=b"hello"):
    connection.sendall(text)
    found = b""
    while len(found) < len(text) and (piece := connection.recv(4096)):
        found += piece
    return found


def until_reset(connection):
    """Return what comes before the connection is reset; fail where it ends in order."""
    found = b""
    try:
        while piece := connection.recv(1):
            found += piece
    except ConnectionError:
        return found
    raise AssertionError("it ended, and was not reset")


def test_it_passes_on(proxy):
    with connected(proxy) as one, connected(proxy) as two:
        assert ask(one) == ask(two) == b"hello"
        assert ask(one, b"x" * 300_000) == b"x" * 300_000
    with connected(proxy) as three:
        three.shutdown(socket.SHUT_WR)
        assert three.recv(10) == b""


def test_what_is_stalled_comes_when_it_is_healed(proxy):
    with connected(proxy) as one:
        assert ask(one) == b"hello"
        proxy.breaks(Stall())
        one.settimeout(0.2)
        with pytest.raises(TimeoutError):
            ask(one)
        with connected(proxy, 0.2) as two, pytest.raises(TimeoutError):
            ask(two)
        proxy.heal()
        one.settimeout(5)
        assert one.recv(10) == b"hello"


def test_what_is_refused_is_refused_until_it_is_healed(proxy):
    with connected(proxy) as one:
        assert ask(one) == b"hello"
        proxy.breaks(Refuse())
        with pytest.raises(ConnectionError):
            ask(one)
        with pytest.raises(ConnectionError), connected(proxy):
            pass
    proxy.heal()
    with connected(proxy) as two:
        assert ask(two) == b"hello"


def test_what_is_half_closed_ends_one_way(proxy):
    with connected(proxy) as one:
        assert ask(one) == b"hello"
        proxy.breaks(HalfClose())
        assert one.recv(10) == b""
        one.sendall(b"still")  # it may speak, to nobody who answers
        proxy.heal()
    with connected(proxy) as two:
        assert ask(two) == b"hello"


def test_what_is_cut_breaks_off_after_so_many_bytes(proxy):
    with connected(proxy) as one:
        assert ask(one) == b"hello"
        proxy.breaks(Cut(7))
        assert ask(one) == b"hello"
        one.sendall(b"world")
        found = until_reset(one)
        assert found in (b"", b"w", b"wo")  # a reset may overtake what was sent


def test_what_is_lost_is_what_is_wanted(proxy):
    proxy.breaks(Lose(lambda _, piece: b"secret" in piece))
    with connected(proxy) as one:
        assert ask(one) == b"hello"
        one.sendall(b"a secret")
        assert until_reset(one) == b""
    with connected(proxy) as two:
        assert ask(two) == b"hello"


def test_what_is_slow_is_whole(proxy):
    proxy.breaks(Slow(0.1))
    with connected(proxy) as one:
        began = time.monotonic()
        assert ask(one) == b"hello"
        assert time.monotonic() - began >= 0.2


def test_another_server_may_take_the_place(proxy, echo):
    with connected(proxy) as one:
        assert ask(one) == b"hello"
        proxy.upstream = echo
        with pytest.raises(ConnectionError):
            ask(one)
    with connected(proxy) as two:
        assert ask(two) == b"hello"
