"""Names of keys in tokens: PKCS#11 URIs (RFC 7512)."""

import pytest

from schemas.errors import BadInput
from tierlink.custody import in_token, uri


@pytest.mark.parametrize(
    ("text", "members"),
    [
        ("pkcs11:", {}),
        ("pkcs11:token=acme", {"token": "acme"}),
        ("pkcs11:token=acme;object=records", {"token": "acme", "label": "records"}),
        ("pkcs11:object=a%20b%3b", {"label": "a b;"}),
        ("pkcs11:object=%E9%92%A2", {"label": "钢"}),
        ("pkcs11:id=%01%ff%00", {"key": b"\x01\xff\x00"}),
        ("pkcs11:id=ab", {"key": b"ab"}),
        ("pkcs11:type=private;object=a", {"label": "a"}),
        ("pkcs11:serial=59c5;model=v2", {"serial": "59c5", "model": "v2"}),
        ("pkcs11:manufacturer=Maker", {"manufacturer": "Maker"}),
        ("pkcs11:slot-id=7", {"slot": 7}),
        ("pkcs11:object=a?pin-source=file:/run/pin", {"label": "a", "pin_file": "/run/pin"}),
        ("pkcs11:object=a?pin-source=file:///run/pin", {"label": "a", "pin_file": "/run/pin"}),
        ("pkcs11:object=a?pin-source=pin%20file", {"label": "a", "pin_file": "pin file"}),
        ("pkcs11:?module-path=/m.so&pin-source=p", {"module": "/m.so", "pin_file": "p"}),
    ],
)
def test_what_is_read(text, members):
    assert uri.parse(text) == uri.KeyUri(text, **members)


@pytest.mark.parametrize(
    "text",
    [
        "pkcs11:objekt=a",
        "pkcs11:object",
        "pkcs11:object=a;object=b",
        "pkcs11:;",
        "pkcs11:object=a;",
        "pkcs11:type=public",
        "pkcs11:type=cert;object=a",
        "pkcs11:slot-id=x",
        "pkcs11:slot-id=-1",
        "pkcs11:slot-id=１",  # noqa: RUF001  (a full-width digit)
        "pkcs11:token=%ff",
        "pkcs11:object=a?pin-value=1234",
        "pkcs11:object=a?pin-source=|cat%20pin",
        "pkcs11:object=a?vendor=x",
        "pkcs11:pin-source=x",
    ],
)
def test_what_is_refused(text):
    with pytest.raises(BadInput) as caught:
        uri.parse(text)
    assert caught.value.fix


def test_a_pin_in_a_name_is_not_repeated():
    with pytest.raises(BadInput) as caught:
        uri.parse("pkcs11:object=a?pin-value=31415")
    assert "31415" not in str(caught.value.problem())
    assert "PIN_FILE" in caught.value.fix


def test_what_is_a_token_and_what_a_file():
    assert in_token("pkcs11:object=a")
    assert not in_token("acme.pem")
    assert not in_token("./pkcs11:object=a")
