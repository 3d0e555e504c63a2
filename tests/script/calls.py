"""Every callable of the script language with large, huge and odd arguments: what a call costs in time and memory.

What is called is read from the interpreter's own tables, so that a function added later is covered without anyone
remembering it: the built-in functions and types, every importable module with the classes that it defines, the methods
and properties of every type, and the operators, which are written below as functions. Which arguments fit is found by
trying small values of each kind; what fits is then called with the large values of the same kinds.

A case is called again and again for a few milliseconds, and then with every result kept alive under `tracemalloc`.
Time is CPU time a unit of fuel, in units of a loop of plain Python that is timed beside it, scaled to microseconds on
the quiet core on which the loop took `QUIET_US` a turn.

Command: python tests/script/calls.py PART PARTS [EVERY] prints one JSON line a case, for every so many of them.
"""

import ast
import dataclasses
import functools
import gc
import hashlib
import inspect
import itertools
import json
import pathlib
import resource
import subprocess
import sys
import threading
import time
import tracemalloc
from collections import deque
from types import GeneratorType, SimpleNamespace
from typing import ClassVar

if __name__ == "__main__":
    sys.path[:0] = [str(pathlib.Path(__file__).parent.parent.parent)]

from mxjax import mas
from mxjax.mas.execution import INTERNAL, ScriptRun
from mxjax.mas.library.core import Host
from mxjax.mas.limits import Meter
from mxjax.mas.machines import ALL_MODULES, NAMES
from mxjax.mas.prompts import NAMED
from mxjax.script.attributes import METHODS, OF_OBJECTS, PROPERTIES
from mxjax.script.compiler import compile_tree
from mxjax.script.frames import Invoke
from mxjax.script.library import BUILTINS
from mxjax.script.machine import Machine
from mxjax.script.names import ALLOWED_DUNDERS
from mxjax.script.scopes import analyse
from mxjax.script.values import (
    BuiltinType,
    Class,
    CounterDict,
    DefaultDict,
    Function,
    Generator,
    HostIterator,
    Instance,
    Module,
    Native,
    Raised,
    Set,
    Wrapper,
)

QUIET_US = 0.1  # a turn of the loop of `calibrate`, on a core with nothing else to do
SCREENED = mas.Limits(fuel=150_000)  # enough to tell what a unit costs; the worst run under the default limits
SCREEN_S, KEEP_S = 0.003, 0.004  # how long a case is called again and again, and kept
NOISE = 200_000  # bytes that the host keeps for objects of its own, whatever a script holds
FREE_S, FREE_MB = 0.06, 4.0  # that no script has to pay for
LAW_US, LAW_MB = 6.0, 32.0  # a unit of fuel, and the peak of memory: twice `live_bytes`
FAULTS = set()  # of the interpreter itself, which no call may bring about
MOST_FULL = 12  # cases that one process runs in full
MOST_ROUNDS = 1000
HANGS_S = 30  # seconds of CPU after which a process that measures is ended, and its case counts as endless

# Values

PRELUDE = """
import re, json, collections, logging, sys, hashlib, itertools, random, contextlib, enum, dataclasses
import functools, string, workflow
from enum import Enum, IntEnum, Flag
from collections import Counter, defaultdict, deque, namedtuple
class Own:
    x = 1
    def __init__(self, n=3): self.n = n
    def __eq__(self, other): return self is other
    def __hash__(self): return 7
    def __lt__(self, other): return True
    def __iter__(self): return iter([1, 2])
    def __len__(self): return 3
    def __getitem__(self, key):
        if key == 3: raise IndexError
        return key
    def __call__(self, *values, **named): return 1
    def __contains__(self, item): return False
    def __add__(self, other): return self
    def __radd__(self, other): return self
    def __repr__(self): return 'o'
    def __bool__(self): return True
    def __float__(self): return 0.5
    def __index__(self): return 1
    def __int__(self): return 1
    def __abs__(self): return 1
    def __round__(self, n=0): return 1
    def __enter__(self): return self
    def __exit__(self, *error): return False
    def __matmul__(self, other): return self
class Plain: pass
class Word(str, Enum):
    A = 'ab' + 'a' * 200000
class Short(str, Enum):
    A = 'a'
class Bits(Flag):
    A = 1 << 4000
    B = 2
Point = namedtuple('Point', 'x y')
@dataclasses.dataclass
class Data:
    x: int = 1
    y: object = None
def deep(n=80):
    made = [1]
    for i in range(n): made = [made]
    return made
def shared(n=14):
    made = (1,)
    for i in range(n): made = (made, made)
    return made
def steps(n=30000):
    for i in range(n): yield i
def forever():
    while True: yield 1
def named(n=3000):
    return {'k%d' % i: i for i in range(n)}
class Wide: pass
for i in range(900): setattr(Wide, 'f%d' % i, i)
def wide():
    made = Wide()
    for i in range(900): setattr(made, 'f%d' % i, i)
    return made
"""
# By kind: a small value, and large, huge and odd ones. What begins with `lambda:` or `lambda x` is made for each call.
KINDS = {
    "none": ("None", ()),
    "int": ("3", ("0", "-1", "10 ** 6", "(1 << 32000) - 1", "-(1 << 31999)", "1 << 63")),
    "float": ("2.5", ("float('nan')", "float('inf')", "-1e308", "0.0")),
    "text": ("'ab'", (
        "'a' * 1000000", "'\\u00e9' * 900000", "'\\U0001F600' * 200000", "'ab, ' * 240000", "'{}%s\\n' * 150000",
        "'9' * 4000", "'a'", "'ab' + 'a' * 400000", "'[1,' * 50000", "' ' * 900000", "'[[],\"a\"]' * 1000")),
    "letter": ("'n'", ("'\\u00e9'", "' '")),
    "list": ("[3, 1, 2]", (
        "list(range(40000))", "[0] * 60000", "['ab'] * 60000", "[1.5, -2] * 20000", "['a' * 1000000] * 300",
        "deep()", "[shared()] * 50", "[Own(i) for i in range(300)]", "[[i] for i in range(30000)]",
        "[(i,) for i in range(30000)]", "[(1 << 32000) - i for i in range(200)]", "[print] * 40000",
        "[Short.A] * 40000", "['a' * 900000 + str(i) for i in range(9)]")),
    "texts": ("['ab', 'c']", ("['ab'] * 60000", "['\\u00e9'] * 60000", "[Short.A] * 40000")),
    "pairs": ("[(1, 2)]", ("[(i, i) for i in range(40000)]", "[['a', 1]] * 40000")),
    "lists": ("[[1, 2]]", ("[[1, 2]] * 40000", "[list(range(20000))] * 3", "[steps()] * 9", "[range(300)] * 300")),
    "tuple": ("(1, 2)", ("tuple(range(40000))", "(0,) * 190000", "shared()", "('ab',) * 60000", "(int,) * 40000")),
    "dict": ("{'a': 1}", (
        "dict.fromkeys(range(20000))", "named(20000)", "{Own(i): i for i in range(300)}",
        "{'a' * 900000 + str(i): i for i in range(5)}", "{(i, shared(5)): 1 for i in range(500)}", "{'a': deep()}",
        "dict.fromkeys(range(20000), [])")),
    "set": ("{1, 2}", (
        "set(range(20000))", "{Own(i) for i in range(300)}", "{'a' * 900000 + str(i) for i in range(5)}",
        "frozenset(range(20000))", "set(map(str, range(20000)))")),
    "deque": ("deque([1, 2])", ("deque(range(40000))", "deque([0] * 60000)", "deque([shared()], 3)")),
    "Counter": ("Counter('ab')", (
        "Counter(range(20000))", "Counter({i: 9 for i in range(9000)})", "Counter(a=10 ** 9)")),
    "defaultdict": ("defaultdict(int, {1: 2})", ("defaultdict(list, dict.fromkeys(range(20000)))",)),
    "range": ("range(3)", ("range(10 ** 12)", "range(190000)", "range(0)", "range(10 ** 9, 0, -7)")),
    "bytes": ("'ab'.encode()", ("('a' * 1000000).encode()", "('\\u00e9' * 400000).encode()")),
    "function": ("lambda *values, **named: 1", ()),
    "class": ("Own", ("int", "Plain", "list", "dict", "Wide")),
    "iterator": ("lambda: iter([3, 1, 2])", (
        "lambda: steps()", "lambda: itertools.count()", "lambda x=range(30000): map(str, x)",
        "lambda x='a' * 60000: enumerate(x)", "lambda x=[0] * 40000: zip(x, x)", "lambda x=[0] * 60000: iter(x)",
        "lambda x=['ab'] * 30000: map(len, x)", "lambda: itertools.repeat('ab', 60000)")),
    "generator": ("lambda: steps(3)", ("lambda: steps()", "lambda: forever()")),
    "pattern": ("re.compile('a+')", (
        "re.compile('(a)|(b)|c')", "re.compile('((x?){300})y')", "re.compile('(?i)\\\\w*')", "re.compile('a.*b|a')")),
    "match": ("re.search('(?P<x>a)', 'ab')", (
        "re.search('(a)' + '(b)?' * 2000, 'a' * 900000)", "re.search('(?P<x>a*)', 'a' * 900000)",
        "re.search('b(?P<x>a*)', 'b' + 'a' * 900000)")),
    "object": ("Own()", (
        "Plain()", "Point(1, 2)", "Data(1, deep())", "wide()", "Data('a' * 900000, list(range(50000)))")),
    "enum": ("Short.A", ("Word.A", "Bits.A", "Bits.B")),
    "slice": ("slice(1, 2)", ("slice(None, None, -1)", "slice(0, 10 ** 9, 7)", "slice(None)", "slice(0, 1 << 200)")),
    "exception": ("ValueError('a')", ("ValueError('a' * 900000)", "KeyError(list(range(50000)))")),
    "error": ("ValueError", ()),
    "view": ("{'a': 1}.items()", (
        "dict.fromkeys(range(20000)).items()", "dict.fromkeys(range(20000)).keys()",
        "dict.fromkeys(range(20000)).values()")),
    "hash": ("hashlib.sha256()", ("hashlib.md5(('a' * 1000000).encode())", "hashlib.blake2b()")),
    "decoder": ("json.JSONDecoder()", ()),
    "random": ("random.Random(1)", ()),
    "property": ("property(len)", ()),
    "handle": ("logging.getLogger()", ()),
    "output": ("sys.stdout", ()),
    "module": ("json", ()),
    "template": ("string.Template('$a')", ("string.Template('$a ' * 100000)",)),
    "message": ("workflow.Message('a')", ("workflow.Message('a' * 900000)",)),
    "context": ("workflow.Context(messages=[workflow.Message('a')])", (
        "workflow.Context(messages=[workflow.Message('a' * 9000)] * 100)",)),
    "message_type": ("workflow.MessageType.ERROR", ()),
    "node": ("workflow.AgentNode('a', 'b')", ("workflow.AgentNode('a', 'b' * 900000)",)),
    "nodes": ("[workflow.AgentNode('a', 'b')] * 2", ("[workflow.AgentNode('a', 'b')] * 30000",)),
}  # fmt: skip
# Objects of the classes that modules define, by the class: how one is made where its methods are called
EXAMPLES = {
    "_sync.Condition": ("_sync.Condition(_sync.Lock())",),
    "asyncio.Task": ("asyncio.create_task(asyncio.sleep(0))",),
    "asyncio.timeout": ("asyncio.timeout(1)",),
    "collections.ChainMap": (
        "collections.ChainMap({'a': 1}, {3: 1})", "collections.ChainMap(dict.fromkeys(range(20000)))"),
    "collections.UserDict": ("collections.UserDict({'a': 1})", "collections.UserDict(dict.fromkeys(range(20000)))"),
    "collections.UserList": ("collections.UserList([1, 2])", "collections.UserList(range(30000))"),
    "concurrent.futures.DoneAndNotDoneFutures": ("concurrent.futures.DoneAndNotDoneFutures(set(), set())",),
    "concurrent.futures.Executor": ("concurrent.futures.ThreadPoolExecutor(2)",),
    "contextlib.suppress": ("contextlib.suppress(ValueError)", "contextlib.suppress(*[ValueError] * 30000)"),
    "datetime.date": ("datetime.date(2024, 2, 29)",),
    "datetime.datetime": ("datetime.datetime(2024, 2, 29, 1, 2, 3, 4)",),
    "datetime.time": ("datetime.time(1, 2, 3)",),
    "datetime.timedelta": ("datetime.timedelta(1, 2, 3)",),
    "datetime.timezone": ("datetime.timezone(datetime.timedelta(hours=1))",),
    "decimal.Context": ("decimal.Context(prec=28)", "decimal.Context(prec=1000)"),
    "decimal.Decimal": (
        "decimal.Decimal('2.5')", "decimal.Decimal('9' * 4000)", "decimal.Decimal('1e9000')", "decimal.Decimal('nan')"),
    "decimal.DecimalTuple": ("decimal.Decimal('2.5').as_tuple()",),
    "decimal.localcontext": ("decimal.localcontext()",),
    "fractions.Fraction": (
        "fractions.Fraction(1, 3)",
        "fractions.Fraction((1 << 32000) - 1, 3)", "fractions.Fraction(1, (1 << 16000) - 1)"),
    "functools.partial": ("functools.partial(len)", "functools.partial(print, *range(20000))"),
    "io.StringIO": ("io.StringIO('ab\\nc')", "io.StringIO('a' * 1000000)", "io.StringIO('\\n' * 100000)"),
    "io.TextIOWrapper": ("io.TextIOWrapper('ab\\nc')",),
    "pprint.PrettyPrinter": ("pprint.PrettyPrinter()",),
    "threading.Thread": ("threading.Thread(target=print)",),
    "threading.Timer": ("threading.Timer(1, print)",),
    "threading.Barrier": ("threading.Barrier(1)",),
    "time.struct_time": ("time.localtime()",),
    "types.MappingProxyType": (
        "types.MappingProxyType({'a': 1})", "types.MappingProxyType(dict.fromkeys(range(20000)))"),
    "types.SimpleNamespace": ("types.SimpleNamespace(a=1)",),
    "uuid.UUID": ("uuid.UUID(int=5)",),
    "enum.Enum": ("enum.StrEnum('A', 'B C').B",),
    "enum.IntEnum": ("enum.IntEnum('A', 'B C').B",),
    "enum.StrEnum": ("enum.StrEnum('A', 'B C').B",),
    "enum.Flag": ("enum.Flag('A', 'B C').B", "enum.Flag('A', ['f%d' % i for i in range(500)])(7)"),
    "enum.IntFlag": ("enum.IntFlag('A', 'B C').B",),
    "string.Template": ("string.Template('$a')", "string.Template('$a ' * 100000)"),
    "workflow.Context": ("workflow.Context(messages=[workflow.Message('a')])",),
    "workflow.AgentNode": ("workflow.AgentNode('a', 'b')",),
    "workflow.EnsembleNode": ("workflow.EnsembleNode('a', [workflow.AgentNode('a', 'b')] * 2)",),
    "workflow.ReflectionNode": ("workflow.ReflectionNode('a', workflow.AgentNode('a', 'b'))",),
    "workflow.DebateNode": ("workflow.DebateNode('a', [workflow.AgentNode('a', 'b')] * 2)",),
    "workflow.RouterNode": (
        "workflow.create_keyword_router('a', {'a': workflow.AgentNode('a', 'b')}, workflow.AgentNode('a', 'b'))",),
    "workflow.Message": ("workflow.Message('a')",),
    "workflow.Workflow": ("workflow.Workflow()",),
    "workflow.ConditionalWorkflow": ("workflow.ConditionalWorkflow()",),
    "workflow.LoopWorkflow": ("workflow.LoopWorkflow()",),
    "workflow.AgentGraph": ("workflow.AgentGraph('a')",),
    "workflow.ToolRegistry": ("workflow.ToolRegistry()",),
    "threading.RLock": ("threading.RLock()",),
    "asyncio.Future": ("asyncio.Future()",),
}  # fmt: skip
# The kinds that are tried as arguments of everything; the others only where they own the method
_TRIED = """
    none int float text list texts pairs lists tuple dict set deque Counter range bytes function class
    iterator pattern object enum slice exception error view message context node nodes letter template message_type
"""
TRIED = _TRIED.split()
TRIED_THIRD = ["none", "int", "text", "list", "function", "dict"]


EXPRESSIONS = """
a + b;a - b;a * b;a / b;a // b;a % b;a ** b;a @ b;a << b;a >> b;a & b;a | b;a ^ b;a and b;a or b;not a;-a;+a;~a
a == b;a != b;a < b;a <= b;a > b;a >= b;a in b;a not in b;a is b;a is not b;a if b else 1;a[b];a[b:];a[:b];a[::b]
a[::-1];a[::2];[*a];[*a, *b];(*a, *b);{*a};{*a, *b};{**a};{**a, **b};[a, b];(a, b);{a, b};{a: b}
f'{a}';f'{a!r}';f'{a!s:>9}';f'{a!a}';f'{a:{b}}';f'{a}{b}';f'{a:,}';f'{a:.3f}';f'{a:x}'
'%s' % a;'%r' % (a,)
'%s %s' % (a, b)
[x for x in a];{x for x in a};{x: x for x in a};(x for x in a);[x for x in a for y in b];[y for x in a if x == b]
print(*a);max(*a);dict(**a);a(*b);a(**b);a(b);a.x;lambda x=a: b;a[1, b];(y := a);sorted(a, key=b);a[b](a);str(a)
"""
STATEMENTS = (
    *(f"a {symbol}= b" for symbol in ("+", "-", "*", "/", "//", "%", "**", "@", "<<", ">>", "&", "|", "^")),
    "a[b] = b", "a[:] = b", "a[::2] = b", "a[:0] = b", "a[b:] = a", "del a[b]", "del a[:]", "del a[::2]", "x, y = a",
    "x, *y = a", "*x, y = a", "x, y, z = a", "for x in a: pass", "for x in a: break", "a.x = b",
    "a.x = b; del a.x", "a.x += b",
    "a[b] += b", "assert a, b", "raise a", "raise a from b", "with a: pass", "with a as x: pass",
    "for x, y in a: pass", "try: raise a\nexcept b: pass",
    "try: raise ValueError(a)\nexcept ValueError as e: x = e", "match a:\n  case [x, y]: pass",
    "match a:\n  case [x, *y]: pass", "match a:\n  case {'a': x, **y}: pass", "match a:\n  case str() | int(): pass",
    "match a:\n  case list(x): pass", "match a:\n  case 'ab' | 3: pass", "match a:\n  case _ if a == b: pass",
    "match a:\n  case (x, y) as z: pass", "match a:\n  case []: pass", "match a:\n  case Point(x, y): pass",
    "def g(x=a, *, y=b): pass\ng()", "class C: x = a", "class C(a): y = b", "class C(metaclass=a): y = b",
    "def g(*x): pass\ng(*a)", "def g(**x): pass\ng(**a)", "def g(): yield from a\nfor x in g(): pass",
    "def g():\n  nonlocal a\n  a = b\ng()", "while a: break",
    "def g():\n  y = yield a\nx = g()\nnext(x)\nx.close()", "async def g(): return await a\nx = g()\nx.close()",
    "x = y = a", "for i, x in enumerate(a): pass", "x = a; del x", "x = (y for y in a)\nfor y in x: pass",
)  # fmt: skip
UNROLLED = 8


def operators():
    """Each operator by its text, as a function of the language that applies it several times."""
    for text in EXPRESSIONS.strip().replace("\n", ";").split(";"):
        yield text, f"def VALUE(a=None, b=None):\n  return [{', '.join([text] * UNROLLED)}]\n"
    for text in STATEMENTS:
        body = "".join("  " + line + "\n" for line in text.splitlines()) * UNROLLED
        yield text, f"def VALUE(a=None, b=None):\n{body}  return a\n"


def host():
    """What the library asks of the harness, with no tools."""
    return Host(NAMED["short"], "math", {}, examples=())


@functools.lru_cache(1000)
def compiled(source):
    """The code of a script, which may use names that no design has."""
    tree = ast.parse(source)
    return compile_tree(tree, analyse(tree), mas.Limits(), ALL_MODULES)


def run_source(source, limits=None, given=None):
    """A finished run of a script; agents all say the same."""
    limits = limits or mas.Limits()
    design = SimpleNamespace(source=source, code=compiled(source), limits=limits)
    machine = Machine(design.code, limits, NAMES, ALL_MODULES, {"__name__": "__main__", **(given or {})}, Meter(64))
    machine.host = host()
    run = ScriptRun(design, "q", machine, 0)
    run._settle()
    while run.result is None:
        run.advance({call.id: "r" for call in run.pending})
    if INTERNAL in run.result.reason:
        FAULTS.add(run.result.reason)
    return run


AMPLE = mas.Limits(fuel=10**9, live_bytes=10**10, string_chars=10**8)


@functools.cache
def evaluated(expression):
    """The value of an expression of the language after the prelude."""
    run = run_source(f"{PRELUDE}VALUE = {expression}\n", AMPLE)
    return run._machine.globals["VALUE"]


@functools.cache
def operator_function(source):
    return run_source(PRELUDE + source, AMPLE)._machine.globals["VALUE"]


def is_maker(expression):
    """Whether an expression stands for what it returns, anew for each call."""
    return expression.startswith(("lambda:", "lambda x"))


def fresh(expression):
    """The value of an expression, in which nothing of another case is left."""
    return _copied(evaluated(expression))


def _copied(value):
    kind = type(value)
    if kind in (list, dict, deque, CounterDict):
        return value.copy()
    if kind is DefaultDict:
        made = DefaultDict(value)
        made.factory = value.factory
        return made
    if kind is Set:
        return Set(value.items, value.frozen)
    if kind is Instance and "__members__" not in value.cls.members:
        return Instance(value.cls, {name: _copied(field) for name, field in value.fields.items()}, _copied(value.data))
    return value


# What can be called


@dataclasses.dataclass(frozen=True)
class Target:
    """Something to call.

    Attributes:
      label: its name in reports.
      find: what gives it, a function of the machine as those of `Native`.
      owners: the kinds of its first argument, for a method.
    """

    holds: ClassVar = ()  # of a script

    label: str
    find: object
    owners: tuple = ()


def constant(value):
    return lambda m: value


def member(module, *names):
    """A member of a module, or of a class in it, found in the machine that runs."""

    def find(m):
        made = m.imported.get(module)
        if made is None:
            made = ALL_MODULES[module]
            if type(made) is not Module:
                made = made(m)
                made = (yield from made) if type(made) is GeneratorType else made
            m.imported[module] = made
        value = made.members[names[0]]
        for name in names[1:]:
            value = value.members[name]
            value = value.function if type(value) is Wrapper else value
        return value

    return find


@functools.cache
def all_modules():
    """Every importable module with its members."""
    found = {}

    def collect(m):
        for name in ALL_MODULES:
            made = m.imported.get(name) or ALL_MODULES[name]
            if type(made) is not Module:
                made = made(m)
                made = (yield from made) if type(made) is GeneratorType else made
            m.imported[name] = found[name] = made

    run_source("collect()", AMPLE, {"collect": Native("collect", collect)})
    assert len(found) == len(ALL_MODULES)
    return found


OF_CLASSES = {"__new__", "__class_call__", "__class_made__", "__init_subclass__"}  # their first argument is a class


def values_of(kind):
    """The expressions of a kind, the small one first."""
    if kind in EXAMPLES:
        return EXAMPLES[kind]
    small, large = KINDS.get(kind, ("None", ()))
    return (small, *large)


@functools.cache
def kinds_of_hosts():
    """The kinds whose small value is of each host type."""
    found = {}
    for kind, (small, _) in KINDS.items():
        value = evaluated(small)
        if is_maker(small):
            value = {"iterator": HostIterator(iter(()), ""), "generator": Generator(None, "")}.get(kind, value)
        found.setdefault(type(value), []).append(kind)
    found[Set] = ["set"]
    found[bool] = ["int"]
    return {kind: tuple(names) for kind, names in found.items()}


def targets():
    """Everything that can be called, each function once."""
    found, seen, done = [], set(), set()

    def example(label, of_class):
        if of_class:
            EXAMPLES.setdefault(f"class {label}", (label,))
            return (f"class {label}",)
        EXAMPLES.setdefault(label, (f"{label}()",))
        return (label,)

    def add(label, value, find, owners=()):
        key = getattr(value, "fn", None) or getattr(value, "make", None) or getattr(value, "code", None) or id(value)
        if (key, owners) not in seen:
            seen.add((key, owners))
            found.append(Target(label, find, owners))

    for name, value in BUILTINS.items():
        if type(value) in (Native, BuiltinType, Class):
            add(name, value, constant(value))
            for inner, function in value.members.items() if type(value) is BuiltinType else ():
                add(f"{name}.{inner}", function, constant(function))
    for kind, table in METHODS.items():
        for name, function in table.items():
            owners = kinds_of_hosts().get(kind, ())
            if not name.startswith("__") or name in ALLOWED_DUNDERS:
                add(f"{kind.__name__}.{name}", function, constant(function), owners or (f"no {kind.__name__}",))
    for kind, table in PROPERTIES.items():
        for name, read in table.items():
            function = Native(name, read)
            owners = kinds_of_hosts().get(kind, ())
            add(f"{kind.__name__}.{name}", function, constant(function), owners or (f"no {kind.__name__}",))
    for name, function in OF_OBJECTS.items():
        add(f"object.{name}", function, constant(function), ("object",))
    for module, made in all_modules().items():
        for name, value in made.members.items():
            label, find = f"{module}.{name}", member(module, name)
            if type(value) in (Native, Function, BuiltinType, Class):
                add(label, value, find)
            if type(value) in (BuiltinType, Class) and id(value) not in done:
                done.add(id(value))
                for inner, function in value.members.items():
                    bound = function.kind if type(function) is Wrapper else ""
                    function = function.function if type(function) is Wrapper else function
                    if type(function) in (Native, Function) and not (inner[:1] == "_" and inner not in ALLOWED_DUNDERS):
                        free = type(value) is BuiltinType or inner in OF_CLASSES or bound == "staticmethod"
                        owner = () if free else example(label, bound == "classmethod")
                        add(f"{label}.{inner}", function, member(module, name, inner), owner)
    for text, source in operators():
        found.append(Target(f"`{text}`", lambda m, source=source: operator_function(source)))
    return found


def arity(value):
    """(fewest, most, names) of the arguments that a callable takes by position, and those that it takes by name."""
    if type(value) is Function:
        signature = value.code.signature
        most = 3 if signature.varargs else len(signature.positional)
        names = [*signature.keyword_only, *signature.positional[len(signature.positional) - len(value.defaults) :]]
        return len(signature.positional) - len(value.defaults), most, names
    if type(value) is Class:
        init = value.lookup("__init__")
        if type(init) in (Function, Native):
            fewest, most, names = arity(init)
            return max(0, fewest - 1), max(0, most - 1), names
        return 0, 3, []
    function = value.make if type(value) is BuiltinType else value.fn
    try:
        parts = list(inspect.signature(function).parameters.values())[1:]
    except ValueError:
        return 0, 3, []
    by_place = [p for p in parts if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    most = 3 if any(p.kind is p.VAR_POSITIONAL for p in parts) else len(by_place)
    names = [p.name for p in parts if p.kind is p.KEYWORD_ONLY or (p in by_place and p.default is not p.empty)]
    return sum(p.default is p.empty for p in by_place), most, names


# Which arguments fit


@dataclasses.dataclass(frozen=True)
class Fit:
    """Kinds of arguments that a target takes; `lazy` when it gives an iterator, `named` is the last one's name."""

    holds: ClassVar = ()  # of a script

    kinds: tuple
    named: str = ""
    lazy: bool = False
    raised: bool = False


class Probe:
    """Calls a target with small values of all kinds."""

    holds = ()  # of a script

    def __init__(self, target):
        self.target = target
        self.fits = []
        self.shape = None

    def run(self):
        """The fits found, in the order in which they were tried."""
        owner = [(kind,) for kind in self.target.owners] or [()]
        self.call([])
        if self.shape is None:
            return []
        fewest, most, names = self.shape
        most = min(most, 3 + len(owner[0]))
        tried, module = [], self.target.label.rpartition(".")[0]
        kinds = TRIED + [kind for kind in EXAMPLES if kind.rpartition(".")[0] in (module, module.rpartition(".")[0])]
        for first in owner:
            for more in range(max(0, fewest - len(first)), max(0, min(most - len(first), 2)) + 1):
                tried += [((*first, *rest), "") for rest in itertools.product(kinds, repeat=more)]
        self.call(tried)
        for length in (3, 4):
            if fewest <= length <= most and len(owner[0]) >= length - 3:
                before = [fit for fit in self.fits if len(fit.kinds) == length - 1][:12] or [
                    Fit((*first, *rest))
                    for first in owner
                    for rest in itertools.product(TRIED_THIRD, repeat=length - 1 - len(first))
                ]
                self.call([((*fit.kinds, third), "") for fit in before for third in TRIED_THIRD])
        if names and self.fits:
            some = chosen(self.fits, 3)
            self.call(
                [((*fit.kinds, kind), name) for fit in some for name in names for kind in TRIED_THIRD if not fit.named]
            )
        return self.fits

    def call(self, tried):
        """Tries arguments one after another; goes on in a new machine where one ends the script."""
        queue = deque(tried)

        def probe(m):
            function = self.target.find(m)
            function = (yield from function) if type(function) is GeneratorType else function
            self.shape = arity(function)
            while queue:
                kinds, named = queue.popleft()
                try:
                    values = []
                    for kind in kinds:
                        values.append((yield from made_value(m, kind, values_of(kind)[0])))
                    args, kwargs = (values[:-1], {named: values[-1]}) if named else (values, None)
                    self.now = kinds, named
                    value = yield Invoke(function, tuple(args), kwargs)
                except Raised as error:
                    if error.value.cls.name not in ("TypeError", "AttributeError"):
                        self.fits.append(Fit(kinds, named, False, True))
                else:
                    self.fits.append(Fit(kinds, named, type(value) in (Generator, HostIterator)))
                self.now = None

        while True:
            self.now = None
            run_source("probe()", mas.Limits(fuel=300_000, live_bytes=10**9), {"probe": Native("probe", probe)})
            if self.now is not None:
                self.fits.append(Fit(*self.now))
            if not queue:
                return


@functools.cache
def maker_in_modules(expression):
    """A function of the language that imports what an expression needs and returns its value."""
    module = next(name for name in sorted(all_modules(), key=len, reverse=True) if expression.startswith(name + "."))
    return run_source(f"def VALUE():\n  import {module}\n  return {expression}\n", AMPLE)._machine.globals["VALUE"]


def made_value(m, kind, expression):
    """A value of a kind: of an expression, or in the machine that runs an object of a class of its modules."""
    if kind.startswith("no "):
        raise Raised(Instance(BUILTINS["TypeError"], {"args": (kind,)}))
    if kind in EXAMPLES:
        return (yield Invoke(maker_in_modules(expression)))
    value = fresh(expression)
    if is_maker(expression):
        value = yield Invoke(value)
    return value


@functools.cache
def probed(target):
    return Probe(target).run()


def chosen(fits, most):
    """Few fits in which every kind that fits somewhere stands there at least once."""
    left = {(len(fit.kinds), at, kind, fit.named) for fit in fits for at, kind in enumerate(fit.kinds)}
    found = []
    for fit in sorted(fits, key=lambda fit: (fit.raised, -len(fit.kinds))):
        covers = {(len(fit.kinds), at, kind, fit.named) for at, kind in enumerate(fit.kinds)} & left
        if covers or not fit.kinds:
            found.append(fit)
            left -= covers
    step = max(1, len(found) / most)
    return [found[int(i * step)] for i in range(min(most, len(found)))]


# Cases


@dataclasses.dataclass(frozen=True)
class Case:
    """A target with one expression for each argument."""

    holds: ClassVar = ()  # of a script

    target: Target
    fit: Fit
    values: tuple

    @property
    def label(self):
        shown = [value[:38] or "..." for value in self.values]
        if self.fit.named:
            shown[-1] = f"{self.fit.named}={shown[-1]}"
        return f"{self.target.label}({', '.join(shown)})"


def cases_of(target, most=30):
    """Cases of one target: each argument in turn large, huge and odd, the others all large or all small."""
    fits = chosen(probed(target), 12)
    found = {}
    for fit in fits:
        smalls = tuple(values_of(kind)[0] for kind in fit.kinds)
        larges = tuple(values_of(kind)[:2][-1] for kind in fit.kinds)
        for base in (larges, smalls):
            found[Case(target, fit, base)] = None
            for at, kind in enumerate(fit.kinds):
                for large in values_of(kind)[1:]:
                    found[Case(target, fit, (*base[:at], large, *base[at + 1 :]))] = None
    ordered = sorted(found, key=lambda case: hashlib.md5(case.label.encode()).digest())
    return ordered[:most]


SCRIPT = """
f = find()
{setup}
n = more()
while n:
    try:
        if n > 1:
            {unrolled}
        else:
            {once}
    except BaseException: pass
    n = more()
kept = []
n = keep()
while n:
    try: kept.append([{kept} for _ in range(n)])
    except BaseException as e: kept.append(e)
    n = keep()
done()
"""


def script(case):
    """The source that runs a case; the functions that it is given stand for what is in `Measured`."""
    letters = "abcd"[: len(case.values)]
    lasting = [letter for letter, value in zip(letters, case.values) if not is_maker(value)]
    shown = [letter if letter in lasting else f"make_{letter}()" for letter in letters]
    if case.fit.named:
        shown[-1] = f"{case.fit.named}={shown[-1]}"
    call = f"f({', '.join(shown)})"
    once = f"for x in {call}:\n                if stop(): break" if case.fit.lazy else call
    unrolled = once if case.fit.lazy else "; ".join([call] * UNROLLED)
    setup = "\n".join(f"{letter} = make_{letter}()" for letter in lasting) or "pass"
    return SCRIPT.format(setup=setup, once=once, unrolled=unrolled, kept=f"list({call})" if case.fit.lazy else call)


class Measured:
    """Runs one case and notes what it took; with `endless`, until a limit ends it, `keeping` every result or none."""

    holds = ()  # of a script

    def __init__(self, case, endless=False, keeping=False):
        self.case = case
        self.endless, self.keeping = endless, keeping
        self.rounds = self.steps = self.kept = self.seconds = self.fuel = self.bytes = self.peak = 0
        self.kept_fuel = self.kept_allocated = 0
        self.reason = ""
        self.at = None
        self.tracing = False

    def more(self, m):
        now = time.process_time()
        if self.at is None:
            if self.endless and self.keeping:
                return 0
            self.at = now, m.meter.fuel
            return 1
        self.seconds = now - self.at[0]
        self.rounds += 1
        if self.endless:
            return 8
        enough = self.seconds > SCREEN_S and (self.rounds > 2 or self.seconds > 5 * SCREEN_S)
        if enough or self.rounds > MOST_ROUNDS:
            self.note(m)
            return 0
        return 8 if self.seconds / self.rounds < 5e-5 else 1

    def stop(self, m):
        self.steps += 1
        return not self.endless and (self.steps > 50 * MOST_ROUNDS or time.process_time() - self.at[0] > 2 * SCREEN_S)

    def note(self, m):
        if self.at is not None and not self.fuel:
            self.seconds, self.fuel = time.process_time() - self.at[0], m.meter.fuel - self.at[1]

    def keep(self, m):
        if not self.tracing:
            self.note(m)
            self.tracing = True
            self.kept_at = m.meter.fuel, m.meter.allocated, time.process_time()
            if not self.endless:
                m.measured_at = 1 << 60
            tracemalloc.start()
            self.last = 1
            return 1
        self.kept += self.last
        current, self.peak = tracemalloc.get_traced_memory()
        spent = time.process_time() - self.kept_at[2]
        if not self.endless and (
            self.kept > 20 * MOST_ROUNDS
            or spent > 5 * KEEP_S
            or current > 2 << 20
            or (spent > KEEP_S and current < NOISE)
        ):
            self.note_kept(m)
            return 0
        self.last = 16 if self.endless or spent / self.kept < 1e-4 else 1
        return self.last

    def note_kept(self, m):
        if self.tracing and not self.bytes:
            self.bytes, self.peak = tracemalloc.get_traced_memory()
            self.kept_fuel = m.meter.fuel - self.kept_at[0]
            self.kept_allocated = m.meter.allocated - self.kept_at[1]

    def run(self, limits=None):
        given = {name: Native(name, getattr(self, name)) for name in ("more", "stop", "keep")}
        given["done"] = Native("done", lambda m: None)
        given["find"] = Native("find", self.case.target.find)
        for letter, kind, expression in zip("abcd", self.case.fit.kinds, self.case.values):
            given[f"make_{letter}"] = Native("make", lambda m, k=kind, e=expression: made_value(m, k, e))
        try:
            done = run_source(script(self.case), limits, given)
            self.reason = done.result.reason
            self.note(done._machine)
            self.note_kept(done._machine)
            if done.result.status == "limit" and not self.endless and self.tracing:
                self.kept = max(1, self.kept)
        finally:
            if self.tracing:
                tracemalloc.stop()
        return self


@functools.cache
def _warm():
    return run_source("x = 1")


def calibrate():
    """Seconds of CPU a turn of a loop of additions, a list that grows and shrinks, and a dict that is read."""
    took = []
    table = dict.fromkeys(range(64), 1)
    while len(took) < 3:
        began = time.process_time()
        items, total = [], 0
        for i in range(20_000):
            total += table[i & 63]
            if i & 1:
                items.append(total)
            else:
                total -= items.pop() if items else 0
        took += [seconds / 20_000 for seconds in (time.process_time() - began,) if seconds > 0]
    return min(took)  # some hosts' clocks of CPU time stand still now and then


def screened(case, turn):
    """What a case took a unit of fuel and a result: a dict for JSON; `turn` is what `calibrate` gave."""
    seen = Measured(case).run(SCREENED)
    if seen.reason == "fuel" and (not seen.rounds or not seen.kept) and seen.seconds < 0.05:
        seen = Measured(case).run()  # what is charged before it is done
    scale = QUIET_US * 1e-6 / turn
    kept = max(1, seen.kept)
    held = max(0, seen.bytes - NOISE)
    per_result, fuel = held / kept, max(1, seen.kept_fuel) / kept
    by_fuel = per_result * mas.Limits().fuel / fuel
    by_model = 1.5 * mas.Limits().live_bytes * held / max(1, seen.kept_allocated)
    return {
        "label": case.label, "target": case.target.label,
        "us": max(0, seen.seconds * scale - FREE_S * (not seen.rounds)) * 1e6 / max(1, seen.fuel),
        "seconds": seen.seconds, "fuel": seen.fuel, "rounds": seen.rounds,
        "mb": (min(by_fuel, by_model) + max(0, seen.peak - seen.bytes)) / 1e6,
        "each": round(per_result), "fuel_each": round(fuel, 1), "by_fuel": by_fuel / 1e6, "by_model": by_model / 1e6,
        "over": (seen.peak - seen.bytes) / 1e6, "reason": seen.reason[:160],
    }  # fmt: skip


def full(case, keeping, turn):
    """A whole run under the default limits: microseconds a unit of fuel, or the peak of memory in MB."""
    gc.collect()
    if keeping:
        seen = Measured(case, True, True).run()
        return max(seen.peak, seen.bytes) / 1e6
    seen = Measured(case, True).run()
    return seen.seconds * QUIET_US / turn / max(1, seen.fuel)


def worst(rows, key, most=10):
    """The rows in which a figure is largest, one for each target."""
    found = {}
    for row in sorted((row for row in rows if key in row), key=lambda row: -row[key]):
        found.setdefault(row["target"], row)
    return list(found.values())[:most]


def over(rows):
    """The rows that break the law, each by the figure of its whole run where there is one."""
    return [row for row in rows if row.get("full_us", row["us"]) > LAW_US or row.get("full_mb", 0.0) > LAW_MB]


# Sweeps, in processes that are ended when they hang


def every_case(every=1, most=16):
    """Every so many of all targets with their cases, in an order that does not depend on the run."""
    return [case for target in targets()[::every] for case in cases_of(target, most)]


def least(case, row, tries=3):
    """The row of a case, measured again while it is over the law; the smallest time."""
    for _ in range(tries):
        if row["us"] < LAW_US / 2:
            break
        again = screened(case, calibrate())
        row = {**row, "us": min(row["us"], again["us"])}
    return row


def completed(case, row):
    """A row with what whole runs under the default limits took: one for time, one with all results kept alive."""
    us = full(case, False, calibrate())
    for _ in range(2):
        if us > LAW_US / 2:
            us = min(us, full(case, False, calibrate()))
    return {**row, "full_us": us, "full_mb": full(case, True, 1.0)}


def _allow(seconds):
    """Lets the host end this process once it has used so much more CPU time, wherever it is."""
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + seconds, hard))


def _part(part, parts, every, most, after):
    """Screens its part of the cases, then runs the worst in full; prints each before and after, as JSON."""
    resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
    turn = calibrate()
    cases = every_case(every, most)
    gc.collect()
    gc.freeze()
    rows = {}
    for index, case in enumerate(cases):
        if index % parts != part or index <= after:
            continue
        if index % 64 == part:
            turn = calibrate()
        print(json.dumps({"index": index, "began": case.label}), flush=True)
        _allow(HANGS_S)
        rows[index] = least(case, screened(case, turn))
        print(json.dumps({"index": index, **rows[index]}), flush=True)
    found = {index: row for index, row in rows.items() if row["us"] > LAW_US / 2 or row["mb"] > 0.8 * LAW_MB}
    for key in ("us", "mb"):
        found |= dict(sorted(rows.items(), key=lambda item: -item[1][key])[: 10 // parts])
    for index, row in sorted(found.items(), key=lambda item: -item[1]["mb"])[:MOST_FULL]:
        print(json.dumps({"index": len(cases), "began": row["label"]}), flush=True)
        _allow(2 * HANGS_S)
        print(json.dumps({"index": len(cases), **completed(cases[index], row)}), flush=True)


def sweep(every=1, most=16, parts=2):
    """The rows of all cases, the last ones with whole runs, and the labels of those that had to be ended."""
    rows, hung = {}, []

    def follow(part):
        after = -1
        while True:
            command = [sys.executable, __file__, *map(str, (part, parts, every, most, after))]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            last = None
            for line in process.stdout:
                last = json.loads(line)
                if "us" in last:
                    rows[last["label"]] = last
            if process.wait() == 0:
                return
            hung.append(last["began"] if last and "began" in last else f"part {part}")
            if last is None or last["index"] <= after:
                return
            after = last["index"]

    threads = [threading.Thread(target=follow, args=(part,)) for part in range(parts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return list(rows.values()), hung


if __name__ == "__main__":
    _part(*map(int, sys.argv[1:6]))
