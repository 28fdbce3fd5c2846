"""A skip in CI fails, but for the allowed reasons."""

import pytest

from tests.strict_skips import strict


@pytest.mark.parametrize(
    ("reason", "ci", "outcome"),
    [
        pytest.param("no redis-server here", "true", "failed", id="ci-forbidden"),
        pytest.param("no redis-server here", None, "skipped", id="at-home"),
        pytest.param("../shared/vectors is absent", "true", "skipped", id="ci-vectors"),
        pytest.param("needs root: switches accounts", "true", "skipped", id="ci-root"),
    ],
)
def test_a_skip_in_ci_fails_but_for_the_allowed_reasons(reason, ci, outcome):
    place = ("test_x.py", 1, f"Skipped: {reason}")
    report = pytest.TestReport(
        "test_x.py::test", ("test_x.py", 1, "test"), {}, "skipped", place, "call"
    )
    assert strict(report, ci).outcome == outcome
