"""Responses are found whole, however they come in pieces."""

import pytest

from loadtests.http1 import BadResponse, body_of, header, span

PLAIN = b'HTTP/1.1 200 OK\r\netag: "1"\r\ncontent-length: 5\r\n\r\nhello'
SPELLED = PLAIN.replace(b"content-length", b"Content-Length").replace(b"etag", b"ETag")
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n"
)
NOT_MODIFIED = b'HTTP/1.1 304 Not Modified\r\netag: "1"\r\n\r\n'


@pytest.mark.parametrize("response", [PLAIN, SPELLED, CHUNKED, NOT_MODIFIED])
def test_the_end_is_found_from_any_beginning(response):
    assert span(response) == len(response)
    assert span(response + b"HTTP/1.1 200") == len(response)
    for cut in range(len(response)):
        assert cut < span(response[:cut]) <= len(response)


def test_bodies():
    assert [body_of(item) for item in (PLAIN, CHUNKED, NOT_MODIFIED)] == [
        b"hello",
        b"hello world",
        b"",
    ]


def test_headers():
    assert header(PLAIN, b"etag") == header(SPELLED, b"etag") == b'"1"'
    assert header(CHUNKED, b"etag") is None


@pytest.mark.parametrize("response", [b"HTTP/1.1 200 OK\r\n\r\n", b"SSH-2.0-x\r\n\r\n"])
def test_what_has_no_end_is_refused(response):
    with pytest.raises(BadResponse):
        span(response)
