"""What a vote compares programs by: their text without comments and blank lines, as Python's own tokenizer tells."""

import io
import tokenize

import pytest

from mxjax.mas.library import texts

PROGRAMS = [
    "print('#1')\n",
    "x = \"# no\" + '#'  # yes\n# yes\n\nprint(x)\n",
    "s = '''# no\n\n# no\n'''  # yes\n",
    's = """a "quoted" # no \\""" # no\n"""#yes\n',
    "t = 'it\\'s # no'  # it's\n",
    "r = r'\\'  # no'\n",
    "f = f'{x:#x}' # yes\nb = b'#'\n",
    'a = \'\'  # yes\nb = """"""  # yes\n',
    "u = 'a\\\n # no'  # yes\n",
]


def without_comments(source):
    """The program with the comments that `tokenize` finds cut out."""
    lines = source.split("\n")
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            line, column = token.start
            lines[line - 1] = lines[line - 1][:column]
    return "\n".join(lines)


def key(source):
    return texts.vote_key(f"<solution>{source}</solution>", "code")


@pytest.mark.parametrize("source", PROGRAMS)
def test_comments_do_not_count_and_what_looks_like_one_in_a_string_does(source):
    bare = without_comments(source)
    assert key(source) == key(bare) == key(f"# first\n\n{bare}\n   # last")


def test_programs_that_differ_in_a_string_do_not_vote_together():
    assert key("print('#1')") != key("print('#2')")
    assert key("print('''a\n\nb''')") != key("print('''a\nb''')")
    assert key("print('''a\n#1\nb''')") != key("print('''a\n#2\nb''')")
    assert key("# only a comment") is key("") is None


@pytest.mark.parametrize("text", ["'", '"""', "'''a\\", '"' * 9, "\\'\\" * 60_000, '"""\\"' * 50_000])
def test_a_text_that_is_no_program_is_compared_too(text):
    assert key(text) == key("# c\n\n" + text)
    assert key("x = 'open\ny = 1  # d") == key("x = 'open\ny = 1") != key("x = 'open\ny = 2")
