"""What a script asks of the host in one step is charged for, or refused: found by attacks under the default limits."""

import pytest

from mxjax import mas
from mxjax.mas.interpreter.modules import re_

WIDE = "from collections import namedtuple\nn = ['a%d' % i for i in range(30000)]\nP = namedtuple('P', n)\n"
BIG = "B = 1 << 32000\n"
MEMBER = "from enum import Enum\nclass E(str, Enum):\n    A = 'ab' + 'a' * 200000\n"
USED = "from workflow import Workflow, AgentNode\nWorkflow().add_node(AgentNode('a', 'b')).run(question)\n"


def run(script):
    return mas.run(script, "12 + 7 - 3", chat=lambda messages: r"FINAL ANSWER: \boxed{16}")


@pytest.mark.parametrize("method", ["find", "rfind", "index", "rindex", "count", "partition", "rpartition", "split"])
def test_searching_for_a_member_of_an_enumeration_is_charged_as_for_its_text(method):
    result = run(f"{MEMBER}while True:\n    ('a' * 400000).{method}(E.A)\n")
    assert result.status in ("limit", "error") and (result.reason == "fuel" or "not found" in result.reason)


@pytest.mark.parametrize(
    ("script", "says"),
    [
        (WIDE, "at most 255 fields"),
        (f"{BIG}list(range(B, B + 10))", "counting with integers"),
        (f"{BIG}list(range(0, 10, B))", "counting with integers"),
        (f"{BIG}list(enumerate('ab', B))", "counting with integers"),
    ],
)
def test_what_cannot_be_charged_step_by_step_is_refused(script, says):
    result = run(script)
    assert result.status == "error" and says in result.reason


@pytest.mark.parametrize("template", ["('{{' * 400000).format()", "('%%' * 400000) % ()"])
def test_doubled_marks_of_templates_end_by_fuel(template):
    assert run(f"while True:\n    {template}\n").reason == "fuel"


def test_a_compiled_pattern_may_stay_alive_while_memory_is_measured():
    result = run(f"import re\np = re.compile('(a)|b')\nfor i in range(30):\n    s = 'x' * 900000\n{USED}")
    assert (result.status, result.calls) == ("ok", 1)


def test_compiled_patterns_are_kept_by_their_memory():
    run("import re\ni = 0\nwhile True:\n    i += 1\n    re.search('[ab]*a[ab]{15}c%d' % i, 'ab' * 300)\n")
    kept = [item for item in re_._cache.items() if not isinstance(item[1], str)]
    assert 0 < len(kept) <= re_._CACHE_PATTERNS and sum(map(re_._kept_bytes, kept)) <= re_._CACHE_BYTES
