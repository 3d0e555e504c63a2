"""Markup tokens of a model, and how message text is escaped.

Every chat format has the weakness of SQL: data and commands are one string. While a template runs, markup spelled out
in a message is masked; what the template itself writes is found afterwards, and only that becomes tokens.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tokenizers import AddedToken

from mxjax.errors import UserError

_BRACKETED = re.compile(r"<[^\s<>]+>|\[[^\s\[\]]+\]")


def markup_of(added: Iterable[AddedToken], template: str, words: Mapping[str, int] | None) -> frozenset[str]:
    """Markup tokens not declared special, such as "<think>" and "<|fim_prefix|>".

    These are names in brackets that the template spells, that have bars, or that the vocabulary of text, `words`, lacks
    (None: the vocabulary cannot tell). The rest are text: words of our own tokenizers, and what sentencepiece was told
    to keep whole, such as HTML tags.
    """
    names = [token.content for token in added if not token.special and _BRACKETED.fullmatch(token.content)]
    lacked = set() if words is None else {name for name in names if name not in words}
    return frozenset(name for name in names if name.startswith("<|") or name in template or name in lacked)


def one_of(texts: Iterable[str]) -> re.Pattern:
    """A pattern of any of these texts, the longest first.

    Without texts it matches nothing.
    """
    longest_first = sorted((text for text in texts if text), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")


def with_spaces(added: Iterable[AddedToken]) -> re.Pattern:
    """A pattern of any of these tokens with the spaces it absorbs."""
    space = {True: r"\s*", False: ""}
    longest_first = sorted((token for token in added if token.content), key=lambda token: -len(token.content))
    spelled = (space[token.lstrip] + re.escape(token.content) + space[token.rstrip] for token in longest_first)
    return re.compile("|".join(spelled) or r"(?!)")


def mask(
    messages: Sequence[Mapping[str, Any]], pattern_of: Callable[[str], re.Pattern]
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Mask whatever the pattern of a message's role matches.

    Returns the masked messages, and mask → its text. Raises ValueError for a role that spells out a token.
    """
    everything = json.dumps(list(messages), ensure_ascii=False, default=str)
    mark = next(c for c in map(chr, range(0xE000, 0xF900)) if c not in everything)
    names: dict[str, str] = {}

    def hidden(value: Any, pattern: re.Pattern) -> Any:
        if isinstance(value, str):
            return pattern.sub(lambda found: names.setdefault(found[0], f"{mark}{len(names)}{mark}"), value)
        if isinstance(value, Mapping):
            return {key: hidden(item, pattern) for key, item in value.items()}
        return [hidden(item, pattern) for item in value] if isinstance(value, list | tuple) else value

    masked = [hidden(message, pattern_of(message["role"])) for message in messages]
    for message, was in zip(masked, messages):
        if message["role"] != was["role"]:
            raise UserError(f"the role {was['role']!r} spells out a control token")
    return masked, {name: text for text, name in names.items()}


def unmask(text: str, masks: Mapping[str, str]) -> str:
    """The text with what the masks stand for."""
    return one_of(masks).sub(lambda found: masks[found[0]], text) if masks else text
