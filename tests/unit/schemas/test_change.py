"""Watermarks: text that comes back as it was given, and nothing else."""

import pytest

from schemas.change import Batch, Canary, Change, Op, Watermark
from schemas.errors import BadInput, BadQuery


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


@pytest.mark.parametrize("floor", [None, 0, 17])
def test_a_batch_comes_back(floor):
    changes = (Change(18, Op.LINK, "88.1/A", 2, "88.2/B"), Change(19, Op.PREFIX, "88.1", 1))
    batch = Batch(changes, Watermark("e", 20), more=True, canary=Canary(19, 0.25), floor=floor)
    document = batch.to_json()
    assert Batch.from_json(document) == batch
    assert ("floor" in document) == (floor is not None)


@pytest.mark.parametrize("floor", ["17", -1, 1.5, True])
def test_a_floor_that_is_no_position(floor):
    document = Batch((), Watermark("e", 20)).to_json() | {"floor": floor}
    with pytest.raises(BadInput):
        Batch.from_json(document)
