"""Extraction of the one program of a message.

Graders, votes and the messages shown to later agents use one rule. The rule, first that applies:

1. in the last `<solution>` block: its last Python fence, else its last fence of no language that is a program; a block
   without any fence is the program as it stands, and one with other fences alone holds none;
2. the same of the fences of the whole message;
3. what stands after an unclosed `<solution>`, or the whole message, if it is a program.

A text is a program if Python reads it and it does or defines something. Prose that Python can read, such as `hello`,
`42`, `Answer: 42` or `yes, no`, does neither.
"""

from __future__ import annotations

import ast
import textwrap

from mxjax.fences import Fence, fences

MAX_MESSAGE = 1 << 19
"""Characters of a message, from its end, that are looked at: more than agents write, so that no fence is cut in two."""
MAX_UNMARKED = 1 << 16
"""Characters of a program that nothing marks as one."""

_OPENING, _CLOSING = "<solution>", "</solution>"
_DOES = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.Import,
    ast.ImportFrom,
    ast.Assign,
    ast.AugAssign,
    ast.For,
    ast.While,
    ast.If,
    ast.With,
    ast.Try,
    ast.TryStar,
    ast.Match,
)


def extract_program(message: str) -> str | None:
    """The one program of a message, by the rule above.

    Returns None if it has none.
    """
    text = message[-MAX_MESSAGE:]
    solution = solution_in(text)
    if solution is not None:
        blocks = fences(solution)
        fence = _chosen(blocks)
        if fence or not blocks:
            return _dedented(fence.content if fence else solution.strip("\r\n"))
        return None
    if fence := program_fence(text):
        return _dedented(fence.content)
    rest = text.rpartition(_OPENING)[2]
    return rest if is_program(rest) else None


def program_fence(text: str) -> Fence | None:
    """The fence with the program of a text without `<solution>`.

    Returns None if no fence has one.
    """
    return _chosen(fences(text))


def solution_in(text: str) -> str | None:
    """The contents of the last `<solution>` block.

    Returns None without such a block, or if it is empty.
    """
    end = text.rfind(_CLOSING)
    start = text.rfind(_OPENING, 0, end) if end >= 0 else -1
    solution = text[start + len(_OPENING) : end] if start >= 0 else ""
    return solution if solution.strip() else None


def is_program(text: str) -> bool:
    """Whether Python reads `text` and it does or defines something.

    Prose does not.
    """
    if len(text) > MAX_UNMARKED:
        return False
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(map(_does_something, body))


def _does_something(node: ast.stmt) -> bool:
    if isinstance(node, ast.Expr):
        return any(isinstance(part, ast.Call) for part in ast.walk(node))
    return isinstance(node, _DOES) or (isinstance(node, ast.AnnAssign) and node.value is not None)


def _chosen(blocks: list[Fence]) -> Fence | None:
    """The last non-empty Python fence, else the last plain program.

    A plain program is a fence of no language that is a program.
    """
    marked = [fence for fence in blocks if fence.is_python and fence.content.strip()]
    return marked[-1] if marked else next(filter(_is_plain_program, reversed(blocks)), None)


def _is_plain_program(fence: Fence) -> bool:
    return not fence.info and is_program(_dedented(fence.content))


def _dedented(source: str) -> str:
    """A program without the indentation that all its lines share.

    Python would not read it otherwise.
    """
    space = source[: len(source) - len(source.lstrip())]
    return textwrap.dedent(source) if space.rpartition("\n")[2] else source
