"""Settings of a node's place: what is demanded of which role, and what a failure may tell."""

import pytest

from schemas.errors import BadInput
from tierlink.node import Node
from tierlink.place import PlaceSettings
from tierlink.settings import load

JOINING = {
    "TIERLINK_ROLE": "enterprise",
    "TIERLINK_PREFIX": "88.1",
    "TIERLINK_PARENT_URL": "http://127.0.0.1:1",
    "TIERLINK_ROOT_URL": "http://127.0.0.1:2",
    "TIERLINK_PUBLIC_URL": "http://127.0.0.1:3",
    "TIERLINK_ROOT_FILE": "root.txt",
    "TIERLINK_PARENT_KEY": "a-secret-key",
}


@pytest.fixture
def environ(monkeypatch):
    def put(**changed):
        for name, value in (JOINING | changed).items():
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)

    return put


def test_a_joining_node_is_complete(environ):
    environ()
    place = Node.read().place
    assert (place.role, str(place.joins), str(place.speaks)) == ("enterprise", "88.1", "88.1")
    assert place.given_key == "a-secret-key"


@pytest.mark.parametrize(
    "name", ["TIERLINK_PREFIX", "TIERLINK_PARENT_URL", "TIERLINK_ROOT_URL", "TIERLINK_PUBLIC_URL"]
)
def test_what_is_missing_is_named_and_no_secret_is_told(environ, name):
    environ(**{name: None})
    with pytest.raises(BadInput) as caught:
        Node.read()
    said = str(caught.value.problem())
    assert name in said
    assert "a-secret-key" not in said


def test_an_option_goes_before_the_environment(environ):
    environ()
    assert Node.read("recursive").place.joins is None
    environ(TIERLINK_ROOT_FILE=None)
    with pytest.raises(BadInput, match="TIERLINK_ROOT_FILE is needed by a node of role recursive"):
        Node.read("recursive")


def test_the_file_of_a_key_that_was_used_need_not_be_kept(environ, tmp_path):
    path = tmp_path / "parent.key"
    environ(TIERLINK_PARENT_KEY=None, TIERLINK_PARENT_KEY_FILE=str(path))
    assert load(PlaceSettings).given_key is None
    path.write_text("another\n")
    assert load(PlaceSettings).given_key == "another"
