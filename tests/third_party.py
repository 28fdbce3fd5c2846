"""Test data of other projects, in a folder beside the repository that is not part of it."""

import json
from pathlib import Path

import pytest

VECTORS = Path(__file__).parent.parent.parent / "shared" / "vectors"


def third_party(*names):
    """The path of a file or folder there; skips the test where the folder is absent."""
    if not VECTORS.is_dir():
        pytest.skip("../shared/vectors is absent")
    return VECTORS.joinpath(*names)


def third_party_json(*names):
    return json.loads(third_party(*names).read_text(encoding="utf-8"))
