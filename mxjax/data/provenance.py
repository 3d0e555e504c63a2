"""What a policy was trained on, kept beside its weights.

Which questions, and what they are like. The identities of the questions show a benchmark or held-out question among
them. The summary of their words tells a user that a question is of another kind: a policy that has only seen sums still
answers when it is asked for a capital.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from mxjax import models
from mxjax.data.benchmarks import keys_of, quoted, shared_with
from mxjax.data.identity import IDENTITY
from mxjax.data.pools import Pools
from mxjax.errors import UserError
from mxjax.files import read_json, reading
from mxjax.rollout.records import Question

TRAINED_ON = "trained_on.json"
MAX_WORDS = 20_000  # kept, the most frequent; a rarer one counts as new
NEW_SHARE = 1 / 3  # of a question's distinct words, above which it is another kind of question
LONGER = 2.0  # times the longest question of the training
NAMED = 5  # new words that `unlike` names
_WORD, _NUMBER = re.compile(r"[^\W\d_]+"), re.compile(r"\d+")

_log = logging.getLogger(__name__)


def trained_on_record(questions: Iterable[Question], init: str) -> dict[str, Any]:
    """Contents of trained_on.json for a policy trained on `questions` from `init`."""
    questions = list(questions)
    like = merged(summary(question.text for question in questions), likeness_of(init))
    return {"identity": IDENTITY, "texts": sorted(keys_of(questions) | trained_on(init)), "likeness": like}


def check_unseen(pools: Pools, init: str) -> None:
    """Raise UserError where held-out questions were trained on before.

    By `init`, or by what it began from.
    """
    if known := shared_with(pools.held_out, trained_on(init)):
        raise UserError(
            f"{len(known)} of {len(pools.held_out)} held-out questions were trained on before, by {init} or "
            f"what it began from, such as {quoted(known[0])}: take its seed and data.train, or set data.validation"
        )


def trained_on(source: str) -> frozenset[str]:
    """The `statement_key` of every question that a policy was trained on.

    By its own run and by those it began from.

    Returns None for a source that does not have them, which is logged for a workdir.
    """
    if (kept := _kept(source)) is None:
        return frozenset()
    if kept.get("identity") != IDENTITY:
        _log.warning(
            "%s of %s is not there or of another version: no benchmark is compared with its training",
            TRAINED_ON,
            source,
        )
        return frozenset()
    return frozenset(kept.get("texts", ()))


def likeness_of(source: str) -> dict[str, Any]:
    """The `summary` of the questions that a policy was trained on.

    Empty where nothing is known of them.

    Raises ValueError for a file that has something else there.
    """
    known = (_kept(source) or {}).get("likeness", {})
    with reading(f"{TRAINED_ON} of {source}"):
        check_summary(known)
    return known


def _kept(source: str) -> dict[str, Any] | None:
    """Contents of trained_on.json of a workdir or a converted model.

    Returns None for another model.
    """
    try:
        directory = models.directory_of(source)
    except FileNotFoundError:  # of the hub, which cannot be reached: loading will say so
        directory = None
    if directory is None or not (models.is_workdir(source) or (directory / TRAINED_ON).exists()):
        return None
    path = directory / TRAINED_ON
    return read_json(path) if path.exists() else {}


def summary(texts: Iterable[str]) -> dict[str, Any]:
    """Summary of questions, as JSON.

    Words, signs, digits of the longest number and characters of the longest text; {} for no texts.
    """
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
    """What about a question the training never had.

    Returns "" where nothing stands out, or nothing is known of it.
    """
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


def check_summary(value: Any) -> None:
    """Raise ValueError for a value from a file that is no summary."""
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
