"""Keeps benchmarks out of what a run learns from and chooses by: no question of them may stand there, by its text.

Texts are compared as `normalise_text` leaves them, by the identities that prepared sets carry.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from mxjax.data import prepared
from mxjax.data.benchmarks import text_keys
from mxjax.data.identity import text_key
from mxjax.rollout.records import Question

POLICIES = ("refuse", "drop")


def benchmark_keys(named: Iterable[str], data_dir: str | None = None) -> dict[str, frozenset[str]]:
    """Text identities of the benchmarks that are `named`, and of every public test set that is on this machine."""
    names = dict.fromkeys([*named, *prepared.present_benchmarks(data_dir)])
    return {name: text_keys(name, data_dir) for name in names}


def keep_apart(
    questions: Sequence[Question], keys: Mapping[str, frozenset[str]], what: str, policy: str = "refuse"
) -> list[Question]:
    """`questions` without those of a benchmark: all of them, unless `policy` is "drop" and some had to go.

    Args:
        questions: what is trained on or chosen by; `what` is its name in messages.
        keys: benchmark → identities of its texts.
        policy: "refuse" or "drop".

    Raises:
        ValueError: a question of a benchmark is among them and the policy is "refuse", or none is left.
    """
    if policy not in POLICIES:
        raise ValueError(f"data.overlap must be one of {', '.join(POLICIES)}, got {policy!r}.")
    everywhere = frozenset().union(*keys.values())
    shared = [question for question in questions if text_key(question.text) in everywhere]
    if not shared:
        return list(questions)
    if policy == "refuse":
        counts = {name: sum(text_key(question.text) in own for question in shared) for name, own in keys.items()}
        name = max(counts, key=counts.__getitem__)
        example = " ".join(next(q.text for q in shared if text_key(q.text) in keys[name]).split())[:80]
        raise ValueError(
            f"{counts[name]} of {len(questions)} {what} questions are also in the benchmark {name}, such as "
            f"{example!r}: take another source, or leave them out with data.overlap=drop."
        )
    left = [question for question in questions if text_key(question.text) not in everywhere]
    if not left:
        raise ValueError(f"Every {what} question is also in a benchmark: take another source.")
    return left
