"""With CI=true a skip is a failure, unless its reason is one of the few allowed.

Allowed is what cannot be had there, by its nature. All else (a server, a browser) is installed by
.ci/run, so that a skipped test would be a promise that nobody keeps any more.
"""

import os
import re

import pytest

ALLOWED = re.compile(r"\.\./shared/vectors is absent|needs root|needs a normal user")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    return strict((yield), os.environ.get("CI"))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report():
    return strict((yield), os.environ.get("CI"))


def strict(report, ci):
    """Turn a skip that is not allowed into a failure where `ci` is "true"; xfail is no skip."""
    if ci == "true" and report.outcome == "skipped" and not hasattr(report, "wasxfail"):
        *_, reason = report.longrepr
        if not ALLOWED.search(reason):
            report.outcome = "failed"
            report.longrepr = f"CI=true and yet: {reason}\nInstall what is missing in .ci/run."
    return report
