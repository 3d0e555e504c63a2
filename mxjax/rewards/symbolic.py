"""Symbolic comparison of LaTeX formulas, in a process that can be killed.

Computer algebra on text that a policy wrote may take forever or all memory, and its own timeouts work in a main thread
only. So it runs in a child that lives as long as it answers in time; threads take turns. What reaches the child is
screened first: formulas alone, whose numbers stay below a size when all powers and factorials are worked out.
"""

from __future__ import annotations

import functools
import json
import re
import signal
import threading
from pathlib import Path

from mxjax.child import LATE, Child
from mxjax.rewards import latex
from mxjax.sandbox.outcome import InfrastructureError

CPU_S, WALL_S, MEMORY_BYTES = 2.0, 60.0, 1 << 30
MAX_CHARS = 200
MAX_BITS = 20_000  # of all numbers that a formula writes, its powers and factorials worked out
MAX_ASKED = 64  # questions to the process for one answer
MAX_UNDECIDED = 2  # of those, after which the rest of an answer is undecided too
_CHILD = """
import runpy
runpy.run_path({file!r})["main"]({cpu}, {memory})
"""


def _child(cpu: float = CPU_S, memory: int = MEMORY_BYTES) -> str:
    """The program of a child, with its limits."""
    return _CHILD.format(file=str(Path(__file__).with_name("algebra.py")), cpu=cpu, memory=memory)


class Comparer(Child):
    """The child process that compares formulas; safe from any thread."""

    def __init__(self, limit_s: float = WALL_S, program: str = _child()):
        super().__init__(program, limit_s)
        self._lock = threading.Lock()

    def ask(self, kind: str, gold: str, answer: str) -> bool | None:
        """Whether both are the same "formula" or "equation".

        Returns None where that is neither proved nor refuted. Undecided, too, is what took the child too much processor
        time, or killed it twice. A child that is killed from outside or does not answer in time is the machine's fault,
        and a new one is asked. Raises InfrastructureError when that one fails likewise, or none can be started.
        """
        question = (json.dumps([kind, gold, answer]) + "\n").encode()
        with self._lock:
            for _ in range(2):
                try:
                    line, code = self._ask(question)
                except (OSError, RuntimeError) as error:
                    raise InfrastructureError(f"no process for symbolic comparison: {error}") from error
                if line:
                    return json.loads(line)
                if code == LATE:
                    return None
        if code in (None, -signal.SIGKILL):
            raise InfrastructureError("the process for symbolic comparison was killed, or did not answer, twice")
        return None


COMPARER = Comparer()


class Algebra:
    """Computer algebra for one answer.

    Bounded in questions, and remembering whether one stayed undecided.
    """

    def __init__(self):
        self.asked = self.undecided = 0

    def same(self, kind: str, gold: str, answer: str) -> bool:
        """Whether both texts are proved to be the same "formula" or "equation"."""
        gold, answer = latex.explicit(gold), latex.explicit(answer)
        if not (comparable(gold, kind) and comparable(answer, kind)):
            return False
        if self.asked >= MAX_ASKED or self.undecided >= MAX_UNDECIDED:
            self.undecided += 1
            return False
        self.asked += 1
        try:
            return _compared(kind, gold, answer)
        except TimeoutError:
            self.undecided += 1
            return False


@functools.lru_cache(maxsize=65_536)
def _compared(kind: str, gold: str, answer: str) -> bool:
    """Raise TimeoutError where it is undecided, which is not remembered."""
    verdict = COMPARER.ask(kind, gold, answer)
    if verdict is None:
        raise TimeoutError
    return verdict


_COMMANDS = re.compile(
    r"\\(?:frac|binom|sqrt|cdot|times|div|ln|log|exp|sin|cos|tan|cot|sec|csc|arcsin|arccos|arctan|sinh|cosh|tanh|infty|pi"
    r"|alpha|beta|gamma|delta|epsilon|zeta|eta|theta|kappa|lambda|mu|nu|xi|rho|sigma|tau|phi|psi|omega|Delta|Omega)"
)
_TOKEN = re.compile(
    r"(?P<number>[0-9]+(?:\.[0-9]+)?|\.[0-9]+)|(?P<command>\\[A-Za-z]+)|(?P<letter>[A-Za-z])|(?P<mark>\S)"
)
_MARKS = frozenset("+-*/^_!|(){}[]")
# `x^10` is x^1 times 0 in LaTeX, `12_5` a number in base 5, and words are no products of letters
_AMBIGUOUS = re.compile(
    r"\^ ?(?!\{)|[0-9)}] ?_|_ ?(?!\{)"
    r"|(?<![\\A-Za-z])(?:[A-Za-z]{4,}|(?:or|and|no|not|on|yes|if|is|in|of|to|at)(?![A-Za-z]))"
)


def comparable(text: str, kind: str = "formula") -> bool:
    """Whether `text` is a formula or equation of bounded size."""
    sides = text.split("=") if kind == "equation" else [text]
    if len(text) > MAX_CHARS or len(sides) != (2 if kind == "equation" else 1) or _AMBIGUOUS.search(text):
        return False
    return all(size is not None and size <= MAX_BITS for size in map(_bits, sides))


def _bits(text: str) -> int | None:
    """Upper bound on the bits of all numbers in a formula.

    With its powers and factorials worked out; None if it is none. Factors and terms add up, a power multiplies by its
    exponent, and the value of an exponent is bounded from above by the product of all that is in it.
    """
    tokens = [(found.lastgroup or "", found.group()) for found in _TOKEN.finditer(text)]
    for kind, token in tokens:
        if (kind == "command" and not _COMMANDS.fullmatch(token)) or (kind == "mark" and token not in _MARKS):
            return None
    depth = most = 0
    for _, token in tokens:
        depth += (token in "({[") - (token in ")}]")
        most = max(most, depth)
        if depth < 0:
            return None
    if depth or most > 20 or not tokens:
        return None
    return _Sizes(tokens).run()


class _Sizes:
    """Bounds on bits and values of a formula, group by group."""

    def __init__(self, tokens: list[tuple[str, str]]):
        self._tokens, self._place = tokens, 0

    def run(self) -> int | None:
        """The bits of the whole, None if brackets do not match."""
        bits, _ = self._group(None)
        return bits if self._place == len(self._tokens) else None

    def _group(self, closing: str | None) -> tuple[int, int]:
        """(bits, bound of the value) up to `closing`, which is passed."""
        bits, value = 0, 1
        while self._place < len(self._tokens):
            kind, token = self._tokens[self._place]
            if kind == "mark" and token in ")}]":
                self._place += token == closing
                break
            own_bits, own_value = self._atom()
            bits, value = bits + own_bits, _capped(value * max(2, own_value))
        return bits, value

    def _atom(self) -> tuple[int, int]:
        """(bits, bound of the value) of one token or group.

        With the powers and factorials behind it.
        """
        kind, token = self._tokens[self._place]
        self._place += 1
        if kind == "number":
            whole = int(token.replace(".", "") or 0)
            bits, value = whole.bit_length() + 4 * len(token), whole
        elif kind == "mark" and token in "({[":
            bits, value = self._group({"(": ")", "{": "}", "[": "]"}[token])
        elif token == r"\frac":
            bits, value = self._arguments(2)
        elif token == r"\binom":
            bits, bound = self._arguments(2)
            bits, value = _capped(bits * bound), 1 << 64
        else:
            bits, value = 2, 1
        while self._place < len(self._tokens) and self._tokens[self._place][1] in ("^", "!"):
            mark = self._tokens[self._place][1]
            self._place += 1
            if mark == "!":
                bits, value = _capped(bits + value * value.bit_length()), _capped(value ** min(value, 64))
            elif self._place < len(self._tokens):
                own_bits, exponent = self._atom()
                exponent = max(1, exponent)
                bits, value = _capped(bits * exponent + own_bits), _power(value, exponent)
        return bits, value

    def _arguments(self, count: int) -> tuple[int, int]:
        """(bits, bound of the value) of the groups behind a command, together."""
        bits, value = 2, 1
        for _ in range(count):
            if self._place < len(self._tokens) and self._tokens[self._place][1] == "{":
                self._place += 1
                own_bits, own_value = self._group("}")
                bits, value = bits + own_bits, _capped(value * max(2, own_value))
        return bits, value


def _capped(number: int) -> int:
    return min(number, 1 << 64)


def _power(value: int, exponent: int) -> int:
    return _capped(max(2, value) ** exponent) if exponent <= 64 else 1 << 64
