"""The public data sets that are known by name.

Where each lives, under which licence, and how its rows are read. Nothing is fetched here; `mxjax.data.prepared` does
that, and `mxjax.data.benchmarks` finds what is there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from mxjax.data import readers
from mxjax.data.readers import Reader
from mxjax.data.rows import Row
from mxjax.errors import UserError

TEST = "test"
SAMPLE = ":sample"  # ends the source of questions that are shipped with the package


@dataclasses.dataclass(frozen=True)
class Split:
    """One split of a set.

    `files` are patterns in the home repository, none where it must come from a local file. `rows` are the row counts of
    the complete split, one for each edition. `keep` tells the split's own rows from those of other splits in the same
    file; `shrink` makes a row smaller before it is written.
    """

    rows: tuple[int, ...]
    files: tuple[str, ...] = ()
    keep: Callable[[Row], bool] | None = None
    shrink: Callable[[Row], Row] | None = None


@dataclasses.dataclass(frozen=True)
class DataSet:
    """A public data set.

    `home` is a data set repository of the Hugging Face hub, or "" for one that is given as a local file. `columns` are
    the fields that `read` uses; a prepared file holds no others. `local` says where to take a local file from.
    """

    task_type: str
    licence: str
    read: Reader
    columns: tuple[str, ...]
    splits: Mapping[str, Split]
    home: str = ""
    local: str = ""
    sampled: bool = False


def _ids(low: int, high: int) -> Callable[[Row], bool]:
    return lambda row: low <= int(row["task_id"]) <= high


_MATH = "MIT as published; withdrawn from the hub at a rights holder's request"
_CONTESTS = "CC BY 4.0"

SETS: Mapping[str, DataSet] = {
    "aime24": DataSet(
        task_type="math",
        licence="Apache-2.0; the problems are the MAA's",
        read=readers.fields("problem", "answer"),
        columns=("problem", "answer"),
        splits={TEST: Split((30,), ("data/train-*.parquet",))},
        home="HuggingFaceH4/aime_2024",
    ),
    "aime25": DataSet(
        task_type="math",
        licence="Apache-2.0; the problems are the MAA's",
        read=readers.fields("problem", "answer"),
        columns=("problem", "answer"),
        splits={TEST: Split((30,), ("test.jsonl", "data/test-*.parquet"))},
        home="math-ai/aime25",
    ),
    "amc23": DataSet(
        task_type="math",
        licence="MIT; the problems are the MAA's",
        read=readers.first_of(readers.fields("problem", "answer"), readers.fields("question", "answer")),
        columns=("problem", "question", "answer"),
        splits={TEST: Split((40,), ("data/test-*.parquet", "test.jsonl"))},
        home="math-ai/amc23",
    ),
    "apps": DataSet(
        task_type="code",
        licence="MIT",
        read=readers.apps,
        columns=("id", "question", "input_output", "starter_code"),
        splits={"train": Split((5000,), ("train.jsonl",)), TEST: Split((5000,), ("test.jsonl",))},
        home="codeparrot/apps",
    ),
    "code_contests": DataSet(
        task_type="code",
        licence=_CONTESTS,
        read=readers.first_of(readers.code_contests, readers.stream_lists),
        columns=("name", "description", "public_tests", "private_tests", "generated_tests", "problem", "tests"),
        splits={
            "train": Split((13328,), ("data/train-*.parquet",), shrink=readers.fewer_tests),
            "valid": Split((117,), ("data/valid-*.parquet",)),
            TEST: Split((165,), ("data/test-*.parquet",)),
        },
        home="deepmind/code_contests",
    ),
    "dapo": DataSet(
        task_type="math",
        licence="Apache-2.0",
        read=readers.dapo,
        columns=("prompt", "reward_model"),
        splits={"train": Split((1791700,), ("data/dapo-math-17k.parquet",))},
        home="BytedTsinghua-SIA/DAPO-Math-17k",
    ),
    "gsm8k": DataSet(
        task_type="math",
        licence="MIT",
        read=readers.gsm8k,
        columns=("question", "answer"),
        splits={"train": Split((7473,), ("main/train-*.parquet",)), TEST: Split((1319,), ("main/test-*.parquet",))},
        home="openai/gsm8k",
        sampled=True,
    ),
    "humaneval": DataSet(
        task_type="code",
        licence="MIT",
        read=readers.humaneval,
        columns=("task_id", "prompt", "entry_point", "test"),
        splits={TEST: Split((164,), ("openai_humaneval/test-*.parquet",))},
        home="openai/openai_humaneval",
        sampled=True,
    ),
    "livecodebench": DataSet(
        task_type="code",
        licence="CC, as its card says; the statements are AtCoder's, LeetCode's and Codeforces'",
        read=readers.livecodebench,
        columns=(
            "question_id",
            "contest_date",
            "question_content",
            "starter_code",
            "public_test_cases",
            "private_test_cases",
            "metadata",
        ),
        splits={TEST: Split((400, 511, 612, 713, 880, 1055), ("test*.jsonl",))},
        home="livecodebench/code_generation_lite",
    ),
    "math": DataSet(
        task_type="math",
        licence=_MATH,
        read=readers.first_of(readers.worked_solution, readers.fields("problem", "answer")),
        columns=("problem", "solution", "answer"),
        splits={"train": Split((7500, 12000))},
        local="the folder train/ of the MATH data set, or a file with one row {problem, solution} a line",
    ),
    "math500": DataSet(
        task_type="math",
        licence=_MATH,
        read=readers.fields("problem", "answer"),
        columns=("problem", "answer"),
        splits={TEST: Split((500,))},
        local="prm800k/math_splits/test.jsonl of github.com/openai/prm800k",
    ),
    "mawps": DataSet(
        task_type="math",
        licence="MIT on the copies that are about; the first publication states none",
        read=readers.fields("input", "target"),
        columns=("input", "target"),
        splits={TEST: Split((2065,))},
        local="data/mawps/test.jsonl of github.com/ZubinGou/math-evaluation-harness",
    ),
    "mbpp": DataSet(
        task_type="code",
        licence="CC BY 4.0",
        read=readers.mbpp,
        columns=("task_id", "text", "code", "test_setup_code", "test_list"),
        splits={
            "train": Split((374,), ("full/train-*.parquet",), _ids(601, 974)),
            "validation": Split((90,), ("full/validation-*.parquet",), _ids(511, 600)),
            TEST: Split((500,), ("full/test-*.parquet",), _ids(11, 510)),
        },
        home="google-research-datasets/mbpp",
        sampled=True,
    ),
    "olympiadbench": DataSet(
        task_type="math",
        licence="MIT",
        read=readers.olympiadbench,
        columns=("context", "question", "final_answer", "unit", "is_multiple_answer"),
        splits={TEST: Split((674, 675), ("*OE_TO_maths_en_COMP.parquet",))},
        home="Hothan/OlympiadBench",
    ),
    "polaris": DataSet(
        task_type="math",
        licence="Apache-2.0",
        read=readers.fields("problem", "answer"),
        columns=("problem", "answer"),
        splits={"train": Split((53291,), ("*.parquet",))},
        home="POLARIS-Project/Polaris-Dataset-53K",
    ),
    "svamp": DataSet(
        task_type="math",
        licence="MIT",
        read=readers.svamp,
        columns=("ID", "Body", "Question", "Answer"),
        splits={TEST: Split((1000,), ("data/*.parquet",))},
        home="ChilleD/SVAMP",
        sampled=True,
    ),
}
"""Every set by name."""


def find(name: str) -> tuple[str, DataSet, str | None]:
    """(set's name, set, split or None) of "NAME" or "NAME/SPLIT".

    Raises ValueError for a set or a split that is not known.
    """
    known, _, split = name.partition("/")
    if known not in SETS:
        raise UserError(f"Unknown data set {known!r}: one of {', '.join(SETS)}.")
    splits = SETS[known].splits
    if split and split not in splits:
        raise UserError(f"{known} has no split {split!r}: one of {', '.join(splits)}.")
    return known, SETS[known], split or None
