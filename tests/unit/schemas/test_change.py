"""Watermarks: text that comes back as it was given, and nothing else."""

import pytest

from schemas.change import Watermark
from schemas.errors import BadQuery


@pytest.mark.parametrize("text", ["e1.0", "e1.17", "a.b.3", "e.999999999999999999"])
def test_a_watermark_comes_back(text):
    assert str(Watermark.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "17",
        ".17",
        "e.",
        "e.-1",
        "e.+1",
        "e.1_0",
        "e. 1",
        "e.1\n",
        "e.\u0661",
        "e.\u00b2",
        "e.1" + "0" * 18,
        "e." + "9" * 5000,
    ],
)
def test_another_text_is_refused(text):
    with pytest.raises(BadQuery):
        Watermark.parse(text)
