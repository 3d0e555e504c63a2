"""What a script asks of the host in one step is charged for, or refused: found by attacks under the default limits."""

import time

import pytest

from mxjax import mas
from mxjax.script.modules import re_

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


NODES = "from workflow import *\nn = [AgentNode('a', 'b')] * 30000\n"
UNCHARGED = {  # what once took or kept much for nothing
    "lists compared": "a = list(range(40000))\nb = [1.5] * 40000\nwhile True: a < b",
    "Counters compared": "from collections import Counter\na, b = Counter(range(9000)), Counter(range(9000))\n"
    "while True: a == b",
    "powers of nothing": "b = (1 << 32000) - 1\nwhile True: 0 ** b",
    "absolute values kept": "b = -(1 << 31999)\na = []\nwhile True: a.append([abs(b) for _ in range(99)])",
    "keys of one hash copied": "class K:\n  def __eq__(self, o): return self is o\n  def __hash__(self): return 1\n"
    "s = {K() for _ in range(250)}\nwhile True: s - {1}",
    "nodes of a debate": f"{NODES}while True: DebateNode('d', n)",
    "routers kept": "from workflow import *\nd = dict.fromkeys(map(str, range(9000)))\na = []\n"
    "while True: a.append(create_keyword_router('r', d, None))",
    "keys by comparison kept": "import functools\na = []\n"
    "while True: a.append([functools.cmp_to_key(len) for _ in range(99)])",
    "words broken into lines": "import textwrap\nt = '\\U0001F600' * 200000\nwhile True: textwrap.fill(t, 3)",
    "small things written": "import json\na = [[]] * 60000\nwhile True: json.dumps(a)",
    "replaced by a function that keeps": "import re\na = []\n"
    "re.sub('a', lambda m: a.append('x' * 90000) or 'b', 'a' * 900000)",
    "groups of a match kept": "import re\nm = re.search('b(a*)', 'b' + 'a' * 900000)\na = []\n"
    "while True: a.append(m.group(1))",
    "names of an encoding": "t = 'a' * 1000000\nwhile True:\n  try: 'a'.encode(t)\n  except LookupError: pass",
    "patterns kept": "import re\na = []\nwhile True: a.append(re.search('[ab]*a[ab]{15}c%d' % len(a), 'ab' * 300))",
    "deques copied": "from collections import deque\nd = deque()\na = []\n"
    "while True: a.append([d.copy() for _ in range(99)])",
}


@pytest.mark.parametrize("name", UNCHARGED)
def test_what_was_not_charged_for_ends_in_time(name):
    began = time.process_time()
    assert run(UNCHARGED[name]).reason in ("fuel", "live_bytes")
    assert time.process_time() - began < 6


def test_many_small_allocations_cost_what_one_large_one_does():
    used = [run(f"a = []\nfor i in range({count}): a.append(1)\n{USED}").fuel for count in (100, 1100)]
    assert 1000 * 40 / 64 <= used[1] - used[0] - 1000 * 7 <= 1000 * 3


def test_a_pattern_is_paid_for_once_by_the_script_that_compiles_it():
    used = [run(f"import re\nfor i in range({count}): re.compile('ab')\n{USED}").fuel for count in (1, 2)]
    assert used[1] - used[0] < 500 < used[0]
