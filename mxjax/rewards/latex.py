r"""Read the LaTeX that answers are written in.

Spacing and wrappers removed, lists split, tokens compared. Everything is a bounded pass over at most 512 characters.
Nothing here knows arithmetic. What LaTeX and Unicode spell in several ways is said once, in two tables.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from mxjax.rewards.extract import closing_brace

# Spellings of one thing: LaTeX commands, then characters
_COMMANDS = {
    spelling: canonical
    for canonical, spellings in {
        r"\frac": r"\dfrac \tfrac \cfrac",
        r"\leq": r"\le \leqslant \leqq",
        r"\geq": r"\ge \geqslant \geqq",
        r"\neq": r"\ne",
        "<": r"\lt",
        ">": r"\gt",
        r"\emptyset": r"\varnothing \O",
        r"\infty": r"\infin \inf",
        r"\{": r"\lbrace",
        r"\}": r"\rbrace",
        "[": r"\lbrack",
        "]": r"\rbrack",
        "|": r"\lvert \rvert \vert \mid",
        r"\cdot": r"\cdotp \centerdot \ast",
        r"\cup": r"\bigcup",
        r"\cap": r"\bigcap",
        r"\rightarrow": r"\to \longrightarrow",
        r"\wedge": r"\land",
        r"\vee": r"\lor",
        r"\setminus": r"\backslash \smallsetminus",
        r"\mathbb{R}": r"\R \Reals \reals",
        r"\mathbb{Z}": r"\Z \integers",
        r"\mathbb{N}": r"\N",
        r"\mathbb{Q}": r"\Q",
        r"\epsilon": r"\varepsilon",
        r"\phi": r"\varphi",
        r"\theta": r"\vartheta",
        r"\tan": r"\tg",
        r"\cot": r"\ctg \cotg",
        r"\csc": r"\cosec",
        r"\arctan": r"\arctg",
        r"^\circ": r"\degree",
        r"\$": r"\textdollar",
        r"\%": r"\percent",
        "": r"\left \right \big \Big \bigg \Bigg \bigl \bigr \Bigl \Bigr \biggl \biggr \Biggl \Biggr \middle"
        r" \displaystyle \textstyle \limits \nolimits \mathstrut",
        " ": r"\quad \qquad \enspace \thinspace \medspace \thickspace \nobreakspace \space",
    }.items()
    for spelling in spellings.split()
}
_CHARACTERS = {
    "−": "-", "–": "-", "﹣": "-", "－": "-", "≤": r"\leq ", "⩽": r"\leq ", "≥": r"\geq ", "⩾": r"\geq ", "≠": r"\neq ",
    "∞": r"\infty ", "∅": r"\emptyset ", "°": r"^\circ ", "×": r"\times ", "÷": r"\div ", "·": r"\cdot ",
    "⋅": r"\cdot ", "±": r"\pm ", "∓": r"\mp ", "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "→": r"\rightarrow ",
    "√": r"\sqrt ", "π": r"\pi ", "θ": r"\theta ", "α": r"\alpha ", "β": r"\beta ",
    "γ": r"\gamma ", "λ": r"\lambda ", "φ": r"\phi ",
    "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}", "ℕ": r"\mathbb{N}", "ℚ": r"\mathbb{Q}", "∖": r"\setminus ",
    "²": "^{2}", "³": "^{3}", "½": r"\frac{1}{2}", "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}",
    "£": r"\pounds ", "€": r"\euro ", "％": "%", "（": "(", "）": ")", "，": ",", "＝": "=", "\u00a0": "~",
    "\u2009": r"\,", "\u202f": r"\,",
}  # fmt: skip
_CHARACTER_TABLE = str.maketrans(_CHARACTERS)
_COMMAND = re.compile(r"\\[A-Za-z]+")
_REWRITES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\operatorname\*?\s*\{\s*([A-Za-z]+)\s*\}", r"\\\1 "),
        (r"\\mathbf\s*\{\s*([RZNQ])\s*\}", r"\\mathbb{\1}"),
        (r"\\(?:mathrm|text|mathit)\s*\{\s*([eidj])\s*\}", r"\1 "),
        (r"\\not\s*=", r"\\neq "),
        (r"\\(?:hspace|vspace|phantom|hphantom|vphantom)\*?\s*\{[^{}]*\}", " "),
        (r"(?<!\\)\\[()\[\]]", ""),
        (r",\s*\\!\s*", ","),
        (r"\{,\}", ","),
        (r"(?<!\\)\\!", ""),
    )
)
# Thousands are grouped by thin spaces as they are by commas, group by group
_GROUPED = re.compile(r"(?<![0-9.,])[1-9][0-9]{0,2}(?:(?:\\[,:; ]|~)[0-9]{3})+(?![0-9])")
_GROUP_SPACE = re.compile(r"\\[,:; ]|~")
_SPACES = re.compile(r"(?<!\\)\\[,;:> ]|~")
_AFTER = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\%", "%"),
        (r"\\circ(?![A-Za-z])", r"\\circ "),
        (r"\\\{\s*\\\}", r"\\emptyset "),
    )
)
_WRAPPER = re.compile(
    r"\\(?:text|textbf|textit|textrm|textnormal|mathrm|mathbf|mathit|mathsf|mbox|hbox|boxed|fbox|bm)\s*\{"
)
_DOLLAR = re.compile(r"(?<!\\)\$")
_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|\S")
_DELIMITER = re.compile(r"\\cup(?![A-Za-z])|\\[{}]|\\.|[()\[\]{},]")
_CONJUNCTION = re.compile(r"\s*(?:,\s*)?(?:\\text\s*\{\s*(?:and|or)\s*\}|\b(?:and|or)\b)\s*")
_OPENING = frozenset(("(", "[", "{", r"\{"))
_CLOSING = frozenset((")", "]", "}", r"\}"))


def clean(text: str) -> str:
    r"""One spelling for what LaTeX can spell in many.

    No math delimiters, wrappers, spacing or final full stop. A lone unescaped `$` is money and becomes `\$`; single
    spaces stay, since `1 4/5` is not `14/5`.
    """
    text = text.translate(_CHARACTER_TABLE)
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    text = _COMMAND.sub(lambda found: _COMMANDS.get(found.group(), found.group()), text)
    text = _GROUPED.sub(lambda found: _GROUP_SPACE.sub("", found.group()), text)
    text = _SPACES.sub(" ", text)
    for pattern, replacement in _AFTER:
        text = pattern.sub(replacement, text)
    dollars = len(_DOLLAR.findall(text))
    text = _DOLLAR.sub(r"\\$" if dollars % 2 else "", text)
    text = " ".join(text.split())
    for _ in range(4):
        bare = _unwrap(text.strip(" *`"))
        if bare == text:
            break
        text = bare
    return text


def _unwrap(text: str) -> str:
    r"""`text` without one outer wrapper or final full stop.

    Wrappers are `\text{...}` and `{...}`.
    """
    wrapper = _WRAPPER.match(text)
    start = wrapper.end() if wrapper else 1 if text.startswith("{") else 0
    if start and closing_brace(text, start) == len(text) - 1:
        return text[start:-1].strip()
    return text[:-1].rstrip() if text.endswith(".") else text


def tokens(text: str) -> tuple[str, ...]:
    r"""The LaTeX tokens of cleaned text.

    No white space, no braces around a single token, no leading plus. `\frac{1}{2}` and `\frac12` agree; `2^{10}` and
    `2^10` do not, since the second is `2^{1} 0` to LaTeX.
    """
    kept: list[str] = []
    for token in _TOKEN.findall(text):
        if token == "}" and len(kept) >= 2 and kept[-2] == "{" and kept[-1] != "{":
            del kept[-2]
        else:
            kept.append(token)
    return tuple(kept[1:] if kept[:1] == ["+"] else kept)


_ARGUMENT = re.compile(r"\\[A-Za-z]+|[A-Za-z]|[0-9](?![0-9.])")
_TAKES = re.compile(r"\\(?P<of>frac|binom|sqrt(?: ?\[[^\[\]{}]*\])?)(?![A-Za-z])|[\^_]")


def explicit(text: str) -> str:
    r"""Cleaned text with braces around every argument of one token.

    `\frac12` becomes `\frac{1}{2}`. An argument that LaTeX reads otherwise than it looks, as in `x^10`, stays as it is.
    """
    kept, place = [], 0
    while (command := _TAKES.search(text, place)) is not None:
        kept.append(text[place : command.end()])
        place = command.end()
        takes_two = command["of"] in ("frac", "binom")
        for _ in range(1 + takes_two):
            while place < len(text) and text[place] == " ":
                place += 1
            if text.startswith("{", place):
                end = closing_brace(text, place + 1)
                if end is None:
                    return "".join(kept) + text[place:]
                kept.append("{" + explicit(text[place + 1 : end]) + "}")
                place = end + 1
            elif takes_two and place < len(text) and text[place].isdigit():
                kept.append("{" + text[place] + "}")
                place += 1
            elif (token := _ARGUMENT.match(text, place)) is not None:
                kept.append("{" + token.group() + "}")
                place = token.end()
            else:
                break
    return "".join(kept) + text[place:]


def split_relations(text: str) -> tuple[list[str], list[str]]:
    r"""(terms, relations) of `a \leq b < c`, smaller side first.

    No relations if it has none.
    """
    terms, relations = [], []
    place = 0
    for found in _RELATION.finditer(text):
        terms.append(text[place : found.start()].strip())
        relations.append(found.group())
        place = found.end()
    terms.append(text[place:].strip())
    if relations and all(relation in _FLIPPED for relation in relations):
        return terms[::-1], [_FLIPPED[relation] for relation in reversed(relations)]
    return terms, relations


_RELATION = re.compile(r"\\(?:leq|geq|neq)(?![A-Za-z])|[<>]")
_FLIPPED = {">": "<", r"\geq": r"\leq"}


def split_matrix(text: str) -> list[list[str]] | None:
    r"""The cells of a LaTeX matrix, row by row.

    `\begin{pmatrix} a & b \\\\ c & d \end{pmatrix}`; None for any other text.
    """
    matrix = _MATRIX.fullmatch(text)
    if matrix is None:
        return None
    rows = [[cell.strip() for cell in row.split("&")] for row in re.split(r"\\\\", matrix["cells"])]
    return rows[:-1] if len(rows) > 1 and rows[-1] == [""] else rows


_MATRIX = re.compile(
    r"[(\[]?\\begin ?\{(?P<kind>[pb]?matrix|array)\}(?: ?\{[lcr|]*\})?(?P<cells>(?:(?!\\begin).)*)"
    r"\\end ?\{(?P=kind)\}[)\]]?"
)


def split_top(text: str, separator: str) -> list[str]:
    r"""Split at `separator` ("," or `\cup`) outside of all brackets."""
    parts, depth, start = [], 0, 0
    for mark in _DELIMITER.finditer(text):
        if mark.group() in _OPENING:
            depth += 1
        elif mark.group() in _CLOSING:
            depth -= 1
        elif depth == 0 and mark.group() == separator:
            parts.append(text[start : mark.start()].strip())
            start = mark.end()
    parts.append(text[start:].strip())
    return parts


def split_list(text: str) -> list[str]:
    r"""Split a bare list at commas and at "and" and "or".

    `1 \pm 2` is a list of two.
    """
    parts = split_top(_CONJUNCTION.sub(",", text), ",")
    return [half for part in parts for half in _halves(part)]


def _halves(text: str) -> list[str]:
    if not _EITHER.search(text):
        return [text]
    upper, lower = {"p": "+", "m": "-"}, {"p": "-", "m": "+"}
    return [_signed(text, upper), _signed(text, lower)]


def _signed(text: str, signs: Mapping[str, str]) -> str:
    return _EITHER.sub(lambda sign: signs[sign[1]], text)


_EITHER = re.compile(r"\\(p|m)[pm](?![A-Za-z])")


def split_brackets(text: str) -> tuple[str, list[str], str] | None:
    r"""(opening, elements, closing) of a bracketed list.

    `(...)`, `[...]`, `(...]` or `\{...\}`; None for any other text.
    """
    marks = list(_DELIMITER.finditer(text))
    if len(marks) < 2 or marks[0].start() != 0 or marks[-1].end() != len(text):
        return None
    opening, closing = marks[0].group(), marks[-1].group()
    if opening not in _OPENING - {"{"} or closing not in _CLOSING - {"}"}:
        return None
    if (opening == r"\{") != (closing == r"\}"):
        return None
    depth = 0
    for mark in marks:
        depth += (mark.group() in _OPENING) - (mark.group() in _CLOSING)
        if depth <= 0 and mark is not marks[-1]:
            return None
    inner = text[marks[0].end() : marks[-1].start()]
    return (opening, split_top(inner, ","), closing) if depth == 0 else None
