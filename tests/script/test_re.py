"""`re` in the script language against CPython's, over a table and over random patterns and texts."""

import contextlib
import itertools
import re
import warnings
from re import _parser
from unittest import mock

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scripts import cpython, machine

from mxjax import mas
from mxjax.script.modules import regex

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


def differences(source, least=3):
    """The lines that only one of the two prints."""
    limits = mas.Limits(fuel=10**9, printed_chars=10**8, live_bytes=10**9)
    got, expected = machine(source, limits).splitlines(), cpython(source).splitlines()
    assert len(got) == len(expected) > least, got[-3:]
    return [pair for pair in zip(got, expected) if pair[0] != pair[1]]


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("flags", ["[0, re.M]", "[re.I, re.S | re.X]", "[re.A]"])
def test_finds_what_cpython_finds(flags):
    assert differences(TRIAL.format(flags=flags, patterns=PATTERNS, texts=TEXTS))[:5] == []


SCOPED = [
    "(?m:^)a", "(?m:a$)", "(?m:^.)|b", "(?a:\\w+)\\w", "(?u:\\w+)", "(?a:[\\s\\w]+)x", "\\S?(?a:\\W)", "(?x: a ) b",
    "(?i:A(?-i:B))b?", "(?s:.)+", "(?ms:^.)", "a|(?m:$)", "((?m:^))(a|(?u:é))", "[\\S.]", "[\\W.]", "[\\D.]+",
    "[^\\W.]", "[.\\s]",
]  # fmt: skip


@pytest.mark.parametrize("flags", ["[0, re.M]", "[re.A, re.X, re.S]"])
def test_flags_hold_in_their_group(flags):
    texts = ["aAbB ab", "x\na\n\nb", "é٣ x\u2003ya\x1c", "ſ.\u212a"]
    assert differences(TRIAL.format(flags=flags, patterns=SCOPED, texts=texts))[:5] == []


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


SPANS = """
import re
def spans(m): return m and [m.span(i) for i in range(p.groups + 1)]
for t in {texts!r}:
    try:
        p = re.compile({pattern!r}, {flags})
    except re.error:
        print('error')
        continue
    found = [spans(m) for m in p.finditer(t)]
    if all(s[0][0] < s[0][1] for s in found):
        print(found, p.findall(t))
    print(*map(spans, (p.search(t), p.match(t), p.fullmatch(t), p.search(t, 1))), p.groupindex, int(p.flags))
"""
QUANTIFIERS = ["*", "+", "?", "{2}", "{1,2}", "{2,}", "{,2}", "+?", "{1,2}?"]


def repeated(drawn):
    """A part repeated, except for one that may match nothing, in which RE2 counts other rounds."""
    part, quantifier = drawn
    return part if re.compile(part, re.MULTILINE).fullmatch("") else f"(?:{part}){quantifier}"


def grown(parts):
    return st.one_of(
        st.lists(parts, min_size=1, max_size=3).map("".join),
        st.lists(parts, min_size=2, max_size=3).map(lambda those: f"(?:{'|'.join(those)})"),
        st.tuples(parts, st.sampled_from(QUANTIFIERS)).map(repeated),
        st.tuples(st.sampled_from(["(", "(?:", "(?i:", "(?s-i:", "(?-s:", "(?x:", "(?m:"]), parts).map("%s%s)".__mod__),
    )


LEAVES = st.one_of(
    ATOMS,
    st.sampled_from(
        [
            "A",
            "k",
            "É",
            "[^é]",
            "[A-Z]",
            "[^a-c\\W]",
            " ",
            "\\ ",
            "[ \\S]",
            "aA",
            "(?:)",
            "(?#x)",
            "\\x41",
            "^",
            "(?m:^)",
            "(?m:$)",
        ]
    ),
)
ANCHORS = [
    ("", ""),
    ("", ""),
    ("^", ""),
    ("", "$"),
    ("^", "|b$"),
    ("(?P<n>", ")"),
    ("(?im)^", "$"),
    ("\\A", "\\Z"),
    ("a|", ""),
]
FLAGS = [sum(some) for n in range(6) for some in itertools.combinations((2, 8, 16, 64, 256), n)]
LETTERS = [list("abABkK1_ -\n\t"), list("abABkK1_ -\n\té٣\u2003日ÉſÜ\u212a")]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.data(), st.recursive(LEAVES, grown, max_leaves=6), st.sampled_from(ANCHORS), st.sampled_from(FLAGS))
def test_finds_the_groups_that_cpython_finds(data, pattern, anchors, flags):
    """Of texts of ASCII and of others; `re.A` with `re.I` only in the first, see docs/script.md."""
    pattern = pattern.join(anchors)
    folded = flags & re.IGNORECASE or "(?i" in pattern
    letters = LETTERS[data.draw(st.booleans()) and not (folded and flags & re.ASCII)]
    texts = data.draw(st.lists(st.text(st.sampled_from(letters), max_size=8), min_size=3, max_size=3))
    assert differences(SPANS.format(texts=texts, pattern=pattern, flags=flags), least=2) == []


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


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(" * 101 + ")" * 101, "more than 100 nested groups"),
        ("(?x:#)\n" * 500, "more than 100 nested groups"),
        ("a{99999999999}", "a number is too large"),
        ("a{" + "9" * 5000 + "}", "a number is too large"),
        ("(?P<" + "a" * 5000 + "!>b)", "bad character in group name"),
        ("(?<!a)b", "look-behind is not available"),
        ("(?!)", "look-ahead is not available"),
        ("a{2}+", "a possessive quantifier is not available"),
    ],
)  # fmt: skip
def test_refuses_hostile_patterns_in_a_short_sentence(pattern, reason):
    with pytest.raises(regex.PatternError, match=reason) as caught:
        regex.translate(pattern, 0, False)
    assert len(str(caught.value)) <= 120


def test_reads_many_groups_and_members():
    many = regex.translate("(a)?" * 5000 + "[" + "é-ü" * 5000 + "]", 0, True)
    assert many.groups == tuple(range(1, 5001)) and many.text.count("-") == 1
    assert regex.translate("(" * 100 + "a$" + ")" * 100, 0, False).ends == (101,)


def test_warnings_of_the_parser_stay_inside():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for pattern in ("[[a]", "[+--]", "[a&&b]", "[a~~b]", "[a||b]"):
            regex.translate(pattern, 0, False)


MARKS = [
    "(",
    "(",
    "(?:",
    ")",
    ")",
    "[",
    "]",
    "[^",
    "\\",
    "#",
    "(?#",
    "(?x:",
    "(?-x:",
    "(?x)",
    "\n",
    "a",
    "|",
    "-",
    "?",
    "(?=",
]


@pytest.mark.filterwarnings("ignore::FutureWarning")
@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(MARKS), min_size=8, max_size=60).map("".join), st.sampled_from([0, re.VERBOSE]))
@example(")" * 9 + "(" * 8, 0)
@example("(?:(?#\\))" * 20, 0)
@example("(?:[)]" * 20, 0)
@example("(?:[])]" * 20, 0)
@example("(?:\\)" * 20, 0)
@example("(?:#)\n" * 20, re.VERBOSE)
@example("(?x:#)\n" * 20, 0)
def test_nesting_is_never_taken_for_less(pattern, flags):
    """The parser recurses as deep, and copies as often, as the bound and the charge believe."""
    deepest = 0
    parse = _parser._parse_sub

    def watched(source, state, verbose, nested):
        nonlocal deepest
        deepest = max(deepest, nested // 2)
        return parse(source, state, verbose, nested)

    with mock.patch.object(_parser, "_parse_sub", watched), contextlib.suppress(re.error):
        _parser.parse(pattern, flags)
    assert regex.reading_cost(pattern, flags) >= 50 + 2 * len(pattern) * (1 + deepest // 8)


def test_fuel_follows_a_size_of_our_own():
    assert regex.translate("a{3}(b|c)", 0, False).size == regex.translate("a{3}(b|c)", 0, True).size
    assert regex.translate("(a{10}){10}", 0, False).size > 100
    assert regex.translate(r"\w", 0, True).size > 1000 > regex.translate(r"\w", 0, False).size
