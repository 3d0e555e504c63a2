"""Makes random programs: sound ones from a grammar, to compare with CPython, and broken ones by mutation.

A program of the grammar ends quickly and prints what it computes. It keeps away from what docs/script.md lists: sets
are printed sorted, no object is printed by its address, and of an exception only its class is shown.
"""

from __future__ import annotations

import random
import re

NAMES = {"int": "ijk", "str": "st", "list": "ab", "dict": "de", "bool": "pq", "float": "xy"}
HEADER = """\
import math, json, itertools, functools, collections, re
i, j, k, s, t, p, q, x, y = 3, -2, 10, 'hello', 'a,b', True, False, 1.5, -0.25
a, b, d, e = [1, 2, 3], [5, 4], {'one': 1, 'two': 2}, {}
"""
FOOTER = "print(i, j, k, s, t, p, q, x, y, a, b, sorted(d.items(), key=str), sorted(e.items(), key=str))"

# What an expression can be, by the type of its value. `<int>` is an expression, `<.int>` a variable, `<0..9>` a number.
EXPRESSIONS = {
    "int": """
        <int> + <int> | <int> - <int> | <int> * <int> % 1000 | <int> // <int> | <int> % <int> | -<int> | ~<int>
        <int> & <int> | <int> ^ <int> | <int> >> <0..3> | abs(<int>) ** 2 % 997 | len(<str>) | len(<list>) | sum(<list>)
        max(<list>, default=<int>) | min(<int>, <int>) | <int> if <bool> else <int> | <list>[<-3..3>] | int(<float>)
        round(<float>) | <str>.count('a') | <str>.find('l') | <dict>.get('one', <int>) | <dict>[<str>] | ord(<str>[0])
        math.gcd(<int>, <int>) | (<.int> := <int>) | functools.reduce(lambda m, n: m * 2 + n, <list>, <int>) % 1009
        divmod(<int>, <int>)[1] | pow(<int>, 3, 7) | int('<0..99>') | next((v for v in <list> if v > <int>), <int>)
        [*<list>, <int>].index(<int>) | bool(<str>) + <int> | <list>.count(<int>) | range(<int> % 50)[<-3..3>]
    """,
    "float": """
        <float> + <float> | <float> - <int> | <float> * <float> / 3 | <int> / <0..7> | <float> // 1 | <float> % 2
        abs(<float>) | round(<float>, <0..3>) | float(<int>) | max(<float>, <float>)
        math.fsum([<float>, <float>, 0.1])
        math.floor(<float>) * 0.5 | math.sqrt(abs(<float>)) | float('<0..9>.5') | <float> if <bool> else <float>
    """,
    "bool": """
        <int> < <int> | <int> == <int> | <int> <= <int> < <int> | <str> < <str> | <str> == <str> | <list> == <list>
        <list> < <list> | <str> in <str> | <int> in <list> | <str> not in <dict> | not <bool> | <bool> and <bool>
        <bool> or <int> > 2 | bool(<list>) | any(v > 1 for v in <list>) | all(v % 2 for v in <list>) | <int> is None
        isinstance(<int>, (int, str)) | <str>.startswith('a') | <str>.isalpha() | <float> >= <int> | <dict> == <dict>
        <list> != <list> | callable(<int>) | set(<list>) <= {1, 2, 3} | <str>.isdigit() | <int> in range(<int>)
    """,
    "str": """
        (<str> + <str>)[:20] | <str> * <0..2> | <str>[<slice>] | <str>.upper() | <str>.replace('a', <str>)[:20]
        <str>.strip() | <str>.title() | ' '.join(<str>.split(',')) | '-'.join(str(v) for v in <list>) | str(<int>)
        repr(<str>)[:20] | f'{<.int>}:{<.float>:.2f}' | f'{<.str>!r:>8}|{<.int>:+05d}' | f'{<.int>:,} {<.float>:8.3e}'
        '{:>6}{:<4}'.format(<int>, <str>) | '%d %s %.1f' % (<int>, <str>, <float>) | <str>[<-2..6>] | json.dumps(<list>)
        json.dumps(<dict>, sort_keys=True) | str(<list>)[:30] | <str>.center(<0..12>, '*') | <str>.partition('l')[0]
        re.sub('[aeiou]', '_', <str>) | ''.join(sorted(<str>)) | ''.join(reversed(<str>)) | hex(<int>) | <str>.zfill(4)
        chr(abs(<int>) % 90 + 33) | str(<bool>) | min(<str>, <str>) | <str>.rjust(6) | type(<float>).__name__
        re.findall('[a-z]+', <str>)[0] | f'{<.list>}'[:20] | <str>.strip('h')
        re.split('[,l]', <str>)[-1] | str(<float>)
    """,
    "list": """
        (<list> + <list>)[:8] | <list>[<slice>] | [v + <0..3> for v in <list>] | [v for v in <list> if v > <int>]
        sorted(<list>) | sorted(<list>, key=lambda v: -v) | list(reversed(<list>)) | list(range(<-2..5>))
        list(map(abs, <list>)) | list(filter(None, <list>)) | [u * v for u in <list>[:3] for v in <list>[:3]]
        list(<list>) * <0..2> | [*<list>, <int>] | [len(w) for w in <str>.split()] | sorted(set(<list>))
        list(<dict>.values()) | [u - v for u, v in zip(<list>, <list>)] | [n + v for n, v in enumerate(<list>, <0..2>)]
        list(itertools.chain(<list>, <list>))[:9] | list(itertools.accumulate(<list>))
        [v for v in <list> if v in <list>]
        sorted(set(<list>) ^ set(<list>)) | sorted(set(<list>) - set(<list>)) | list(itertools.islice(<list>, 2))
        [sum(pair) for pair in itertools.combinations(<list>[:4], 2)] | [k for k, g in itertools.groupby(<list>)]
        [v for v, _ in collections.Counter(<list>).most_common()]
        (lambda *v: list(v))(*<list>) | [ord(c) for c in <str>]
        list(collections.deque(<list>, maxlen=2)) | json.loads(json.dumps(<list>))
    """,
    "dict": """
        {<str>: <int>} | {str(v): v for v in <list>} | {**<dict>, 'new': <int>} | dict(one=<int>)
        dict(zip(<str>, <list>))
        {**<dict>, **<dict>} | dict(collections.Counter(<str>)) | {w: len(w) for w in <str>.split(',')} | <dict>.copy()
        dict.fromkeys(<str>, <int>) | dict(<dict>.items())
    """,
}
SIMPLE = """
    <.int> = <int>                          <.str> = <str>                  <.list> = <list>
    <.dict> = <dict>                        <.bool> = <bool>                <.float> = <float>
    <.int> += <int>                         <.int> -= <int>                 <.int> //= <int>
    <.int> %= <int>                         <.int> ^= <int>                 <.int> <<= <0..3>
    <.str> += <str>                         <.float> *= <float>             <.list> += <list>
    <.dict> |= <dict>                       print(<int>, <str>)             print(<list>, <float>, sep='|', end=';')
    print(<bool>, sorted(<dict>.items()))   <.list>.append(<int>)           <.list>.insert(<-3..3>, <int>)
    <.list>.pop()                           <.list>.remove(<int>)           <.list>.sort(reverse=<bool>)
    <.list>.reverse()                       <.list>.extend(<list>)          <.list>[<-3..3>] = <int>
    <.list>[<slice>] = <list>               del <.list>[<slice>]            <.dict>[<str>] = <int>
    <.dict>.update(<dict>)                  <.dict>.pop(<str>, None)        del <.dict>[<str>]
    <.dict>.setdefault(<str>, <int>)        <.list>.sort(key=lambda v: -v)  print(<.list>.index(<int>))
    assert <bool>, <str>                    <.int>, <.int> = <int>, <int>   <.int>, *<.list> = <list>
    *<.list>, <.int> = <list>               <.int>, <.int> = <list>         (<.int>, <.int>), <.str> = (<int>, 2), 'z'
    print(<str>, <bool>)                    <.int> = <.int> = <int>         print(*<list>)
    <.str> = '\\boxed{<0..9>} \\neq \\n\\theta'            <.str> += "\\alpha\\times\\x4\\u00e9\\"q\\N"
    print(f'\\boxed{{<.int>}} \\frac{<.int>}\\t{<.str>!r}')  print('\\b', '\\bar', '\\x41', '\\uZ', r'\\no\\a', <str>)
"""
# Statements with blocks. `<block>` stands for a few statements, `<new>` for a name of this one statement alone.
COMPOUND = """\
if <bool>:
    <block>
elif <int>:
    <block>
else:
    <block>
---
if <str>:
    <block>
---
for <.int> in range(<0..5>):
    <block>
else:
    print('else')
---
for <.int> in list(<list>)[:5]:
    if <bool>: break
    <block>
else:
    <block>
---
for <.int> in range(<-5..5>, <-5..5>, 2):
    if <bool>: continue
    <block>
---
for <.int>, <.str> in enumerate(<str>[:4]):
    <block>
---
<new> = <1..4>
while <new> > 0:
    <new> -= 1
    <block>
---
try:
    <block>
except (KeyError, IndexError) as error:
    print('caught', type(error).__name__)
else:
    print('else')
finally:
    print('finally')
---
try:
    raise ValueError(<str>)
except ValueError as error:
    print(error)
    <block>
finally:
    <block>
---
try:
    try:
        <block>
    finally:
        print('inner')
except ZeroDivisionError:
    <block>
---
def <new>(u, v=2, *rest, w=3, **more):
    if u == <0..3>: return v
    return <int>, rest, w, sorted(more)
print(<new>(1), <new>(2, v=5), <new>(3, 4, 5, w=7), <new>(*[4], **{'m': 6}))
---
def <new>(u, /, v=1, *, w=0):
    global i, s, a
    i, s = u, <str>
    <block>
    return <list>
print(<new>(<int>, w=2))
---
def <new>():
    for _ in range(<1..3>):
        got = yield <int>
        print('got', got)
    last = yield from [7, 8]
    return 'end'
h = <new>()
print(next(h))
print(<drive>)
print(<drive>)
print(<drive>)
---
def <new>():
    try:
        yield 1
        yield <int>
    except ValueError:
        yield -1
    finally:
        print('closing')
def <new>_outer():
    yield from <new>()
    yield 9
h = <new>_outer()
print(next(h))
print(<drive>)
print(<drive>)
print(<drive>)
---
class <new>:
    kind = <-9..9>
    def __init__(self, v): self.v = v
    def get(self): return self.v + <0..9>
    @property
    def twice(self): return self.get() * 2
    def __eq__(self, o): return self.v == o.v
    def __lt__(self, o): return self.v < o.v
    def __repr__(self): return f'R({self.v})'
class <new>_sub(<new>):
    def get(self): return super().get() - <0..9>
    def __len__(self): return abs(self.v) % 3
    def __add__(self, o): return <new>_sub(self.v + o.v)
m, n = <new>_sub(<int>), <new>(<int>)
print(<record>)
---
match <list>:
    case []:
        print('empty')
    case [v]:
        <block>
    case [1, v, *_] | [v, 2]:
        print('two', v)
    case [v, *rest] if v > <int>:
        print(v, rest)
    case _:
        <block>
---
match <dict>:
    case {'one': v, **rest}:
        print(v, sorted(rest))
    case {'two': 2}:
        <block>
    case {}:
        print('any')
---
match (<int>, <str>):
    case (1 | 2 | 3, _):
        print('small')
    case (int(v), 'hello' as w):
        print(v, w)
    case (_, str() as w):
        print(w)
---
def <new>(step):
    total = 0
    def inner(v):
        nonlocal total
        total += step * v + <0..3>
        return total
    return inner
c = <new>(<int>)
print([c(v) for v in <list>], (lambda z=c: z(1))())
---
class <new>:
    def __enter__(self):
        print('enter')
        return 5
    def __exit__(self, kind, error, trace):
        print('exit', kind and kind.__name__)
        return <bool>
with <new>() as <.int>:
    <block>
""".strip().split("\n---\n")
PARTS = {
    "drive": ["next(h, 'none')", "h.send(5)", "h.throw(ValueError('v'))", "h.close()", "list(h)"],
    "record": ["m.get(), n.twice, m == n, bool(m)", "m + m, sorted([n, m, n]), len(m)", "max(m, n), m.kind, [m] == [m]",
               "m < n, m.missing", "n + m", "isinstance(m, type(n)), hasattr(n, 'twice'), getattr(m, 'no', 5)"],
    "str": ["''", "'ab'", "'x y'", "'Z9'", "'é'"],
}  # fmt: skip
_PLACE = re.compile(r"<(\.?)([a-z]+)>|<(-?\d+)\.\.(\d+)>")
_FORMS = {kind: re.split(r" \| |\n\s*", text.strip()) for kind, text in EXPRESSIONS.items()}
_STATEMENTS = re.split(r"\s{2,}", SIMPLE.strip())


class Grammar:
    """One program; every choice is drawn from a generator with this seed."""

    def __init__(self, seed: int):
        self.rng = random.Random(seed)
        self.fresh = 0

    def program(self) -> str:
        """The source: some statements, most of them guarded, and a last line that prints every variable."""
        return HEADER + "\n".join(self.guarded() for _ in range(self.rng.randint(3, 9))) + f"\n{FOOTER}\n"

    def guarded(self) -> str:
        body = self.statement(2)
        if self.rng.random() < 0.2:
            return body
        return f"try:\n{_indent(body)}\nexcept Exception as error:\n    print(type(error).__name__)"

    def statement(self, depth: int) -> str:
        if depth == 0 or self.rng.random() < 0.4:
            return self.fill(self.rng.choice(_STATEMENTS), 2)
        self.fresh += 1
        lines = []
        for line in self.rng.choice(COMPOUND).replace("<new>", f"n{self.fresh}").split("\n"):
            space = line[: len(line) - len(line.lstrip())]
            if line.strip() == "<block>":
                line = "\n".join(self.statement(depth - 1) for _ in range(self.rng.randint(1, 3)))
                lines.append("\n".join(space + inner for inner in line.split("\n")))
            else:
                lines.append(self.fill(line, 2))
        return "\n".join(lines)

    def fill(self, form: str, depth: int) -> str:
        """A form with every place of it filled; expressions in it are nested up to `depth`."""

        def part(match):
            variable, kind, low, high = match.groups()
            if low is not None:
                return str(self.rng.randint(int(low), int(high)))
            if variable:
                return self.rng.choice(NAMES[kind])
            if kind == "slice":
                ends = [str(self.rng.randint(-4, 4)) if self.rng.random() < 0.6 else "" for _ in range(2)]
                return ":".join(ends) + self.rng.choice(["", "", "", ":2", ":-1"])
            return self.rng.choice(PARTS[kind]) if kind in ("drive", "record") else self.expression(kind, depth)

        return _PLACE.sub(part, form)

    def expression(self, kind: str, depth: int) -> str:
        if depth > 0 and self.rng.random() < 0.75:
            return f"({self.fill(self.rng.choice(_FORMS[kind]), depth - 1)})"
        return self.rng.choice(NAMES[kind]) if self.rng.random() < 0.6 else self.literal(kind)

    def literal(self, kind: str) -> str:
        n = self.rng.randint(-20, 20)
        values = {
            "int": n,
            "float": n / 4,
            "bool": n > 0,
            "list": [n, n + 1][: n % 3],
            "dict": {"one": n} if n % 2 else {},
        }
        return self.rng.choice(PARTS["str"]) if kind == "str" else f"({values[kind]!r})"


def _indent(text: str) -> str:
    return "\n".join("    " + line for line in text.split("\n"))


TOKENS = [
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    ".",
    "=",
    "==",
    "+",
    "-",
    "*",
    "**",
    "/",
    "//",
    "%",
    "@",
    "&",
    "|",
    "^",
    "~",
    "<<",
    ">>",
    "<",
    ">",
    "<=",
    ">=",
    "!=",
    ":=",
    "->",
    ";",
    '"',
    "'",
    '"""',
    'f"',
    "\\",
    "#",
    "$",
    "?",
    "!",
    "0",
    "1",
    "-1",
    "1e308",
    "1j",
    "0x",
    "10**9",
    "2**70",
    "'a'*10**6",
    "[0]*10**6",
    "None",
    "True",
    "not",
    "and",
    "or",
    "in",
    "is",
    "if",
    "else",
    "elif",
    "for",
    "while",
    "break",
    "continue",
    "def",
    "class",
    "return",
    "yield",
    "lambda",
    "try:",
    "except:",
    "finally:",
    "with",
    "as",
    "import",
    "from",
    "global",
    "nonlocal",
    "del",
    "pass",
    "raise",
    "assert",
    "await",
    "async",
    "match",
    "case",
    "_",
    "x",
    "self",
    "super()",
    "__class__",
    "__init__",
    "__dict__",
    "__globals__",
    "question",
    "print",
    "len",
    "str",
    "int",
    "float",
    "list",
    "dict",
    "set",
    "tuple",
    "range",
    "sorted",
    "max",
    "sum",
    "map",
    "filter",
    "zip",
    "iter",
    "next",
    "getattr",
    "setattr",
    "hasattr",
    "type",
    "isinstance",
    "eval",
    "exec",
    "open",
    "id",
    "repr",
    "format",
    "join",
    "split",
    "re",
    "json",
    "math",
    "AgentNode",
    "Workflow",
    "EnsembleNode",
    "DebateNode",
    "AgentGraph",
    "Message",
    "Context",
    ".run(",
    ".format(",
    ".append(",
    ".__class__",
    "\\n",
    "\\t",
    "\\ud800",
    "\\x00",
    "é",
    "中",
]
NUMBERS = ["0", "-1", "10**12", "1.5", "None", "'x'", "[]"]
BLOCKS = ["while True:", "for _ in range(10**9):", "try:", "def f(x=f):", "class C:", "if 1:"]


def mutate(source: str, others: list[str], rng: random.Random) -> str:
    """A script with a few things in it cut, doubled, swapped, or replaced by tokens or by lines of other scripts."""
    for _ in range(rng.randint(1, 3)):
        source = rng.choice([_cut, _insert, _repeat, _borrow, _renumber, _swap, _nest])(source, others, rng)
    return source


def _cut(source, others, rng):
    at = rng.randrange(len(source) + 1)
    return source[:at] + source[at + rng.randint(1, 12) :]


def _insert(source, others, rng):
    at = rng.randrange(len(source) + 1)
    token = rng.choice([*TOKENS, "\n", "\t", "\ud800", "\0", "\r", "    "])
    return source[:at] + rng.choice(["", " "]) + token + source[at:]


def _repeat(source, others, rng):
    lines = source.split("\n")
    lines.insert(rng.randrange(len(lines) + 1), rng.choice(lines))
    return "\n".join(lines)


def _borrow(source, others, rng):
    lines = source.split("\n")
    at = rng.randrange(len(lines))
    space = lines[at][: len(lines[at]) - len(lines[at].lstrip())]
    lines[at : at + rng.randint(0, 1)] = [space + rng.choice(rng.choice(others).split("\n")).lstrip()]
    return "\n".join(lines)


def _renumber(source, others, rng):
    places = [at for at, char in enumerate(source) if char.isdigit()]
    if not places:
        return source
    at = rng.choice(places)
    return source[:at] + rng.choice(NUMBERS) + source[at + 1 :]


def _swap(source, others, rng):
    words = source.split(" ")
    one, other = rng.randrange(len(words)), rng.randrange(len(words))
    words[one], words[other] = words[other], words[one]
    return " ".join(words)


def _nest(source, others, rng):
    lines = source.split("\n")
    first = rng.randrange(len(lines))
    return "\n".join([*lines[:first], rng.choice(BLOCKS), *("    " + line for line in lines[first:])])
