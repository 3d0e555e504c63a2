"""Benchmarks by name: the test splits of public sets, procedural tasks, and a user's own files and tasks."""

from __future__ import annotations

import dataclasses

from mxjax.data import array_records, catalogue, generators, prepared, rows, sources
from mxjax.data.catalogue import SETS, TEST
from mxjax.data.identity import IDENTITY, statement_key
from mxjax.errors import UserError
from mxjax.rollout.records import Question

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
        ValueError: an unknown benchmark, or one whose file is missing or wrong; one sentence that names the fix.
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
    """The `statement_key` of every question of a benchmark; a prepared set has them beside it, others are read."""
    if name.partition("/")[0] in SETS:
        set_name, _, split = catalogue.find(name)
        manifest = prepared.read_manifest(prepared.locate(set_name, split or TEST, data_dir)[0])
        if "texts" in manifest and manifest.get("identity") == IDENTITY:
            return frozenset(manifest["texts"])
    return frozenset(statement_key(question.text) for question in load_benchmark(name, data_dir=data_dir))
