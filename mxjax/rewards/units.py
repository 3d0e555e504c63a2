r"""Take the unit off an amount.

`5.4 \text{ cents}`, `90^\circ`, `\$36`, `50%`, `18 apples`. A unit is a sign or a few plain words behind the amount.
Words that change the amount (percent, thousand, half), join it to another (and, or, to) or doubt it (about, not) are no
unit: with them the whole text is the answer.
"""

from __future__ import annotations

import re

_CURRENCIES = {r"\$": "dollar", r"US\$": "dollar", r"\pounds": "pound", r"\euro": "euro", "¥": "yen"}
_PREFIX = re.compile(r"([+-]? ?)(" + "|".join(map(re.escape, sorted(_CURRENCIES, key=len, reverse=True))) + r") ?")
_SUFFIX_SIGN = re.compile(r" ?(\\\$|\\pounds|\\euro|¥)$")
_DEGREES = re.compile(
    r" ?(?:\^ ?(?:\\circ|\{ ?\\circ ?\}) ?|(?:\\text ?\{ ?| )degrees?(?: ?\})?)(?:[CF]?|\\text ?\{ ?[CF] ?\})$"
)
_PERCENT = re.compile(r" ?(?:%|(?:\\(?:text|mathrm|mbox|textrm) ?\{ ?| )(?:percent|percentage|per cent)(?: ?\})?)$")
_UNIT = re.compile(
    r" ?(?:\\(?:text|mbox|mathrm|textrm|textnormal|operatorname|mathit|mathsf|textit|textbf) ?"
    r"\{(?P<wrapped>[^{}^0-9]*?)(?: ?\^ ?\{?(?P<inner>[0-9])\}?)? ?\}|(?<= )(?P<bare>[A-Za-z][A-Za-z.' /-]*?))"
    r"(?: ?\^ ?\{?(?P<power>[0-9])\}?)?$"
)
_WORDS = re.compile(r"[A-Za-z][A-Za-z.'-]*(?:(?: | ?/ ?| ?\\cdot ?)[A-Za-z][A-Za-z.'-]*){0,5}\.?")
_WORD = re.compile(r"[A-Za-z]+")
_NOT_UNITS = re.compile(
    r"(?:and|or|nor|to|not?|but|if|else|th[ae]n|about|approximately|roughly|around|nearly|almost|over|under|between|is|are"
    r"|was|equals?|plus|minus|times|divided|percent(?:age)?|(?:thousand|million|billion|trillion|hundred|dozen|third"
    r"|fourth|fifth|sixth|seventh|eighth|ninth|tenth|hundredth|thousandth|quarter|score|half)s?|halves|squared|cubed"
    r"|mod|modulo|base|remainder|factorial|pi|sqrt|sin|cos|tan|log|ln|exp|one|two|three|four|five|six|seven|eight|nine|ten"
    r"|eleven|twelve|twenty|thirty|forty|fifty|more|less|only|at|least|most|infinity|true|false|yes|none|undefined"
    r"|[eijxyznk])"
)
_NAMES = {  # of one unit, written in the singular
    spelling: name
    for name, spellings in {
        "mm": "millimeter millimetre",
        "cm": "centimeter centimetre",
        "m": "meter metre",
        "km": "kilometer kilometre",
        "mi": "mile",
        "ft": "foot feet",
        "in": "inch inche",
        "yd": "yard",
        "g": "gram gramme",
        "kg": "kilogram kilo",
        "lb": "pound",
        "oz": "ounce",
        "l": "liter litre",
        "ml": "milliliter millilitre",
        "s": "second sec",
        "min": "minute",
        "h": "hour hr",
        "day": "day",
        "dollar": "usd dollar buck",
        "cent": "cent",
        "mph": "mph",
        "sq": "square",
    }.items()
    for spelling in spellings.split()
}


def split_unit(text: str) -> tuple[str, str | None]:
    r"""(amount, name of the unit) of cleaned text.

    The name is None if there is no unit, "%" for percent. `\$5` and `5 dollars` have one name, and so have `5 cm`, `5
    \text{ centimeters}`.
    """
    match = _PREFIX.match(text)
    if match is not None:
        return (match[1] + text[match.end() :]).strip(), _CURRENCIES[match[2]]
    match = _SUFFIX_SIGN.search(text)
    if match is not None and text[: match.start()].strip():
        return text[: match.start()].strip(), _CURRENCIES[match[1]]
    for pattern, name in ((_PERCENT, "%"), (_DEGREES, "degree")):
        match = pattern.search(text)
        if match is not None:
            return text[: match.start()].strip(), name
    match = _UNIT.search(text)
    if match is None:
        return text, None
    words = (match["wrapped"] or match["bare"] or "").strip()
    if (
        not _WORDS.fullmatch(words)
        or any(map(_NOT_UNITS.fullmatch, words.casefold().split()))
        or _is_letter(match, words)
    ):
        return text, None
    return text[: match.start()].strip(), _name(words) + (match["power"] or match["inner"] or "")


def _is_letter(match: re.Match[str], words: str) -> bool:
    """Whether the unit may be letters for values, as in `5 xy`."""
    if match["bare"] is None:
        return False
    first = words.split()[0].casefold()
    return len(first) < 4 and _name(first) not in _NAMES.values()


def _name(words: str) -> str:
    """One name for the spellings of a unit."""
    names = []
    for word in _WORD.findall(words):
        word = word.casefold()
        single = word[:-1] if len(word) > 2 and word.endswith("s") and not word.endswith("ss") else word
        names.append(_NAMES.get(single, _NAMES.get(word, single)))
    power = {"sq": "2", "cubic": "3"}.get(names[0], "") if len(names) > 1 else ""
    return " ".join(names[1:] if power else names) + power
