r"""Rewrite string literals for Python's own parser.

LaTeX keeps its backslashes, and f-strings become portable.

Designs are full of LaTeX in ordinary literals, where `"\boxed{1}"` would silently mean a backspace and `"\neq"` a
newline. And the language is pinned to the grammar of Python 3.12, where the fields of an f-string may hold any
literal, while older hosts refuse a backslash or the outer quote there. So this pass

* doubles the backslash of `\a \b \f \v` before a letter, of an incomplete `\x \u \U \N`, of `\n \r \t` that begin one
  of `LATEX_COMMANDS`, and of every escape that Python does not know (which means the same text, without the warning);
* takes the literals inside f-string fields out of the source and leaves a name in their place, which the compiler
  replaces by the literal.
"""

from __future__ import annotations

import dataclasses
import re

from mxjax.script.errors import CompileError

_COMMANDS = """
    nabla natural ne nearrow neg negthickspace negthinspace neq newcommand newline nexists ngeq ni nleq nmid noindent
    nolimits nonumber norm not notin nparallel nsim nsubseteq nsupseteq nu null nwarrow
    raggedright raise rangle rbrace rbrack rceil ref renewcommand require rfloor rgroup rho right rightarrow
    rightharpoonup rightleftharpoons rightsquigarrow rm roman root rtimes rule rvert
    tag tan tanh tau tbinom text textbf textbullet textcolor textit textmd textnormal textrm textsc textsf textsl
    textstyle texttt textup tfrac therefore theta thickapprox thicksim thickspace thinspace tilde times tiny to top tr
    triangle triangledown triangleleft triangleq triangleright twoheadrightarrow
"""
LATEX_COMMANDS = frozenset(_COMMANDS.split())
_PREFIX = re.compile(r"(?i)(?:rb|br|fr|rf|r|b|f|u)?(?='''|\"\"\"|'|\")")
_CODE = re.compile(r"\w+|[^\w#'\"]+")  # one word, or what stands between words and literals
_COMMAND = re.compile(r"[A-Za-z]+")
_COMPLETE = {
    "x": re.compile(r"[0-9a-fA-F]{2}"),
    "u": re.compile(r"[0-9a-fA-F]{4}"),
    "U": re.compile(r"000[0-9a-fA-F]{5}|0010[0-9a-fA-F]{4}"),
    "N": re.compile(r"\{[A-Z][A-Z0-9 -]*\}"),
}
HOISTED = re.compile(r"__s(\d+)__")


@dataclasses.dataclass
class Lexed:
    """Source for the parser, the literals removed from it, and column shifts.

    The shifts tell where characters were added on each line.
    """

    text: str
    hoisted: list[str]
    written: list[str]  # the same literals as they stand in the source
    added: dict[int, list[tuple[int, int]]]

    def column(self, line: int, column: int) -> int:
        """The original 0-based column for a column of the rewritten source."""
        return max(0, column - sum(delta for start, delta in self.added.get(line, ()) if start < column))

    def located(self, error: CompileError) -> tuple[int, int]:
        """Original line and column of an error in the tree, from 1."""
        return error.line, self.column(error.line, error.column - 1) + 1


def rewrite(source: str) -> Lexed:
    """Apply the two rewritings above.

    Never raises: malformed source is left for the parser to refuse.
    """
    return _Lexer(source).run()


class _Lexer:
    def __init__(self, source: str):
        self.source = source
        self.at = 0
        self.out: list[str] = []
        self.line = 1
        self.width = 0
        self.hoisted: list[str] = []
        self.written: list[str] = []
        self.added: dict[int, list[tuple[int, int]]] = {}

    def run(self) -> Lexed:
        while self.at < len(self.source):
            match = _PREFIX.match(self.source, self.at)
            if match:
                self.string(match.group())
                continue
            if self.source[self.at] == "#":
                end = self.source.find("\n", self.at)
                self.copy(len(self.source) if end < 0 else end)
            else:
                self.copy(_matched(_CODE, self.source, self.at).end())
        return Lexed("".join(self.out), self.hoisted, self.written, self.added)

    def copy(self, end: int):
        self.emit(self.source[self.at : end])
        self.at = end

    def emit(self, text: str, replaces: int | None = None):
        """Write `text` in place of `replaces` characters of the original.

        By default these are as many as `text` has.
        """
        self.out.append(text)
        newlines = text.count("\n")
        self.width = len(text) - text.rfind("\n") - 1 if newlines else self.width + len(text)
        self.line += newlines
        if replaces is not None and replaces != len(text):
            self.added.setdefault(self.line, []).append((self.width - 1, len(text) - replaces))

    def string(self, prefix: str):
        """Copy one literal; the position is at its prefix."""
        self.copy(self.at + len(prefix))
        quote = self.source[self.at : self.at + 3]
        if quote not in ("'''", '"""'):
            quote = quote[0]
        self.copy(self.at + len(quote))
        kind = prefix.lower()
        while self.at < len(self.source) and not self.source.startswith(quote, self.at):
            char = self.source[self.at]
            if char == "\n" and len(quote) == 1:
                return
            if char == "\\":
                self.escape(raw="r" in kind)
            elif char == "{" and "f" in kind:
                if self.source.startswith("{{", self.at):
                    self.copy(self.at + 2)
                else:
                    self.field(quote)
            else:
                self.copy(self.at + 1)
        self.copy(self.at + len(quote))

    def escape(self, raw: bool):
        if not raw and self.keeps_backslash():
            self.emit("\\\\", replaces=1)
            self.at += 1
            if self.source[self.at : self.at + 1] in ("N", "x", "u", "U"):
                self.copy(self.at + 1)
        else:
            self.copy(min(self.at + 2, len(self.source)))

    def keeps_backslash(self) -> bool:
        """Whether the backslash at the position is text, not an escape."""
        char = self.source[self.at + 1 : self.at + 2]
        if char in "\n\r\\'\"01234567" or not char:
            return False
        if char in _COMPLETE:
            return not _COMPLETE[char].match(self.source, self.at + 2)
        if char in "abfv":
            return self.source[self.at + 2 : self.at + 3].isalpha()
        if char in "nrt":
            return _matched(_COMMAND, self.source, self.at + 1).group() in LATEX_COMMANDS
        return True

    def field(self, quote: str, spec_of: bool = False):
        """Copy one f-string replacement field, taking its literals out."""
        self.copy(self.at + 1)
        depth = 0
        while self.at < len(self.source):
            char = self.source[self.at]
            match = None if self.is_word_end() else _PREFIX.match(self.source, self.at)
            if match:
                self.hoist(match.group())
            elif char == "}" and depth == 0:
                self.copy(self.at + 1)
                return
            elif char == ":" and depth == 0:
                self.spec(quote)
                return
            elif char == "\n" and len(quote) == 1:
                return
            else:
                depth += (char in "([{") - (char in ")]}")
                self.copy(self.at + 1)

    def spec(self, quote: str):
        """Copy a format specification up to the closing brace of its field."""
        while self.at < len(self.source):
            char = self.source[self.at]
            if self.source.startswith(quote, self.at) or (char == "\n" and len(quote) == 1):
                return
            if char == "{":
                self.field(quote)
            elif char == "\\":
                self.escape(raw=False)
            else:
                self.copy(self.at + 1)
                if char == "}":
                    return

    def is_word_end(self) -> bool:
        before = self.source[self.at - 1 : self.at]
        return before.isalnum() or before == "_"

    def hoist(self, prefix: str):
        """Leave a name where a literal stood inside a field."""
        start = self.at
        inner = _Lexer(self.source)
        inner.at, inner.hoisted, inner.written = start, self.hoisted, self.written
        inner.string(prefix)
        name = f"__s{len(self.hoisted)}__"
        self.hoisted.append("".join(inner.out))
        self.at = inner.at
        self.written.append(self.source[start : self.at])
        self.emit(name, replaces=self.at - start)


def _matched(pattern: re.Pattern[str], text: str, at: int) -> re.Match[str]:
    """The match of a pattern that fits whatever can stand at `at`."""
    match = pattern.match(text, at)
    assert match is not None
    return match
