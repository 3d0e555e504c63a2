"""Reads what agents write (deliveries, answers, programs, verdicts, tool calls) and shortens it for other prompts."""

from __future__ import annotations

import json
import re
from fractions import Fraction

_DELIVERY = re.compile(r"<delivery>(.*?)</delivery>", re.DOTALL)
_SOLUTION = re.compile(r"<solution>(.*?)</solution>", re.DOTALL)
_ANSWER = re.compile(r"FINAL ANSWER:[ \t]*(.*)")
_PYTHON = re.compile(r"```python[ \t]*\n(.*?)```", re.DOTALL)
_FENCE = re.compile(r"```[^\n`]*\n(.*?)```", re.DOTALL)
_TOOL = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)
_VERDICT = re.compile(r"\bVERDICT\b[^A-Za-z\n]*((?:NOT|IN)?[\s_-]*CORRECT)\b", re.IGNORECASE)
_NEGATION = re.compile(r"\b(not|never|no|cannot|nor|hardly|partially|partly|whether|if|un\w+|\w+n['’]t|incorrect)\b")
_FRACTION = re.compile(r"\\[dt]?frac\s*\{([^{}]+)\}\s*\{([^{}]+)\}")

UNCHANGED_CHARS = 10_000
COMPACT_CHARS = 3_000
CRITIQUE_CHARS = 1_500
_TAIL_CHARS = 800


def boxed(text: str) -> tuple[str, int] | None:
    """The content of the last complete `\\boxed{...}` and where it starts."""
    at = text.rfind("\\boxed{")
    while at >= 0:
        depth = 0
        for end in range(at + 6, len(text)):
            depth += (text[end] == "{") - (text[end] == "}")
            if not depth:
                return text[at + 7 : end].strip(), at
        at = text.rfind("\\boxed{", 0, at)
    return None


def python_block(text: str) -> str | None:
    """The first ```python block."""
    match = _PYTHON.search(text)
    return match[1].strip() if match else None


def tool_call(text: str) -> tuple[str, dict] | str | None:
    """Name and arguments of the first `<tool_call>`, or the reason why it cannot be read, or None without one."""
    match = _TOOL.search(text)
    if match is None:
        return None
    try:
        value = json.loads(match[1])
    except (ValueError, RecursionError) as error:
        return str(error)[:200]
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return 'expected {"name": ..., "arguments": {...}}'
    arguments = value.get("arguments", {})
    return (value["name"], arguments) if isinstance(arguments, dict) else "arguments must be an object"


def entry(text: str, omitted: str) -> str:
    """The compact form of an earlier agent's reply, as later agents see it."""
    match = _DELIVERY.search(text)
    if match and match[1].strip():
        return match[1].strip()
    match = _ANSWER.search(text)
    if match and match[1].strip():
        return match[1].strip()
    match = _SOLUTION.search(text)
    if match:
        return match[0].strip()
    return text if len(text) <= 1200 else text[:200] + omitted + text[-800:]


def compact(text: str, task_type: str, omitted: str) -> str:
    """A reply as it enters another node's prompt: whole up to 10,000 characters, else its essence, capped."""
    if len(text) <= UNCHANGED_CHARS:
        return text
    match = _DELIVERY.search(text)
    delivery = match[1].strip() if match else ""
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
    """A critique as it enters a prompt: its head, where errors are named, and its tail, where the verdict is."""
    if len(text) <= CRITIQUE_CHARS:
        return text
    room = CRITIQUE_CHARS - len(omitted)
    return text[: room // 3] + omitted + text[len(text) - (room - room // 3) :]


def deliverable(text: str, task_type: str) -> tuple[str, int] | None:
    """What a reply finally delivers (boxed answer, or program), in its markers, and where it starts."""
    if task_type == "code":
        matches = list(_SOLUTION.finditer(text)) or list(_FENCE.finditer(text))
        return (matches[-1][0], matches[-1].start()) if matches else None
    found = boxed(text)
    if found:
        return f"\\boxed{{{found[0]}}}", found[1]
    matches = list(_ANSWER.finditer(text))
    return (matches[-1][0], matches[-1].start()) if matches else None


def vote_key(text: str, task_type: str) -> str | None:
    """What replies are compared by in a vote: normalised answer, or program without comments and blank lines."""
    if task_type == "code":
        matches = _SOLUTION.findall(text) or _FENCE.findall(text)
        return _program_key(matches[-1]) if matches else None
    found = boxed(text)
    if found:
        return normalise(found[0])
    answers = _ANSWER.findall(text)
    if answers and answers[-1].strip():
        return normalise(answers[-1])
    return " ".join(text.casefold().split()) or None if task_type == "text" else None


def _program_key(program: str) -> str | None:
    fence = _FENCE.search(program)
    lines = [line.split("#")[0].rstrip() for line in (fence[1] if fence else program).splitlines()]
    return "\n".join(line for line in lines if line.strip()) or None


def normalise(answer: str) -> str:
    """A math answer in a form in which equal answers mostly look equal; numbers exactly."""
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
    """Whether a critique finds the answer correct: its last explicit verdict, else a last sentence that ends so."""
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
