"""`re` in the script language against CPython's, over a table and over random patterns and texts."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mas_support import cpython, machine

from mxjax import mas
from mxjax.mas.interpreter.modules import regex

TEXTS = [
    "", "\n", "a\n\n", "answer: 42\n", "café Ünï 12\n", "٣ x\u2003y\x1cz", "aAbB_1-[]{}^$ x{2}xx", "1 línea\n2 línea",
]  # fmt: skip
PATTERNS = [
    "a$", r"(\d+)$", r"\s*$", "(.*)$", "^.*$", "$", "a|b$", "(a$)|(b)", r"\w+", r"\W+", r"\d", r"\D+", r"\s", r"\S+",
    r"[\w.]+", r"[^\w]", r"[^\W\d_]+", r"[\W\d]", r"[^\s\D]", r"[\S]+", r"[^\S]", r"\A\w", r"\w\Z", "\\Z", "\\u00e9",
    "[\\u00c0-\\u00ff]+", "\\N{LATIN SMALL LETTER E WITH ACUTE}", r"\x41", r"\101", r"\0", r"[\b]", "[]a]", "[^]a]",
    "[a-]", "[-a]", "[[:alpha:]]", "x{2}", "x{,2}", "x{2,}?", "x{", "x{a}", "{2}", r"\{2\}", "(?i)k", "(?i:A)b",
    "(?s).", "(?m)^.", "(?m).$", "(?x) a  b # c\n | 1", "(?#note)a", "(?:a|b)+?", "(?P<n>a)(?P<o>b)?", "(a)|(b)",
    "(?a)\\w+", "(?a)[\\w\\s]+", "(?-i:a)", "(?i-s:a.)", "é?", ".", "[é-ü]+", r"\.", r"\-", r"\ ", r"\é", "a#b",
    # refused by both
    "[", "(", ")", "a**", "*", "a{2}{3}", "^*", r"\q", r"\p{L}", r"[\q]", "[b-a]", r"[\w-a]", r"\xg", r"\u12", "\\N{N}",
    "(?P<1>a)", "(?P<a>a)(?P<a>b)", "(?P<a", "(?z)", "(?", "a(?i)", "\\", "a{3,2}", r"\Qa\E", r"\z", r"\400", "(?i",
]  # fmt: skip
TRIAL = """
import re
for flags in {flags}:
    for pattern in {patterns!r}:
        try:
            p = re.compile(pattern, flags)
        except re.error:
            print('error', pattern)
            continue
        for t in {texts!r}:
            print(int(flags), repr(pattern), repr(t), p.findall(t), [m.span() for m in p.finditer(t)], p.split(t))
            for m in (p.search(t), p.match(t), p.fullmatch(t), p.search(t, 1), p.match(t, 2), p.search(t, 1, 4)):
                print(m and (m.span(), m.groups(), m.groupdict(), m.pos, m.endpos, m[0]))
            print(repr(p.sub('<>', t)), p.subn(lambda m: m[0] + '!', t, count=2), p.flags, p.groups, p.groupindex)
            print(p.findall(t, 1), p.findall(t, -3, 2), [m[0] for m in p.finditer(t, 2)], p.search(t, 99))
"""


def differences(source):
    """The lines that only one of the two prints."""
    limits = mas.Limits(fuel=10**9, printed_chars=10**8, live_bytes=10**9)
    got, expected = machine(source, limits).splitlines(), cpython(source).splitlines()
    assert len(got) == len(expected) > 3, got[-3:]
    return [pair for pair in zip(got, expected) if pair[0] != pair[1]]


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("flags", ["[0, re.M]", "[re.I, re.S | re.X]", "[re.A]"])
def test_finds_what_cpython_finds(flags):
    assert differences(TRIAL.format(flags=flags, patterns=PATTERNS, texts=TEXTS))[:5] == []


CHARS = st.sampled_from(list("ab1_ -\n\té٣\u2003日"))
ATOMS = st.sampled_from(
    [*"ab1_é日.", "\\d", "\\w", "\\s", "\\D", "\\W", "\\S", "[ab\\d]", "[^a\\s]", "[^\\W1]", "[\\Wé]", "\\n", "(ab|1)",
     "(a|é)", "(\\w)", "[é-ü]", "(?i:A)"]
)  # fmt: skip
PIECES = st.tuples(ATOMS, st.sampled_from(["", "", "", "+", "?", "{2}", "{1,2}", "+?"])).map("".join)
RANDOM = st.tuples(
    st.sampled_from(["", "", "^", "\\A"]),
    st.lists(PIECES, min_size=1, max_size=4).map("".join),
    st.sampled_from(["", "", "$", "\\Z", "|b+$", "|^é"]),
).map("".join)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.lists(RANDOM, min_size=5, max_size=5), st.lists(st.text(CHARS, max_size=8), min_size=4, max_size=4))
def test_finds_what_cpython_finds_for_random_patterns(patterns, texts):
    assert differences(TRIAL.format(flags="[0, re.M | re.S, re.A]", patterns=patterns, texts=texts)) == []


def test_templates_and_module_functions():
    source = r"""
import re
for t in (r'\1', r'[\g<w>\g<0>]', r'\n\t\\', r'\-', r'\061', r'\0', r'\q', r'\9', r'\g<no>', r'\g<', r'\g<1x>', '\\'):
    try: print(repr(re.sub(r'(?P<w>b)', t, 'abc')), repr(re.search('(?P<w>b)', 'abc').expand(t)))
    except re.error: print('error', t)
    except IndexError as e: print(type(e).__name__)
print(re.sub('A', 'x', 'aaa', 2, re.I), re.split('B', 'abcb', 1, re.I), re.findall('A', 'aA', re.I))
print(isinstance(re.compile('a'), re.Pattern), isinstance(re.match('a', 'a'), re.Match), re.error.__name__)
m = re.search(r'(?P<y>\d+)-(?P<m>\d+)?', 'in 2024- x')
print(m.lastindex, m.lastgroup, m.group('y', 'm'), m.start('y'), m.end(), m.span('m'), m.re.pattern, m.string)
for bad in (lambda: re.compile(re.compile('a'), re.I), lambda: re.search('a', 'b', pos=1), lambda: m.group(5)):
    try: print(bad())
    except (TypeError, ValueError, IndexError) as e: print(type(e).__name__)
print(re.escape('a.b-c é\n#&~'), repr(re.sub('x*', '-', 'abxd')), re.subn('', '.', 'é日'))
"""
    assert machine(source) == cpython(source)


def test_refusals_name_the_construct():
    for pattern, word in [("(?=a)", "look-ahead"), ("(?<!a)", "look-behind"), (r"(a)\1", "back-reference"),
                          ("a++", "possessive"), ("(?>a)", "atomic"), ("(a)(?(1)b)", "conditional")]:  # fmt: skip
        source = f"import re\ntry: re.compile({pattern!r})\nexcept re.error as e: print(e)"
        assert word in machine(source)


def test_fuel_follows_a_size_of_our_own():
    assert regex.translate("a{3}(b|c)", 0, False).size == regex.translate("a{3}(b|c)", 0, True).size
    assert regex.translate("(a{10}){10}", 0, False).size > 100
    assert regex.translate(r"\w", 0, True).size > 1000 > regex.translate(r"\w", 0, False).size
