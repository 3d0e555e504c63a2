"""Where text reaches a terminal.

Everything that the commands print goes through `say`. Replies, names and the contents of files are written by models
and strangers. A terminal obeys the control characters among them: they can rewrite lines that stand already, hide text,
or turn it around.
"""

from __future__ import annotations

import logging
import re
import sys
from typing import TextIO

# Control characters but tab and newline, marks of direction, invisible tags, and lone surrogates.
_OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)


def shown(text: object) -> str:
    """The text with every terminal control character spelled out.

    For example as \\x1b; tabs and newlines stay.
    """
    return _OBEYED.sub(lambda found: ascii(found[0])[1:-1], str(text).replace("\r\n", "\n"))


def shown_in_line(text: object) -> str:
    """As `shown`, newlines and tabs spelled out too.

    For names, which have to stay in their line.
    """
    return shown(text).replace("\n", "\\n").replace("\t", "\\t")


def say(text: object = "", file: TextIO | None = None, end: str = "\n") -> None:
    """Print `text`, whatever characters the terminal can write.

    It goes to standard output unless `file` is given.
    """
    file = sys.stdout if file is None else file
    encoding = getattr(file, "encoding", None) or "utf-8"
    print(shown(text).encode(encoding, "backslashreplace").decode(encoding), file=file, end=end, flush=True)


class _Shown(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return shown(super().format(record))


def show_warnings() -> None:
    """Print unhandled log records as `say` would."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_Shown("%(message)s"))
