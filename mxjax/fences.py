"""Fenced code blocks of Markdown, paired as CommonMark pairs them.

What a model writes is read in many places (programs, designs, code that agents run), and every place must see the same
blocks: a regular expression takes the end of one block for the beginning of the next.
"""

from __future__ import annotations

import dataclasses
import re

from markdown_it import MarkdownIt

_LINE_END = re.compile(r"\r\n|\r|\n")
_PYTHON = re.compile(r"\{?\s*\.?(?:python|py)(?:[23](?:\.[0-9]+)*)?(?![\w.+#-])", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Fence:
    """One fenced block: the info string of its opening line, and its content without the fence's indentation."""

    info: str
    content: str
    start: int  # where the line of its opening begins in the text

    @property
    def is_python(self) -> bool:
        """Whether the info string names Python: `python`, `Py3`, `{.python}`, `python title="a.py"`."""
        return _PYTHON.match(self.info) is not None


def fences(text: str) -> list[Fence]:
    """The fenced blocks of `text`, in order, also those in lists and quotations; an unclosed one runs to the end.

    Indented code blocks are none. Lines end in newlines, whatever they ended in. The time is linear in the length.
    """
    if "```" not in text and "~~~" not in text:
        return []
    starts = [0, *(found.end() for found in _LINE_END.finditer(text))]
    found = (token for token in _READER.parse(text) if token.type == "fence")
    return [Fence(token.info.strip(), token.content, starts[token.map[0]]) for token in found]


def program_fence(text: str) -> Fence | None:
    """The fence of `text` that holds its program: the last one of Python, else the last one of no named language.

    Blocks of another language and empty ones are never it.
    """
    written = [fence for fence in fences(text) if fence.content.strip()]
    python = [fence for fence in written if fence.is_python]
    plain = [fence for fence in written if not fence.info]
    return (python or plain or [None])[-1]


def _reader() -> MarkdownIt:
    """A parser of blocks alone, without those that could hide a fence: `<solution>` would begin a block of HTML."""
    reader = MarkdownIt("commonmark", {"maxNesting": 10})
    reader.disable(["html_block", "reference", "lheading", "heading", "hr"])
    reader.core.ruler.enableOnly(["normalize", "block"])
    return reader


_READER = _reader()
