"""The law of metering: a script ends within so much time a unit of fuel and so much memory, whatever it calls."""

import re

import calls
import pytest

from mxjax.mas.execution import INTERNAL

# Methods with two underscores that every type has, also where the operator is not defined for it
REFUSES = re.compile(r"(tuple|list|deque|range|dict|DefaultDict|CounterDict|Set|float|str)\.__\w+__")
WITHOUT = {
    "NoneType": "makes nothing",
    "_decimal.rounded": "takes the name of a way to round",
    "concurrent.futures.wait": "takes futures that were submitted",
    "decimal.localcontext.__exit__": "needs its `__enter__` before",
    "enum.Flag.__contains__": "takes a member of the same class",
    "object.__format__": "takes an empty specification alone",
    "threading.local.__getattr__": "only refuses",
    "time.struct_time": "made by the module's own functions",
    "time.struct_time.__init__": "made by the module's own functions",
    "types.MappingProxyType.__delitem__": "only refuses",
    "types.MappingProxyType.__setitem__": "only refuses",
}


def test_calls_of_a_sample_obey_the_law():
    turn = calls.calibrate()
    sampled = calls.every_case(71, 3)
    assert len(sampled) > 50
    rows = [calls.least(case, calls.screened(case, turn)) for case in sampled]
    assert not calls.over(rows)
    assert all(row["mb"] < calls.LAW_MB for row in rows)


def test_a_call_that_is_not_charged_for_breaks_the_law():
    """The measure itself: a function of ours that works and keeps for nothing is found."""
    find = calls.constant(calls.Native("free", lambda m: [0] * 400_000))
    case = calls.Case(calls.Target("free", find), calls.Fit(()), ())
    row = calls.screened(case, calls.calibrate())
    assert row["us"] > calls.LAW_US and row["mb"] > calls.LAW_MB


@pytest.mark.slow
def test_all_calls_obey_the_law():
    rows, hung = calls.sweep(most=3)
    assert len(rows) > 3000 and hung == []
    assert sum("full_us" in row for row in rows) >= 10
    assert not calls.over(rows)
    assert not [row for row in rows if row["reason"].startswith(INTERNAL)]


@pytest.mark.slow
def test_every_callable_has_a_call_that_fits():
    found = {target.label for target in calls.targets() if not calls.probed(target)}
    assert {label for label in found if not REFUSES.fullmatch(label)} == set(WITHOUT)
    assert not calls.FAULTS
