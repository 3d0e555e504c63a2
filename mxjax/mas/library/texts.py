"""Read what agents write, and shorten it for other prompts.

Reads deliveries, answers, programs, verdicts and tool calls.
"""

from __future__ import annotations

import json
import re
from fractions import Fraction

from mxjax.fences import fences
from mxjax.program_extraction import extract_program, program_fence

_ANSWER = re.compile(r"FINAL ANSWER:[ \t]*(.*)")
_VERDICT = re.compile(r"\bVERDICT\b[^A-Za-z\n]{0,20}((?:NOT|IN)?[ _-]{0,3}CORRECT)\b", re.IGNORECASE)
_NEGATION = re.compile(r"\b(not|never|no|cannot|nor|hardly|partially|partly|whether|if|un\w+|\w+n['’]t|incorrect)\b")
_BRACES = re.compile(r"\\boxed\{|[{}]")
# String literals and comments of a program; one that is not closed reaches to the end, so that nothing is read twice.
_TOKENS = re.compile(
    r'"""(?:[^"\\]|\\.|"(?!""))*+(?:""")?'
    r"|'''(?:[^'\\]|\\.|'(?!''))*+(?:''')?"
    r'|"(?:[^"\\\n]|\\.)*+"?'
    r"|'(?:[^'\\\n]|\\.)*+'?"
    r"|#[^\n]*",
    re.DOTALL,
)
_FRACTION = re.compile(r"\\[dt]?frac\s*\{([^{}]+)\}\s*\{([^{}]+)\}")

UNCHANGED_CHARS = 10_000
COMPACT_CHARS = 3_000
CRITIQUE_CHARS = 1_500
_TAIL_CHARS = 800


def blocks(text: str, tag: str) -> list[tuple[str, int]]:
    """The contents of `<tag>` elements, and where each starts.

    A block ends at `</tag>`. The time is linear in the text.
    """
    opening, closing = f"<{tag}>", f"</{tag}>"
    found = []
    start = text.find(opening)
    while start >= 0:
        end = text.find(closing, start + len(opening))
        if end < 0:
            break
        found.append((text[start + len(opening) : end], start))
        start = text.find(opening, end + len(closing))
    return found


def _delivery(text: str) -> str:
    found = blocks(text, "delivery")
    return found[0][0].strip() if found else ""


def boxed(text: str) -> tuple[str, int] | None:
    """The content of the last complete `\\boxed{...}` and where it starts."""
    opened: list[re.Match] = []
    best = None
    for match in _BRACES.finditer(text):
        if match[0] != "}":
            opened.append(match)
        elif opened:
            start = opened.pop()
            if len(start[0]) > 1 and (best is None or start.start() > best[0]):
                best = (start.start(), start.end(), match.start())
    return (text[best[1] : best[2]].strip(), best[0]) if best else None


def python_block(text: str) -> str | None:
    """The first Python fence."""
    return next((fence.content.strip() for fence in fences(text) if fence.is_python), None)


def tool_call(text: str) -> tuple[str, dict] | str | None:
    """Name and arguments of the first `<tool_call>`; None without one.

    For one that cannot be read, the reason why.
    """
    found = blocks(text, "tool_call")
    if not found:
        return None
    try:
        value = json.loads(found[0][0])
    except (ValueError, RecursionError) as error:
        return str(error)[:200]
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return 'expected {"name": ..., "arguments": {...}}'
    arguments = value.get("arguments", {})
    return (value["name"], arguments) if isinstance(arguments, dict) else "arguments must be an object"


def entry(text: str, omitted: str) -> str:
    """The compact form of an earlier agent's reply, for later agents."""
    delivery = _delivery(text)
    if delivery:
        return delivery
    match = _ANSWER.search(text)
    if match and match[1].strip():
        return match[1].strip()
    found = blocks(text, "solution")
    if found:
        return f"<solution>{found[0][0]}</solution>"
    return text if len(text) <= 1200 else text[:200] + omitted + text[-800:]


def compact(text: str, task_type: str, omitted: str) -> str:
    """A reply as it enters another node's prompt.

    It is whole up to 10,000 characters, else its essence, capped.
    """
    if len(text) <= UNCHANGED_CHARS:
        return text
    delivery = _delivery(text)
    found = deliverable(text, task_type)
    if found is None:
        short = delivery or omitted.lstrip() + text[-4000:]
    elif delivery:
        short = f"{delivery}\n\n{found[0]}"
    else:
        start = max(0, found[1] - _TAIL_CHARS)
        short = f"{omitted.lstrip()}{text[start : found[1]].strip()}\n{found[0]}"
    return _capped(short, COMPACT_CHARS, omitted)


def _capped(text: str, most: int, omitted: str) -> str:
    if len(text) <= most:
        return text
    half = max(0, most - len(omitted)) // 2
    return text[:half] + omitted + text[len(text) - half :]


def compact_critique(text: str, omitted: str) -> str:
    """A critique as it enters a prompt: its head and tail.

    Errors are named in the head; the verdict is in the tail.
    """
    if len(text) <= CRITIQUE_CHARS:
        return text
    room = CRITIQUE_CHARS - len(omitted)
    return text[: room // 3] + omitted + text[len(text) - (room - room // 3) :]


def deliverable(text: str, task_type: str) -> tuple[str, int] | None:
    """The final answer or program of a reply, and where it starts.

    The answer is boxed; either is in its markers.
    """
    if task_type == "code":
        solutions = blocks(text, "solution")
        if solutions:
            return f"<solution>{solutions[-1][0]}</solution>", solutions[-1][1]
        fence = program_fence(text)
        return (text[fence.start : fence.end], fence.start) if fence else None
    answer = boxed(text)
    if answer:
        return f"\\boxed{{{answer[0]}}}", answer[1]
    matches = list(_ANSWER.finditer(text))
    return (matches[-1][0], matches[-1].start()) if matches else None


def vote_key(text: str, task_type: str) -> str | None:
    """The key of a reply in a vote.

    It is the normalised answer, or the program without comments and blank lines.
    """
    if task_type == "code":
        source = _TOKENS.sub(_kept, extract_program(text) or "")
        lines = [line.rstrip() for line in source.split("\n")]
        return "\n".join(line for line in lines if line) or None
    found = boxed(text)
    if found:
        return normalise(found[0])
    answers = _ANSWER.findall(text)
    if answers and answers[-1].strip():
        return normalise(answers[-1])
    return " ".join(text.casefold().split()) or None if task_type == "text" else None


def _kept(token: re.Match) -> str:
    """What a vote keeps of a literal or comment.

    Line breaks in a literal stand for themselves; a comment is dropped.
    """
    return "" if token[0].startswith("#") else token[0].replace("\n", "\0")


def normalise(answer: str) -> str:
    """A math answer in canonical form, with exact numbers.

    In this form equal answers mostly look equal.
    """
    text = answer.strip().strip("$").strip().rstrip(".")
    if text.isdecimal() and text.isascii():
        return text.lstrip("0") or "0"
    for junk in ("\\,", "\\;", "\\!", "\\ ", "\\left", "\\right", "\\displaystyle", " "):
        text = text.replace(junk, "")
    text = _FRACTION.sub(r"\1/\2", text)
    plain = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
    if len(plain) <= 40 and re.fullmatch(r"[-+]?(\d+(\.\d*)?|\.\d+)(/\d+(\.\d*)?)?", plain):
        top, _, bottom = plain.partition("/")
        if not bottom or Fraction(bottom):
            return str(Fraction(top) / Fraction(bottom or 1))
    return text.casefold()


def approves(critique: str) -> bool:
    """Whether a critique finds the answer correct.

    Its last explicit verdict decides, else the end of its last sentence.
    """
    verdicts = _VERDICT.findall(critique)
    if verdicts:
        return verdicts[-1].upper() == "CORRECT"
    end = critique.rstrip(" \t\r\n.!*_`\"')]}:")
    last = re.split(r"[.!?\n]", end)[-1].casefold()
    return re.search(r"\bcorrect$", last) is not None and _NEGATION.search(last) is None


def similarity(a: str, b: str) -> float:
    """Jaccard similarity of character trigrams."""
    first = {a[i : i + 3] for i in range(len(a) - 2)}
    second = {b[i : i + 3] for i in range(len(b) - 2)}
    return len(first & second) / len(first | second) if first and second else 0.0
