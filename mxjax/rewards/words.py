"""Grade answers that are words.

Equal up to spacing and Unicode form, nothing more lenient.
"""

from __future__ import annotations

import unicodedata

from mxjax.rewards.extract import MAX_ANSWER, extract_answer
from mxjax.rewards.latex import clean
from mxjax.rewards.verdict import Verdict


def grade_text(gold: str | None, answer: str) -> Verdict:
    r"""Exact comparison of a message's final answer with `gold`.

    Letter case counts.

    Raises:
        ValueError: `gold` is empty or not a str.
    """
    if not isinstance(gold, str) or not gold.strip():
        raise ValueError(f"The gold answer must be a non-empty str, got {gold!r}: fix the data set's row.")
    final = extract_answer(answer)
    if final is None or not final.strip():
        return Verdict(False, "no_answer")
    if len(final) > MAX_ANSWER:
        return Verdict(False, "too_long")
    return Verdict(_same(final) == _same(gold) or _same(clean(final)) == _same(gold), "text")


def _same(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())
