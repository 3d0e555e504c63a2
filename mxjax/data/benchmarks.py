"""Benchmarks by name, and their separation from training and validation questions.

A benchmark is the test split of a public set, a procedural task, or a user's own file or task. No question of one may
be trained on or chosen by: statements are compared as `normalise_text` leaves them, by the identities that prepared
sets carry.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from mxjax.data import array_records, catalogue, generators, prepared, rows, sources
from mxjax.data.catalogue import SETS, TEST
from mxjax.data.identity import IDENTITY, statement_key
from mxjax.errors import UserError
from mxjax.rollout.records import Question

POLICIES = ("refuse", "drop")
DEFAULT_LIMIT = 500
"""Questions of a procedural benchmark when no limit is given."""


def load_benchmark(name: str, limit: int | None = None, seed: int = 0, data_dir: str | None = None) -> list[Question]:
    """The test questions of a benchmark.

    Args:
        name: a set of `mxjax data list`, whose test split is meant unless it is NAME/SPLIT; `reasoning_gym:<task>`,
            `arithmetic:sums`, `jsonl:<path>` or `module:function`. A prepared file goes before a shipped sample, whose
            questions have the source `<name>:sample`.
        limit: at most so many, a sample by `seed` in the file's order; None: all (500 of a procedural task).
        seed: of the sample, or of the procedural task.
        data_dir: see `prepared.data_root`.

    Raises:
        ValueError: an unknown benchmark, or one whose file is missing or wrong. The message names the fix.
    """
    if limit is not None and limit < 1:
        raise UserError(f"The limit of a benchmark must be at least 1, got {limit}.")
    if generators.is_generator(name):
        drawn = sources.load_questions(name, "benchmark", seed, limit or DEFAULT_LIMIT)  # a stream of its own
        return [dataclasses.replace(question, split=TEST) for question in drawn]
    if name.startswith(array_records.PREFIX):
        return sources.sampled_records(name, TEST, limit, seed)
    if ":" in name:
        return rows.sample(sources.load_stored(name, TEST, seed), limit, seed)
    if name.partition("/")[0] not in SETS:
        raise UserError(
            f"Unknown benchmark {name!r}: use one of {', '.join(prepared.benchmark_names())}, "
            "reasoning_gym:<task>, jsonl:<path> or module:function."
        )
    return prepared.load_split(name, TEST, limit, seed, data_dir)


def text_keys(name: str, data_dir: str | None = None) -> frozenset[str]:
    """The `statement_key` of every question of a benchmark.

    A prepared set has them beside it, others are read.
    """
    if name.partition("/")[0] in SETS:
        set_name, _, split = catalogue.find(name)
        manifest = prepared.read_manifest(prepared.locate(set_name, split or TEST, data_dir)[0])
        if "texts" in manifest and manifest.get("identity") == IDENTITY:
            return frozenset(manifest["texts"])
    return frozenset(statement_key(question.text) for question in load_benchmark(name, data_dir=data_dir))


def benchmark_keys(named: Iterable[str], data_dir: str | None = None) -> dict[str, frozenset[str]]:
    """Text identities of the benchmarks `named` and of those present here.

    Present are the public test sets that are on this machine.
    """
    names = dict.fromkeys([*named, *prepared.present_benchmarks(data_dir)])
    return {name: text_keys(name, data_dir) for name in names}


def left_out(keys: Mapping[str, frozenset[str]], policy: str) -> frozenset[str]:
    """The identities that are not to be drawn.

    With the policy "drop" those of all benchmarks, with "refuse" none.

    Raises ValueError for another policy.
    """
    if policy not in POLICIES:
        raise UserError(f"data.overlap must be one of {', '.join(POLICIES)}, got {policy!r}.")
    return frozenset().union(*keys.values()) if policy == "drop" else frozenset()


def check_apart(questions: Sequence[Question], keys: Mapping[str, frozenset[str]], what: str) -> None:
    """Raise ValueError when a question of a benchmark is among `questions`.

    Args:
        questions: what is trained on or chosen by; `what` is its name in messages.
        keys: benchmark → identities of its statements.
    """
    shared = shared_with(questions, frozenset().union(*keys.values()))
    if not shared:
        return
    overlaps = {name: shared_with(shared, identities) for name, identities in keys.items()}
    name = max(overlaps, key=lambda name: len(overlaps[name]))
    raise UserError(
        f"{len(overlaps[name])} of {len(questions)} {what} questions are also in the benchmark {name}, such as "
        f"{quoted(overlaps[name][0])}: take another source, or leave them out with data.overlap=drop."
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
