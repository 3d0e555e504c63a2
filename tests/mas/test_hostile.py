"""Hostile designs: each has a defined outcome, in bounded time, and can do nothing else."""

import contextlib
import pathlib
import re
import time

import pytest
from scripts import HEAD, cpython, drive, machine
from test_execution import TOOLS, TREE, finish, fixed_reply

from mxjax import mas
from mxjax.mas.library import texts

ARGUMENTS = ", ".join(f"a{i}" for i in range(2000))
LIMITED = {
    "endless_loop": ("while True: pass", "fuel"),
    "fuel_by_a_negative_size": ("import random\nrandom.choices([1], k=-10 ** 15)\nwhile True: pass", "fuel"),
    "loop_in_except": ("while True:\n  try:\n    while True: x = 1\n  except: pass", "fuel"),
    "loop_in_finally": ("try:\n  while True: pass\nfinally:\n  while True: pass", "fuel"),
    "limit_not_caught": (
        "try:\n  while True: pass\nexcept BaseException:\n  print('caught')\nfinally:\n  print('f')",
        "fuel",
    ),
    "limit_not_caught_by_with": (
        (
            "class C:\n"
            "  def __enter__(self): return 1\n"
            "  def __exit__(self, *a): return True\n"
            "with C():\n"
            "  while True: pass"
        ),
        "fuel",
    ),
    "endless_generator_in_list": ("def g():\n  while True: yield 1\nlist(g())", ("fuel", "items", "live_bytes")),
    "endless_generator_in_sum": ("def g():\n  while True: yield 1\nsum(g())", "fuel"),
    "endless_generator_in_join": ("def g():\n  while True: yield 'a'\n''.join(g())", ("fuel", "items", "live_bytes")),
    "endless_count": ("import itertools\nlist(itertools.count())", ("fuel", "items", "live_bytes")),
    "endless_cycle": ("import itertools\nfor x in itertools.cycle([1]): pass", "fuel"),
    "endless_repeat_max": ("import itertools\nmax(itertools.repeat(1))", "fuel"),
    "endless_iter_sentinel": ("list(iter(int, 1))", ("fuel", "items", "live_bytes")),
    "endless_getitem": ("class C:\n  def __getitem__(self, i): return i\nfor x in C(): pass", "fuel"),
    "endless_bool": ("class C:\n  def __bool__(self): return self\nif C(): pass", "fuel"),
    "huge_range_list": ("list(range(10 ** 12))", "items"),
    "huge_range_loop": ("for i in range(10 ** 12): pass", "fuel"),
    "huge_range_sum": ("sum(range(10 ** 12))", "fuel"),
    "huge_range_contains": ("print('x' in range(10 ** 12))", "fuel"),
    "recursion": ("def f(n): return f(n + 1)\nf(0)", "depth"),
    "recursion_mutual_lambda": ("a = lambda: b()\nb = lambda: a()\na()", "depth"),
    "recursion_through_sorted": ("def k(x): return sorted([x], key=k)\nk(1)", "depth"),
    "recursion_through_map": ("def f(x): return list(map(f, [x]))\nf(1)", "depth"),
    "recursion_through_eq": ("class C:\n  def __eq__(self, o): return self == o\nC() == C()", "depth"),
    "recursion_through_repr": ("class C:\n  def __repr__(self): return repr(self)\nprint(C())", "depth"),
    "recursion_through_getattr": ("class C:\n  def __getattr__(self, n): return self.other\nC().x", "depth"),
    "recursion_through_hash": (
        "class C:\n  def __eq__(self, o): pass\n  def __hash__(self): return hash(self)\n{C()}",
        "depth",
    ),
    "recursion_through_keys": (
        "class C:\n  def __hash__(self): return 1\n  def __eq__(self, o): return {self: 1} == {o: 1}\n{C(), C()}",
        "depth",
    ),
    "recursion_through_new": ("class C:\n  def __new__(cls): return cls()\nC()", "depth"),
    "recursion_through_missing": ("class D(dict):\n  def __missing__(self, k): return self[k]\nD()[1]", "depth"),
    "recursion_through_descriptor": (
        "class D:\n  def __get__(self, o, c): return o.x\nclass C: x = D()\nC().x",
        "depth",
    ),
    "recursion_through_metaclass": (
        "class M(type):\n  def __call__(cls): return cls()\nclass C(metaclass=M): pass\nC()",
        "depth",
    ),
    "recursion_through_subclassing": (
        "class A:\n  def __init_subclass__(cls):\n    class B(cls): pass\nclass C(A): pass",
        ("depth", "nesting"),
    ),
    "recursion_through_deepcopy": (
        "import copy\nclass C:\n  def __deepcopy__(self, memo): return copy.deepcopy(self)\ncopy.deepcopy(C())",
        "depth",
    ),
    "keys_of_one_hash": (
        "class K:\n  def __hash__(self): return 1\n  def __eq__(self, o): return False\nd = {}\nwhile True: d[K()] = 1",
        "fuel",
    ),
    "nested_tuples_of_a_class_as_key": ("class T(tuple): pass\nt = ()\nwhile True:\n  t = T((t, t))\n  {t}", "fuel"),
    "nested_tuples_of_a_class_hashed": (
        "class T(tuple): pass\nt = ()\nwhile True:\n  t = T((t, t))\n  hash(t)",
        "fuel",
    ),
    "list_of_a_class_doubled": ("class L(list): pass\na = L([1])\nwhile True: a += a", "items"),
    "text_of_a_class_doubled": ("class S(str): pass\na = S('x')\nwhile True: a = S(a + a)", "string_chars"),
    "flags_without_end": (
        "from enum import Flag\nclass F(Flag): A = 1 << 4000\ni = 0\nwhile True:\n  F(i)\n  i += 1",
        ("fuel", "live_bytes"),
    ),
    "endless_asynchronous_generator": (
        "import asyncio\nasync def g():\n  while True: yield 1\n"
        "async def f():\n  async for x in g(): pass\nasyncio.run(f())",
        "fuel",
    ),
    "recursion_through_init": ("class C:\n  def __init__(self): C()\nC()", "depth"),
    "recursion_through_property": ("class C:\n  @property\n  def x(self): return self.x\nC().x", "depth"),
    "recursion_through_reduce": (
        "from functools import reduce\ndef f(a, b): return reduce(f, [a, b])\nf(1, 2)",
        "depth",
    ),
    "recursion_in_generator": ("def g():\n  yield from g()\nlist(g())", "depth"),
    "recursion_in_except": ("def f():\n  try:\n    f()\n  except Exception:\n    f()\nf()", "depth"),
    "int_power": ("print(9 ** 9 ** 9)", "int_bits"),
    "int_power_pow": ("pow(10, 10 ** 8)", "int_bits"),
    "int_shift": ("1 << (1 << 40)", "int_bits"),
    "int_squaring": ("x = 3\nwhile True: x *= x", "int_bits"),
    "int_doubling": ("x = 1\nwhile True: x += x", ("int_bits", "fuel")),
    "int_factorial": ("import math\nmath.factorial(10 ** 7)", "int_bits"),
    "int_comb": ("import math\nmath.comb(10 ** 6, 5 * 10 ** 5)", "int_bits"),
    "int_lcm": ("import math\nx = 1\nfor i in range(1, 10 ** 6): x = math.lcm(x, i)", ("int_bits", "fuel")),
    "int_of_string": ("print(int('f' * 60000, 16) > 1)", "int_bits"),
    "int_prod": ("import math\nmath.prod(range(1, 100000))", ("int_bits", "fuel")),
    "string_repeat": ("'a' * 10 ** 9", "string_chars"),
    "string_doubling": ("s = 'ab'\nwhile True: s += s", "string_chars"),
    "string_join": ("x = ['a' * 1000] * 10000\n''.join(x)", "string_chars"),
    "string_replace": ("('a' * 10000).replace('a', 'b' * 10000)", "string_chars"),
    "string_format_width": ("'{:1000000000}'.format(1)", "format_width"),
    "string_fstring_width": ("f'{1:>999999999}'", "format_width"),
    "string_fstring_dynamic": ("w = 10 ** 9\nf'{1:{w}}'", "format_width"),
    "string_percent_width": ("'%999999999d' % 1", "format_width"),
    "string_percent_star": ("'%*d' % (10 ** 9, 1)", "format_width"),
    "string_center": ("'a'.center(10 ** 9)", "string_chars"),
    "string_zfill": ("'a'.zfill(10 ** 9)", "string_chars"),
    "string_expandtabs": ("'\\t'.expandtabs(10 ** 9)", "string_chars"),
    "string_translate": ("('a' * 10000).translate({97: 'b' * 10000})", "string_chars"),
    "string_sub": ("import re\nre.sub('a', 'b' * 10000, 'a' * 10000)", "string_chars"),
    "list_repeat": ("[0] * 10 ** 9", "items"),
    "list_repeat_reversed": ("10 ** 9 * [0]", "items"),
    "list_append": ("a = []\nwhile True: a.append(a)", ("items", "live_bytes", "fuel")),
    "list_extend_self": ("a = [1]\nwhile True: a.extend(a)", "items"),
    "list_inplace": ("a = [1]\nwhile True: a += a", "items"),
    "dict_growth": ("d = {}\ni = 0\nwhile True:\n  d[i] = i\n  i += 1", ("items", "live_bytes", "fuel")),
    "dict_of_strings": ("d = {}\nfor i in range(10 ** 6): d[i] = 'x' * 1000 + str(i)", "live_bytes"),
    "kept_strings": ("a = []\nwhile True: a.append('x' * 10000)", "live_bytes"),
    "set_product": (
        "from itertools import product\nset(product(range(100), repeat=4))",
        ("items", "live_bytes", "fuel"),
    ),
    "permutations": (
        "from itertools import permutations\nlist(permutations(range(20)))",
        ("items", "live_bytes", "fuel"),
    ),
    "combinations_sum": ("from itertools import combinations\nsum(1 for _ in combinations(range(40), 20))", "fuel"),
    "nested_list_repr": ("a = []\nfor _ in range(1000): a = [a]\nprint(a)", "nesting"),
    "nested_list_compare": ("a, b = [], []\nfor _ in range(1000): a, b = [a], [b]\nprint(a == b)", "nesting"),
    "nested_tuple_hash": ("t = ()\nfor _ in range(100000): t = (t,)\nprint({t: 1})", "nesting"),
    "nested_json": ("import json\njson.loads('[' * 100000 + ']' * 100000)", "nesting"),
    "nested_json_dump": ("import json\na = []\nfor _ in range(1000): a = [a]\njson.dumps(a)", "nesting"),
    "nested_deepcopy": ("import copy\na = []\nfor _ in range(1000): a = [a]\ncopy.deepcopy(a)", "nesting"),
    "shared_repr": ("a = [1]\nfor _ in range(60): a = [a, a]\nprint(a)", ("fuel", "string_chars")),
    "shared_hash": ("t = (1,)\nfor _ in range(60): t = (t, t)\n{t}", "fuel"),
    "shared_compare": ("a, b = (1,), (1,)\nfor _ in range(60): a, b = (a, a), (b, b)\na == b", "fuel"),
    "shared_json": ("import json\na = [1]\nfor _ in range(60): a = [a, a]\njson.dumps(a)", ("fuel", "string_chars")),
    "shared_sort": ("a, b = (1,), (1,)\nfor _ in range(60): a, b = (a, a), (b, b)\nsorted([a, b])", "fuel"),
    "print_flood": ("while True: print('x' * 1000)", "printed_chars"),
    "exception_chain": (
        "e = None\nwhile True:\n  try:\n    raise ValueError(e)\n  except ValueError as err:\n    e = err",
        ("fuel", "live_bytes"),
    ),
    "bigint_modpow": ("while True: pow(3, 2 ** 15000, 2 ** 15000 - 1)", "fuel"),
    "bigint_multiply": ("x = 2 ** 16000 + 1\nwhile True: x * x", "fuel"),
    "bigint_text": ("x = 10 ** 4000\nwhile True: str(x)", "fuel"),
    "search_in_list": ("a = ['x' * 1000 + str(i) for i in range(1000)]\nwhile True: 'y' * 1003 in a", "fuel"),
    "regex_bomb": ("import re\nwhile True: re.search('(a+)+$', 'a' * 30000 + 'b')", "fuel"),
    "regex_many_patterns": ("import re\ni = 0\nwhile True:\n  i += 1\n  re.compile('(a{100}){9}' + str(i))", "fuel"),
    "regex_matches": ("import re\nlist(re.finditer('a', 'a' * 900000))", ("items", "fuel")),
    "compare_strings": ("x, y = 'a' * 900000, 'a' * 900000\nwhile x == y: pass", "fuel"),
    "textwrap_bomb": ("import textwrap\nwhile True: textwrap.wrap('ab ' * 10000, 10)", "fuel"),
    "sort_bomb": ("a = list(range(50000))\nwhile True: a.sort(key=lambda x: -x)", "fuel"),
    "deque_rotate": ("from collections import deque\nd = deque(range(100000))\nwhile True: d.rotate(50000)", "fuel"),
    "insert_front": ("a = [0] * 190000\nwhile True:\n  a.insert(0, 1)\n  a.pop(0)", "fuel"),
    "generator_pile": ("a = []\nwhile True: a.append(x for x in a)", ("fuel", "live_bytes", "items")),
    "closure_pile": ("f = lambda: 0\nwhile True:\n  g = f\n  f = lambda h=g: h", ("fuel", "live_bytes")),
    "class_pile": ("a = []\nwhile True:\n  class C: pass\n  a.append(C)", ("fuel", "live_bytes")),
    "random_choices": ("import random\nrandom.choices([1], k=10 ** 9)", "items"),
    "statistics_bomb": ("import statistics\nwhile True: statistics.stdev(range(100000))", "fuel"),
    "namedtuple_pile": (
        "from collections import namedtuple\nwhile True: namedtuple('P', ['x%d' % i for i in range(100)])",
        "fuel",
    ),
    "partial_chain": (
        "from functools import partial\nf = print\nwhile True: f = partial(f)",
        ("fuel", "live_bytes", "depth"),
    ),
    "split_bomb": ("s = 'a,' * 400000\nwhile True: s.split(',')", ("items", "live_bytes", "fuel")),
    "counter_elements": ("from collections import Counter\nlist(Counter(a=10 ** 9).elements())", "items"),
    "format_positional": ("'{0}{0}{0}{0}'.format('x' * 900000)", "string_chars"),
    "fields_pile": (
        "class C: pass\nc = C()\ni = 0\nwhile True:\n  setattr(c, 'f%d' % i, i)\n  i += 1",
        ("items", "live_bytes", "fuel"),
    ),
    "many_parameters": (f"def f({ARGUMENTS}): pass\nwhile True: f({ARGUMENTS.replace(',', '=1,')}=1)", "fuel"),
    "frames_with_many_slots": (
        f"def g({ARGUMENTS}): yield 1\na = []\nwhile True: a.append(g(*range(2000)))",
        ("live_bytes", "fuel"),
    ),
    "slices_kept": ("s = 'x' * 900000\na = []\nwhile True: a.append(s[1:])", "live_bytes"),
}
# "### name: the limits it may reach", then the script
TEXT = (pathlib.Path(__file__).parent / "hostile.txt").read_text()
for name, limits, body in re.findall(r"^### (\w+): (.*)\n((?:(?!###).*\n)*)", TEXT, re.MULTILINE):
    LIMITED[name] = (body, tuple(limits.split()) if " " in limits else limits)


def ended(checked):
    """A run of a script whose agents all say the same."""
    run = mas.start(checked, "q")
    while run.result is None:
        run.advance({call.id: "r" for call in run.pending})
    return run


_SLOW = """
    batches_without_end class_pile exceptions_of_exceptions flags_without_end function_attributes generator_never_closes
    heap_of_equals huge_range_sum messages_kept named_tuples_shared namedtuple_pile range_index_of_text
    regex_large_program regex_scans_in_vain shared_as_group tasks_without_end
"""
SLOW = _SLOW.split()


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in LIMITED]
)
def test_ends_at_a_limit(name):
    """Under the default limits, which is what they bound."""
    source, expected = LIMITED[name]
    checked = mas.check(source)
    began = time.process_time()
    result = ended(checked).result
    assert (result.status, result.content) == ("limit", "")
    assert result.reason in ((expected,) if isinstance(expected, str) else expected)
    assert time.process_time() - began < 6


@pytest.mark.slow
@pytest.mark.parametrize("name", LIMITED)
def test_ends_in_the_same_way_again(name):
    checked = mas.check(LIMITED[name][0])
    assert ended(checked).result == ended(checked).result


AFTER_A_REPLY = "import workflow\nworkflow.AgentNode('A', 'x')(workflow.Context())\n"


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_well_behaved_siblings_of_hostile_scripts_are_untouched(every):
    """Every so many of the scripts, under the default limits; every second one strikes after a reply."""
    hostile = [source for source, _ in (*LIMITED.values(), *REFUSED.values())] + list(CAUGHT.values())
    hostile = hostile[::every]
    assert len(hostile) > 200 / every
    checked = mas.check(TREE)
    result, _, printed = finish(checked, lambda pending: pending)
    siblings, ends, waited = [], 0, 0
    for index, source in enumerate(hostile):
        siblings += [mas.start(checked, "What is 1+1?", tools=TOOLS) for _ in range(3 - len(siblings))]
        run = None
        with contextlib.suppress(mas.DesignError):
            run = mas.start(mas.check(source if index % 2 else AFTER_A_REPLY + source), "q")
        waited += run is not None and run.result is None
        while True:
            sibling = siblings[index % 3]
            for _ in range(every):
                if sibling.result is None:
                    sibling.advance({sibling.pending[0].id: fixed_reply(sibling.pending[0])})
            if run is None or run.result is not None:
                break
            run.advance({call.id: "r" for call in run.pending})
        for sibling in [sibling for sibling in siblings if sibling.result is not None]:
            assert (sibling.result, sibling.printed) == (result, printed)
            siblings.remove(sibling)
            ends += 1
    assert ends > 3 and waited > 50 / every
    for sibling in siblings:
        while sibling.result is None:
            sibling.advance({call.id: fixed_reply(call) for call in sibling.pending})
        assert (sibling.result, sibling.printed) == (result, printed)


def test_the_shape_of_a_hostile_script_is_read_in_bounded_time():
    refused = 0
    for source in [*(source for source, _ in LIMITED.values()), *CAUGHT.values()]:
        try:
            checked = mas.check(source)
        except mas.DesignError as error:  # what is caught elsewhere, here nothing catches
            assert error.kind in ("name", "argument", "import")
            refused += 1
            continue
        began = time.process_time()
        assert f"pattern: {mas.pattern(checked)}\nnodes: {len(mas.graph(checked).nodes)}\n" in mas.describe(checked)
        assert time.process_time() - began < 3
    assert refused < 10


def test_nothing_of_a_script_runs_after_a_limit():
    source = LIMITED["limit_not_caught"][0]
    assert machine(source) == "limit: fuel\n"


REFUSED = {
    "dunder_attribute": ("().__class__.__bases__[0].__subclasses__()", "forbidden"),
    "dunder_globals": ("(lambda: 0).__globals__", "forbidden"),
    "dunder_code": ("def f(): pass\nf.__code__", "forbidden"),
    "dunder_builtins": ("__builtins__", "forbidden"),
    "dunder_import": ("__import__('os')", "forbidden"),
    "dunder_in_class": ("class C:\n  def __getattribute__(self, name): pass", "forbidden"),
    "dunder_keyword": ("f(__class_made__=1)", "forbidden"),
    "dunder_reduce": ("class C:\n  def __reduce__(self): pass", "forbidden"),
    "dunder_del": ("class C:\n  def __del__(self): pass", "forbidden"),
    "import_subprocess": ("import subprocess", "import"),
    "import_ctypes": ("from ctypes import CDLL", "import"),
    "import_socket": ("import socket as s", "import"),
    "import_importlib": ("import importlib", "import"),
    "import_signal": ("import signal", "import"),
    "import_relative": ("from . import x", "import"),
    "bytes": ("b'x'", "unsupported"),
    "complex": ("1j", "unsupported"),
    "async_yield_from": ("async def f():\n  yield from [1]", "syntax"),
    "except_star": ("try:\n  pass\nexcept* ValueError:\n  pass", "unsupported"),
    "return_outside": ("return 1", "syntax"),
    "break_outside": ("break", "syntax"),
    "yield_outside": ("x = yield 3", "syntax"),
    "yield_from_outside": ("yield from [1]", "syntax"),
    "yield_in_class": ("class C:\n  yield 1", "syntax"),
    "yield_in_comprehension": ("def f():\n  return [(yield x) for x in 'a']", "syntax"),
    "yield_in_lambda": ("f = lambda: (yield)", "syntax"),
    "nonlocal_module": ("nonlocal x", "syntax"),
    "duplicate_argument": ("def f(a, a): pass", "syntax"),
    "two_stars": ("*a, *b = [1]", "syntax"),
    "lone_star": ("print(*a if 1 else b)\n*a", "syntax"),
    "walrus_in_class": ("class C:\n  x = [(y := 1) for _ in 'a']", "syntax"),
    "walrus_in_iterable": ("x = [a for a in (b := [1])]", "syntax"),
    "walrus_over_iterated": ("x = [(a := 2) for a in [1]]", "syntax"),
    "null_byte": ("x = 1\0", "syntax"),
    "surrogate": ("x = '\ud800'", "syntax"),
    "unterminated": ("x = 'abc", "syntax"),
    "indent": ("if 1:\nx = 1", "syntax"),
    "parentheses": ("(" * 60000, ("syntax", "too_large")),
    "megabyte": ("(" * 1_000_000, "too_large"),
    "deep_unary": ("x = " + "-" * 5000 + "1", "too_large"),
    "deep_not": ("x = " + "not " * 5000 + "1", "too_large"),
    "deep_attributes": ("x" + ".a" * 5000, "too_large"),
    "deep_calls": ("f(" * 90 + ")" * 90 + "(1)" * 5000, "too_large"),
    "long_sum": ("x = " + "1+" * 20000 + "1", "too_large"),
    "many_nodes": ("x = 1\n" * 9000, "too_large"),
    "deep_lists": ("x = " + "[" * 150 + "]" * 150, "too_large"),
    "deep_blocks": ("".join("  " * i + "if 1:\n" for i in range(120)) + "  " * 120 + "pass", ("too_large", "syntax")),
    "huge_int": ("x = 0x" + "f" * 60000, "too_large"),
    "decimal_int": ("x = " + "9" * 60000, ("too_large", "syntax")),
    "tabs_and_spaces": ("if 1:\n\tx = 1\n        y = 2", "syntax"),
    "nested_fstrings": ("f'{" * 2000, ("syntax", "too_large")),
    "look_alike_dunder": ("().__ｃlass__.__bases__", "forbidden"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_is_refused_before_it_runs(name):
    source, kinds = REFUSED[name]
    began = time.process_time()
    with pytest.raises(mas.DesignError) as caught:
        mas.check(source)
    assert caught.value.kind in ((kinds,) if isinstance(kinds, str) else kinds)
    assert caught.value.line >= 1 and caught.value.column >= 1 and caught.value.reason
    assert time.process_time() - began < 3


CAUGHT = {
    "eval": "eval('1')",
    "exec": "exec('x = 1')",
    "open": "open('/etc/passwd')",
    "input": "input()",
    "globals": "globals()",
    "locals": "locals()",
    "id": "id(1)",
    "hash": "hash(object())",
    "getattr_dunder": "getattr((), '__class__')",
    "getattr_dunder_built": "getattr((), '__cl' + 'ass__')",
    "hasattr_walk": "getattr(getattr(1, 'real'), 'imag')",
    "format_attribute": "'{0.__class__}'.format(1)",
    "format_index": "'{0[0]}'.format([1])",
    "format_map_attribute": "'{x.__init__}'.format_map({'x': 1})",
    "percent_key": "'%(a)s' % [1]",
    "getattr_new": "getattr(object, '__new__')",
    "getattr_mro": "class C: pass\ngetattr(C, '__mro__')",
    "make_of_no_class": "object.__new__(1)",
    "abstract": "from abc import *\nclass A(ABC):\n  @abstractmethod\n  def f(self): pass\nA()",
    "protocol_not_runtime": "from typing import Protocol\nclass P(Protocol):\n  def f(self): pass\nisinstance(1, P)",
    "hash_no_number": "class C:\n  def __eq__(self, o): pass\n  def __hash__(self): return 'a'\n{C()}",
    "setattr_dunder": "class C: pass\nsetattr(C, '__eq__', 1)",
    "generator_frame": "(x for x in []).gi_frame",
    "function_closure": "(lambda: 0).func_globals",
    "traceback_frame": "try:\n    1 / 0\nexcept Exception as e:\n    e.tb_frame",
    "string_method_mro": "str.mro()",
    "metaclass_body": "class M(type): pass\nM('X', (), {'__getattribute__': 1})",
    "type_makes_classes": "type('X', (), {'__reduce__': 1})",
    "derive_from_bool": "class X(bool): pass",
    "os_system": "import os\nos.system('true')",
    "sys_modules": "import sys\nsys.modules",
    "os_environ": "import os\nos.environ['HOME']",
    "typing_escape": "import typing\ntyping.sys",
    "match_string": "import re\nre.search('a', 'a').regs",
    "backreference": "import re\nre.compile(r'(a)\\1')",
    "lookahead": "import re\nre.compile('(?=a)')",
    "bad_regex": "import re\nre.compile('[')",
    "shared_class": "from workflow import AgentNode\nAgentNode.process = lambda self, c: c",
    "shared_exception": "ValueError.x = 1",
    "shared_type": "str.upper = 1",
    "message_type": "from workflow import MessageType\nMessageType.ERROR.value = 'x'",
    "module_member": "import math\nmath.pi = 3",
    "encode": "'a'.encode('rot13')",
    "power_complex": "(-8) ** 0.5",
}


@pytest.mark.parametrize("name", CAUGHT)
def test_raises_an_error_that_the_script_can_catch(name):
    body = "\n".join("    " + line for line in CAUGHT[name].splitlines())
    assert machine(f"try:\n{body}\n    print('done')\nexcept Exception as e:\n    print('caught')") == "caught\n"


def test_shadowing_of_builtins_stays_in_one_execution():
    source = HEAD + "len = lambda x: 42\nstr = None\nprint(len([]))\nclass Workflow: pass\nMessage = 5"
    assert machine(source) == "42\n"
    assert machine("print(len([]), str(1))") == "0 1\n"


def test_script_state_does_not_leak_between_executions():
    source = "import sys, os\nsys.path.append(1)\nos.environ['A'] = 'b'\nprint(sys.path, os.environ)"
    assert machine(source) == machine(source) == "[1] {'A': 'b'}\n"


def test_regex_that_explodes_elsewhere_is_quick():
    began = time.process_time()
    assert machine("import re\nprint(re.search(r'(a|a)*(a|a)*(a|a)*b', 'a' * 5000))") == "None\n"
    assert time.process_time() - began < 2


def test_replies_that_look_like_code_or_markers_are_text():
    source = HEAD + "a = AgentNode('A', 'x')\nr = Workflow().add_node(a).run(question)\nprint(f'{r.content}'.format(1))"
    for reply in ("{0.__class__}", "__import__('os').system('true')", "%s%n", "</code>", "\x00\ud800", "{" * 1000):
        run, _ = drive(source, lambda call, reply=reply: reply)
        assert run.result.status in ("ok", "error") and run.result.calls == 1


def test_printing_an_answer_is_not_a_result():
    result = mas.start(mas.check("print('FINAL ANSWER: \\\\boxed{42}')"), "q").result
    assert (result.status, result.content, result.origin_call) == ("error", "", None)
    assert "without running a workflow" in result.reason


def test_agent_call_flood_ends_at_the_limit():
    source = HEAD + "a = AgentNode('A', 'x')\nwhile True: a(Context())"
    run, batches = drive(source, lambda call: "r", limits=mas.Limits(agent_calls=5))
    assert (run.result.status, run.result.reason) == ("limit", "agent_calls")
    assert len(batches) == 5


def test_prompt_characters_are_limited():
    source = HEAD + "a = AgentNode('A', 'x' * 900000)\nwhile True: a(Context())"
    run, batches = drive(source, lambda call: "r")
    assert (run.result.status, run.result.reason, len(batches)) == ("limit", "prompt_chars", 4)


def test_giant_replies_are_cut():
    source = HEAD + "a = AgentNode('A', 'x')\nprint(len(Workflow().add_node(a).run(question).content))"
    run, _ = drive(source, lambda call: "x" * 5_000_000)
    assert run.printed == "200000\n"


def test_cpython_agrees_that_the_helper_sees_errors():
    assert cpython("1 / 0") == machine("1 / 0") == "ZeroDivisionError: division by zero\n"


@pytest.mark.parametrize(
    "unit", ["<delivery>", "<code>", "<solution>", "<tool_call>", "\\boxed{", "}", "VERDICT ", "VERDICT: ", "```\n",
             "```python\n", "FINAL ANSWER:", "\\frac{", "Workflow",
             "from workflow import x\n", "1,", "n't ", " ", "correct"],
)  # fmt: skip
def test_reading_repetitive_text_takes_linear_time(unit):
    text = (unit * 200_000)[:200_000]
    began = time.process_time()
    for task_type in ("math", "code", "text"):
        texts.vote_key(text, task_type)
        texts.compact(text, task_type, "...")
    texts.entry(text, "...")
    texts.approves(text)
    texts.tool_call(text)
    texts.python_block(text)
    with contextlib.suppress(mas.DesignError):
        mas.parse_design(text * 5)
    assert time.process_time() - began < 3


def test_the_last_complete_box_is_found_among_broken_ones():
    assert texts.boxed("\\boxed{1} \\boxed{\\frac{1}{2}} \\boxed{3") == ("\\frac{1}{2}", 10)
    assert texts.boxed("} \\boxed{a{b}c} }") == ("a{b}c", 2)
    assert texts.boxed("\\boxed{out \\boxed{in}}") == ("in", 11)
    assert texts.boxed("\\boxed{") is None
