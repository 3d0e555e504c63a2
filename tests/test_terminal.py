"""No text makes a terminal do anything, and nothing is printed but through the one function that sees to it."""

import ast
import io
import logging
import pathlib
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from mxjax import terminal

PACKAGE = pathlib.Path(terminal.__file__).parent
TRICKS = "a\x1b[2Jb\rc\x07\x9b1m\u202eevil\u2066\u200f\ud800\x7f\U000e0041"


@given(st.text() | st.text(st.sampled_from(TRICKS + "\r\n\t é漢👩\u200d")))
def test_what_is_shown_has_nothing_that_a_terminal_obeys(text):
    shown = terminal.shown(text)
    kinds = {unicodedata.category(c) for c in shown if c not in "\n\t"}
    assert not kinds & {"Cc", "Cs", "Zl", "Zp"}
    assert not any(unicodedata.bidirectional(c) in ("RLO", "LRO", "RLE", "LRE", "PDF", "RLI", "LRI", "FSI", "PDI")
                   for c in shown)  # fmt: skip
    assert "\n" not in terminal.shown_in_line(text) and "\t" not in terminal.shown_in_line(text)


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"], include_characters="\n\t\u200d")))
def test_ordinary_text_is_shown_as_it_is(text):
    assert terminal.shown(text) == text


def test_tricks_are_spelled_out():
    assert terminal.shown("\x1b[31mred\r\nnext\u202e") == "\\x1b[31mred\nnext\\u202e"


def test_any_terminal_can_write_what_is_said():
    written = io.TextIOWrapper(io.BytesIO(), encoding="latin-1", newline="")
    terminal.say(f"é漢{TRICKS}", file=written)
    assert written.buffer.getvalue().startswith(b"\xe9\\u6f22a\\x1b[2Jb\\rc")


def test_warnings_are_shown_likewise(capsys):
    terminal.show_warnings()
    logging.lastResort.handle(logging.makeLogRecord({"msg": "%s", "args": (TRICKS,), "levelno": logging.WARNING}))
    assert "\x1b" not in (said := capsys.readouterr().err) and "\\x1b[2J" in said


def test_nothing_is_printed_past_it():
    """`print` calls of the package, but for programs that run in a process of their own and answer by lines."""
    apart = {
        "terminal.py", "sandbox/probe.py", "sandbox/inside/runner.py", "models/chat_template.py", "rewards/algebra.py",
    }  # fmt: skip
    found = {
        f"{path}:{node.lineno}"
        for path in PACKAGE.rglob("*.py")
        if str(path.relative_to(PACKAGE)) not in apart and path.parent.name != "lib"  # in the script language
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    }
    assert not found
