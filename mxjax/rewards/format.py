r"""Format reward of an executor's own reply.

The next agent and the grader rely on that format. Judged on the raw text of the reply that became the answer, each
marker exactly once: the harness's echo of a marker, or a second copy of it in a tool's output, earns nothing (method,
sections 4 and 10).
"""

from __future__ import annotations

import re

from mxjax.program_extraction import extract_program
from mxjax.rewards.extract import BOX, closing_brace

_STATEMENT = re.compile(r"FINAL ANSWER:\s{0,8}")


def format_math(text: str) -> float:
    r"""1.0 for a mathematical reply in the required format, else 0.0.

    One non-empty `<delivery>` block, then one `FINAL ANSWER: \boxed{...}` at the end.
    """
    delivery = _block(text, "delivery")
    statements = list(_STATEMENT.finditer(text))
    if delivery is None or len(statements) != 1 or statements[0].start() < delivery.end():
        return 0.0
    box = BOX.match(text, statements[0].end())
    if box is None:
        return 0.0
    end = closing_brace(text, box.end())
    is_last = end is not None and not text[end + 1 :].strip()
    return 1.0 if is_last and text[box.end() : end].strip() else 0.0


def format_code(text: str) -> float:
    """1.0 for a program reply in the required format, else 0.0.

    One non-empty `<delivery>` block, then one `<solution>` with a program at the end.
    """
    delivery, solution = _block(text, "delivery"), _block(text, "solution")
    if delivery is None or solution is None or solution.start() < delivery.end() or text[solution.end() :].strip():
        return 0.0
    return 1.0 if extract_program(solution[0]) else 0.0


def _block(text: str, tag: str) -> re.Match[str] | None:
    """The only `<tag>...</tag>` of `text`.

    Returns None if it is missing, repeated or empty.
    """
    if text.count(f"<{tag}>") != 1 or text.count(f"</{tag}>") != 1:
        return None
    block = re.search(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    return block if block is not None and block[1].strip() else None
