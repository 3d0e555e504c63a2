"""Keeps benchmarks out of what a run learns from and chooses by: no question of them may stand there, by its text.

Statements are compared as `normalise_text` leaves them, by the identities that prepared sets carry.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from mxjax.data import prepared
from mxjax.data.benchmarks import text_keys
from mxjax.data.identity import statement_key
from mxjax.errors import UserError
from mxjax.rollout.records import Question

POLICIES = ("refuse", "drop")


def benchmark_keys(named: Iterable[str], data_dir: str | None = None) -> dict[str, frozenset[str]]:
    """Text identities of the benchmarks that are `named`, and of every public test set that is on this machine."""
    names = dict.fromkeys([*named, *prepared.present_benchmarks(data_dir)])
    return {name: text_keys(name, data_dir) for name in names}


def left_out(keys: Mapping[str, frozenset[str]], policy: str) -> frozenset[str]:
    """The identities that are not to be drawn: with the policy "drop" those of all benchmarks, with "refuse" none.

    Raises ValueError for another policy.
    """
    if policy not in POLICIES:
        raise UserError(f"data.overlap must be one of {', '.join(POLICIES)}, got {policy!r}.")
    return frozenset().union(*keys.values()) if policy == "drop" else frozenset()


def check_apart(questions: Sequence[Question], keys: Mapping[str, frozenset[str]], what: str) -> None:
    """Raises ValueError when a question of a benchmark is among `questions`.

    Args:
        questions: what is trained on or chosen by; `what` is its name in messages.
        keys: benchmark → identities of its statements.
    """
    shared = shared_with(questions, frozenset().union(*keys.values()))
    if not shared:
        return
    found = {name: shared_with(shared, own) for name, own in keys.items()}
    name = max(found, key=lambda name: len(found[name]))
    raise UserError(
        f"{len(found[name])} of {len(questions)} {what} questions are also in the benchmark {name}, such as "
        f"{quoted(found[name][0])}: take another source, or leave them out with data.overlap=drop."
    )


def keys_of(questions: Iterable[Question]) -> frozenset[str]:
    """The `statement_key` of every question."""
    return frozenset(statement_key(question.text) for question in questions)


def shared_with(questions: Iterable[Question], keys: frozenset[str]) -> list[Question]:
    """Those of `questions` whose statement is among `keys`."""
    return [question for question in questions if statement_key(question.text) in keys] if keys else []


def quoted(question: Question) -> str:
    """The beginning of a question's text, for messages."""
    return repr(" ".join(question.text.split())[:80])
