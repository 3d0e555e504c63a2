"""Build HTML so that text stays text.

Every child and attribute that is not Markup is cleaned and escaped. Most of what a report shows was written by a model,
and a model may write anything.
"""

from __future__ import annotations

import re
from typing import Any

from markupsafe import Markup, escape

_LEAVES = frozenset({"path", "line", "rect", "circle", "polygon", "meta", "br"})
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_INVISIBLE = re.compile("[\u0080-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufffe\uffff]")


def clean(text: str) -> str:
    """`text` with unprintable and misleading characters made visible.

    Control characters become their pictures (U+2400 on); lone surrogates, direction overrides and zero-width characters
    become escapes such as \\u202e.
    """
    text = text.replace("\r\n", "\n")
    text = _CONTROL.sub(lambda m: "\u2421" if m[0] == "\x7f" else chr(0x2400 + ord(m[0])), text)
    return _INVISIBLE.sub(lambda m: f"\\u{ord(m[0]):04x}", text)


def join(*children: Any) -> Markup:
    """The children one after the other.

    None is skipped; sequences are flattened.
    """
    parts = []
    for child in children:
        if isinstance(child, Markup):
            parts.append(child)
        elif isinstance(child, list | tuple):
            parts.append(join(*child))
        elif child is not None:
            parts.append(escape(clean(str(child))))
    return Markup("").join(parts)


def tag(name: str, /, *children: Any, **attributes: Any) -> Markup:
    """One element.

    `class_` is written class and `stroke_width` stroke-width; None leaves an attribute out. Numbers are written short;
    text in attributes is cleaned and escaped as children are.
    """
    texts = [
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), join(_short(value)))
        for key, value in attributes.items()
        if value is not None
    ]
    start = Markup("<") + name + Markup("").join(texts)
    if name in _LEAVES:
        return start + Markup("/>")
    return start + Markup(">") + join(*children) + Markup("</{}>").format(name)


def _short(value: Any) -> Any:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else value


def shorten(text: str, limit: int) -> str:
    """`text`, or its beginning and end around a note.

    The note says how much is left out.
    """
    if len(text) <= limit:
        return text
    tail = limit // 3
    left_out = len(text) - limit
    return f"{text[: limit - tail]}\n[… {left_out:,} characters left out …]\n{text[len(text) - tail :]}"
