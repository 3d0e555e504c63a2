"""A test run says how many tests it could not do for want of the strongest sandbox."""

import pathlib

pytest_plugins = ["pytester"]

TESTS = """
import pytest
from support import missing

@pytest.fixture(scope="module", params=["A", "B"])
def box(request):
    if request.param == "A":
        missing("sandbox", "level A is not available here: no bubblewrap")

@pytest.mark.parametrize("number", range(3))
def test_programs(box, number):
    pass

def test_other():
    pytest.skip("another reason")
"""


def test_skipped_tests_of_level_a_are_counted(pytester, monkeypatch):
    here = pathlib.Path(__file__).parent
    monkeypatch.setenv("MXJAX_REQUIRE", "")
    pytester.makeconftest((here / "conftest.py").read_text())
    pytester.makepyfile(TESTS)
    pytester.syspathinsert(here)
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(passed=3, skipped=4)
    result.stdout.fnmatch_lines(["3 tests need sandbox level A, which is not available here*"])
