"""Fenced code blocks of a text, paired as in CommonMark.

Correct pairing keeps prose between two blocks from being taken for one. Block quotes and list items are followed, since
a block in one has their indentation. HTML blocks are not: tags such as `<solution>` stand around blocks here. Beyond
CommonMark, a Python fence may open at the end of a line of text (`So: ```python`), and the last fence may close at the
end of a line of code, since models write both. The time is linear in the length of any text.
"""

from __future__ import annotations

import dataclasses
import re

MAX_DEPTH = 32
"""Quotes and list items that may stand in each other; deeper ones are text."""

_LINE = re.compile(r"[^\r\n]*+(?:\r\n|\n|\r)|[^\r\n]++\Z")
_MARKER = re.compile(r"(?:[-+*]|[0-9]{1,9}[.)])(?=[ \t]|\Z)")
_OPENING = re.compile(r"(`{3,}+)([^`]*)\Z|(~{3,}+)(.*)\Z", re.DOTALL)
_CLOSING = re.compile(r"(`{3,}+|~{3,}+)[ \t]*\Z")
_RULE = re.compile(r"(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})\Z")
_HEADING = re.compile(r"#{1,6}(?:[ \t]|\Z)")
_LANGUAGE = re.compile(r"[{.\s]*([\w+#-]*(?:\.[0-9]+)?)")
_PYTHON = re.compile(r"py(?:thon)?(?:3(?:\.[0-9]+)?)?")
_ESCAPE = re.compile(r"\\([!-/:-@\[-`{-~])")


@dataclasses.dataclass(frozen=True, slots=True)
class Fence:
    """A fenced block and its place in the text.

    It has the info string, and the lines without the indentation of the fence. `text[start:end]` goes from the opening
    fence to the end of the closing one, or of the text.
    """

    info: str
    content: str
    start: int
    end: int

    @property
    def language(self) -> str:
        """The first word of the info string, in lower case.

        `{.python}` and `python:a.py` are python.
        """
        word = _LANGUAGE.match(self.info)
        return word[1].lower() if word else ""

    @property
    def is_python(self) -> bool:
        return _PYTHON.fullmatch(self.language) is not None


def fences(text: str) -> list[Fence]:
    """The fenced blocks of `text`, in order.

    The last one may be unclosed and then reaches as far as it can.
    """
    if "```" not in text and "~~~" not in text:
        return []
    reader = _Reader()
    for match in _LINE.finditer(text):
        reader.take(match[0].rstrip("\r\n"), match.start())
    reader.close(len(text), at_end=True)
    return reader.found


class _Line:
    """A line without the marks of quotes and list items.

    Tabs count as columns.
    """

    __slots__ = ("column", "indent", "rest", "text")

    def __init__(self, text: str):
        self.column, self.text = 0, text
        self._look()

    def _look(self) -> None:
        self.rest = self.text.lstrip(" \t")
        space = self.text[: len(self.text) - len(self.rest)]
        past = self.column % 4
        self.indent = len((" " * past + space).expandtabs(4)) - past if "\t" in space else len(space)

    def skip(self, columns: int) -> None:
        """Take off so many columns of indentation."""
        if columns:
            columns = min(columns, self.indent)
            space = len(self.text) - len(self.rest)
            plain = self.indent == space
            self.text = self.text[columns:] if plain else " " * (self.indent - columns) + self.rest
            self.column += columns
            self._look()

    def drop(self, characters: int) -> None:
        """Take off the indentation and so many characters after it."""
        self.column += self.indent + characters
        self.text = self.rest[characters:]
        self._look()


class _Reader:
    """The containers that are open, and the fence, from line to line.

    A container is the columns that a line must be indented by to belong to a list item, or -1 for a quote.
    """

    def __init__(self):
        self.found: list[Fence] = []
        self._containers: list[int] = []
        self._paragraph = self._bare = False  # whether the line before was text; was a list marker alone
        self._fence: tuple[str, str, int, int] | None = None  # the fence, its info, its indentation, where it began
        self._content: list[str] = []
        self._end = 0

    def take(self, text: str, start: int) -> None:
        """Read the next line, without its line break; it starts at `start`."""
        line = _Line(text)
        matched = self._match(line)
        if self._fence is not None:
            if matched == len(self._containers):
                self._inside(self._fence, line, start + len(text))
                return
            self.close(start)
        known, matched = matched, self._open(line, matched)
        if line.indent < 4 and (opening := _OPENING.match(line.rest)):
            del self._containers[matched:]
            fence, info = (opening[1], opening[2]) if opening[1] else (opening[3], opening[4])
            self._begin(fence, info, line.indent, start + len(text) - len(line.rest), start + len(text))
        elif late := _late_opening(line.rest):
            del self._containers[matched:]
            self._begin(*late, 0, start + len(text) - len("".join(late)), start + len(text))
        elif not line.rest:
            del self._containers[matched - (self._bare and matched == known) :]  # an item begins with one blank line
            self._paragraph, self._bare = False, matched > known and self._containers[-1] >= 0
            return
        elif not (self._paragraph and matched < len(self._containers)) or _ends_paragraph(line):
            del self._containers[matched:]
            continues = self._paragraph or line.indent < 4
            self._paragraph = continues and not _ends_paragraph(line)
        self._bare = False

    def _begin(self, fence: str, info: str, indent: int, start: int, end: int) -> None:
        self._fence = fence, _ESCAPE.sub(r"\1", info.strip()), indent, start
        self._paragraph, self._end = False, end

    def _match(self, line: _Line) -> int:
        """Count the open containers that the line continues.

        Their marks are removed from the line.
        """
        for depth, columns in enumerate(self._containers):
            if columns < 0:
                if line.indent > 3 or not line.rest.startswith(">"):
                    return depth
                line.drop(1)
                line.skip(1)
            elif line.rest and line.indent < columns:
                return depth
            else:
                line.skip(columns)
        return len(self._containers)

    def _open(self, line: _Line, matched: int) -> int:
        """Open the line's containers and close those it did not match.

        Returns how many are open now.
        """
        while line.indent < 4 and matched < MAX_DEPTH:
            if line.rest.startswith(">"):
                columns = -1
                line.drop(1)
                line.skip(1)
            elif (marker := _MARKER.match(line.rest)) and not _RULE.match(line.rest):
                lazy = self._paragraph and matched == len(self._containers)
                if lazy and (not line.rest[marker.end() :].strip(" \t") or marker[0][:-1] not in ("", "1")):
                    return matched
                columns = line.indent + marker.end()
                line.drop(marker.end())
                gap = line.indent if line.rest and line.indent < 5 else 1
                columns += gap
                line.skip(gap)
            else:
                return matched
            self._containers[matched:] = [columns]
            self._paragraph = False
            matched += 1
        return matched

    def _inside(self, opened: tuple[str, str, int, int], line: _Line, end: int) -> None:
        fence, _, indent, _ = opened
        self._end = end
        if line.indent < 4 and (closing := _CLOSING.match(line.rest)):
            if closing[1].startswith(fence):
                self.close(end)
                return
        if line.rest.startswith(fence) and (late := _late_opening(line.rest)):
            self.close(end)
            self._begin(*late, 0, end - len("".join(late)), end)
            return
        line.skip(indent)
        self._content.append(line.text + "\n")

    def close(self, end: int, at_end: bool = False) -> None:
        """End the open fence, if there is one.

        `at_end` says that the text has ended.
        """
        if self._fence is not None:
            fence, info, _, start = self._fence
            content = "".join(self._content)
            if at_end and content.rstrip().endswith(fence):
                content = content.rstrip().removesuffix(fence) + "\n"
            self.found.append(Fence(info, content, start, min(end, self._end)))
            self._fence, self._content = None, []


def _late_opening(text: str) -> tuple[str, str] | None:
    """A Python fence and its info that end a text line."""
    before, _, info = text.rpartition("```")
    if not before or not _PYTHON.fullmatch(info.strip().lower()):
        return None
    return "`" * (len(before) - len(before.rstrip("`")) + 3), info


def _ends_paragraph(line: _Line) -> bool:
    return line.indent < 4 and bool(_RULE.match(line.rest) or _HEADING.match(line.rest))
