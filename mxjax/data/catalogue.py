"""The public data sets that are known by name: where each lives, under which licence, and how its rows are read.

Nothing is fetched here; `mxjax.data.prepared` does that, and `mxjax.data.benchmarks` finds what is there.
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
    """One split of a set: `files` are patterns in the home repository, none where it must come from a local file.

    `rows` are the row counts of the complete split, one for each edition that is about. `keep` tells the split's own
    rows from those of other splits in the same file; `shrink` makes a row smaller before it is written.
    """

    rows: tuple[int, ...]
    files: tuple[str, ...] = ()
    keep: Callable[[Row], bool] | None = None
    shrink: Callable[[Row], Row] | None = None


@dataclasses.dataclass(frozen=True)
class DataSet:
    """A set: `home` is a data set repository of the Hugging Face hub, or "" for one that is given as a local file.

    `columns` are the fields that `read` uses; a prepared file holds no others. `local` says where to take a local file
    from.
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
        "math", "Apache-2.0; the problems are the MAA's", readers.fields("problem", "answer"), ("problem", "answer"),
        {TEST: Split((30,), ("data/train-*.parquet",))}, "HuggingFaceH4/aime_2024",
    ),
    "aime25": DataSet(
        "math", "Apache-2.0; the problems are the MAA's", readers.fields("problem", "answer"), ("problem", "answer"),
        {TEST: Split((30,), ("test.jsonl", "data/test-*.parquet"))}, "math-ai/aime25",
    ),
    "amc23": DataSet(
        "math", "MIT; the problems are the MAA's",
        readers.first_of(readers.fields("problem", "answer"), readers.fields("question", "answer")),
        ("problem", "question", "answer"),
        {TEST: Split((40,), ("data/test-*.parquet", "test.jsonl"))}, "math-ai/amc23",
    ),
    "apps": DataSet(
        "code", "MIT", readers.apps, ("id", "question", "input_output", "starter_code"),
        {"train": Split((5000,), ("train.jsonl",)), TEST: Split((5000,), ("test.jsonl",))}, "codeparrot/apps",
    ),
    "code_contests": DataSet(
        "code", _CONTESTS, readers.first_of(readers.code_contests, readers.stream_lists),
        ("name", "description", "public_tests", "private_tests", "generated_tests", "problem", "tests"),
        {
            "train": Split((13328,), ("data/train-*.parquet",), shrink=readers.fewer_tests),
            "valid": Split((117,), ("data/valid-*.parquet",)),
            TEST: Split((165,), ("data/test-*.parquet",)),
        },
        "deepmind/code_contests",
    ),
    "dapo": DataSet(
        "math", "Apache-2.0", readers.dapo, ("prompt", "reward_model"),
        {"train": Split((1791700,), ("data/dapo-math-17k.parquet",))}, "BytedTsinghua-SIA/DAPO-Math-17k",
    ),
    "gsm8k": DataSet(
        "math", "MIT", readers.gsm8k, ("question", "answer"),
        {"train": Split((7473,), ("main/train-*.parquet",)), TEST: Split((1319,), ("main/test-*.parquet",))},
        "openai/gsm8k", sampled=True,
    ),
    "humaneval": DataSet(
        "code", "MIT", readers.humaneval, ("task_id", "prompt", "entry_point", "test"),
        {TEST: Split((164,), ("openai_humaneval/test-*.parquet",))}, "openai/openai_humaneval", sampled=True,
    ),
    "livecodebench": DataSet(
        "code", "CC, as its card says; the statements are AtCoder's, LeetCode's and Codeforces'", readers.livecodebench,
        ("question_id", "contest_date", "question_content", "starter_code", "public_test_cases", "private_test_cases",
         "metadata"),
        {TEST: Split((400, 511, 612, 713, 880, 1055), ("test*.jsonl",))}, "livecodebench/code_generation_lite",
    ),
    "math": DataSet(
        "math", _MATH, readers.first_of(readers.worked_solution, readers.fields("problem", "answer")),
        ("problem", "solution", "answer"), {"train": Split((7500, 12000))},
        local="the folder train/ of the MATH data set, or a file with one row {problem, solution} a line",
    ),
    "math500": DataSet(
        "math", _MATH, readers.fields("problem", "answer"), ("problem", "answer"), {TEST: Split((500,))},
        local="prm800k/math_splits/test.jsonl of github.com/openai/prm800k",
    ),
    "mawps": DataSet(
        "math", "MIT on the copies that are about; the first publication states none",
        readers.fields("input", "target"), ("input", "target"), {TEST: Split((2065,))},
        local="data/mawps/test.jsonl of github.com/ZubinGou/math-evaluation-harness",
    ),
    "mbpp": DataSet(
        "code", "CC BY 4.0", readers.mbpp, ("task_id", "text", "code", "test_setup_code", "test_list"),
        {
            "train": Split((374,), ("full/train-*.parquet",), _ids(601, 974)),
            "validation": Split((90,), ("full/validation-*.parquet",), _ids(511, 600)),
            TEST: Split((500,), ("full/test-*.parquet",), _ids(11, 510)),
        },
        "google-research-datasets/mbpp", sampled=True,
    ),
    "olympiadbench": DataSet(
        "math", "MIT", readers.olympiadbench, ("context", "question", "final_answer", "unit", "is_multiple_answer"),
        {TEST: Split((674, 675), ("*OE_TO_maths_en_COMP.parquet",))}, "Hothan/OlympiadBench",
    ),
    "polaris": DataSet(
        "math", "Apache-2.0", readers.fields("problem", "answer"), ("problem", "answer"),
        {"train": Split((53291,), ("*.parquet",))}, "POLARIS-Project/Polaris-Dataset-53K",
    ),
    "svamp": DataSet(
        "math", "MIT", readers.svamp, ("ID", "Body", "Question", "Answer"),
        {TEST: Split((1000,), ("data/*.parquet",))}, "ChilleD/SVAMP", sampled=True,
    ),
}  # fmt: skip
"""Every set by name."""


def find(name: str) -> tuple[str, DataSet, str | None]:
    """(set's name, set, split or None) of "NAME" or "NAME/SPLIT".

    Raises ValueError, in one sentence, for a set or a split that is not known.
    """
    known, _, split = name.partition("/")
    if known not in SETS:
        raise UserError(f"Unknown data set {known!r}: one of {', '.join(SETS)}.")
    splits = SETS[known].splits
    if split and split not in splits:
        raise UserError(f"{known} has no split {split!r}: one of {', '.join(splits)}.")
    return known, SETS[known], split or None
