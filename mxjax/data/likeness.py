"""Whether a question is like those that a policy was trained on, by a small summary that is kept beside its weights.

A model answers whatever it is asked. Who asks a policy that has only seen sums for a capital should hear that its
answer means nothing.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from mxjax.errors import UserError

MAX_WORDS = 20_000  # kept, the most frequent; a rarer one counts as new
NEW_SHARE = 1 / 3  # of a question's distinct words, above which it is another kind of question
LONGER = 2.0  # times the longest question of the training
NAMED = 5  # new words that the sentence names
_WORD, _NUMBER = re.compile(r"[^\W\d_]+"), re.compile(r"\d+")


def summary(texts: Iterable[str]) -> dict[str, Any]:
    """Words, signs, digits of the longest number and characters of the longest text, as JSON; of no texts empty."""
    words: Counter[str] = Counter()
    signs: set[str] = set()
    digits = chars = 0
    for text in map(_folded, texts):
        words.update(set(_WORD.findall(text)))
        signs |= _signs(text)
        digits, chars = max(digits, _longest_number(text)), max(chars, len(text))
    if not chars:
        return {}
    kept = sorted(words, key=lambda word: (-words[word], word))[:MAX_WORDS]
    return {"words": sorted(kept), "signs": "".join(sorted(signs)), "digits": digits, "chars": chars}


def merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """The summary of the texts of both."""
    if not first or not second:
        return dict(first or second)
    return {
        "words": sorted({*first["words"], *second["words"]}),
        "signs": "".join(sorted({*first["signs"], *second["signs"]})),
        **{name: max(first[name], second[name]) for name in ("digits", "chars")},
    }


def unlike(text: str, trained: Mapping[str, Any]) -> str:
    """What about a question the training never had; "" where nothing stands out, or nothing is known of it."""
    if not trained:
        return ""
    text = _folded(text)
    words = list(dict.fromkeys(_WORD.findall(text)))
    known = set(trained["words"])
    new = [word for word in words if word not in known]
    if len(new) > NEW_SHARE * len(words):
        more = ", ..." if len(new) > NAMED else ""
        return f"{len(new)} of its {len(words)} words never occurred there ({', '.join(new[:NAMED])}{more})"
    if signs := sorted(_signs(text) - set(trained["signs"])):
        return f"the sign {signs[0]} never occurred there"
    if (digits := _longest_number(text)) > trained["digits"]:
        return f"it has a number of {digits} digits, and the longest there had {trained['digits']}"
    if len(text) > LONGER * trained["chars"]:
        return f"it has {len(text)} characters, and the longest there had {trained['chars']}"
    return ""


def check(value: Any) -> None:
    """Raises ValueError for a value, as a file may have it, that is no summary."""
    kinds = {"words": list, "signs": str, "digits": int, "chars": int}
    right = value == {} or (isinstance(value, dict) and {key: type(item) for key, item in value.items()} == kinds)
    if not right or not all(isinstance(word, str) for word in value.get("words", ())):
        raise UserError("its likeness is no summary of questions")


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _signs(text: str) -> set[str]:
    return {character for character in text if not (character.isalnum() or character.isspace())}


def _longest_number(text: str) -> int:
    return max(map(len, _NUMBER.findall(text)), default=0)
