"""Questions as a TFDS data set of array_record files.

Random access to single questions, without TensorFlow. Worth it for sets that are too large to be in memory as a whole,
such as problems with all their tests: a sample reads only the records that it takes.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from mxjax.errors import MissingPackage, UserError
from mxjax.files import absolute
from mxjax.rollout.records import Question

PREFIX = "tfds:"
FIELDS = ("id", "question", "task_type", "answer", "tests", "source")


def write(questions: Sequence[Question], directory: str, split: str = "train") -> str:
    """Write `questions`, in order, as a split of a TFDS data set.

    Returns the spec that reads it from `directory`.

    Raises ValueError where the directory already holds one, ImportError where array_record is not installed.
    """
    import tensorflow_datasets as tfds

    _require("array_record")
    target = absolute(directory)
    if target.exists() and any(target.iterdir()):
        raise UserError(f"{target} exists and is not an empty folder: choose another one.")

    with tfds.core.registered.skip_registration():

        class MxjaxQuestions(tfds.core.GeneratorBasedBuilder):
            """Questions as text; `tests` are JSON, "" where there are none."""

            name = "questions"
            VERSION = tfds.core.Version("1.0.0")
            code_path = None  # nothing is downloaded, so there are no checksums to look for beside the code

            def _info(self):
                features = tfds.features.FeaturesDict({field: tfds.features.Text() for field in FIELDS})
                return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

            def _split_generators(self, dl_manager):
                return {split: self._generate_examples()}

            def _generate_examples(self):
                yield from enumerate(map(_record, questions))

    builder = MxjaxQuestions(data_dir=str(target), file_format="array_record")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):  # its progress bars
        builder.download_and_prepare()
    return f"{PREFIX}{builder.data_dir}@{split}"


def read(
    spec: str, seed: int | None = None, chosen: Iterable[int] | None = None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number, row of text) of the records of "tfds:<directory>@<split>", one by one.

    The directory is that of any TFDS data set in array_record form whose features have the names of a JSON-lines
    question file. Raises ValueError for one that cannot be read.

    Args:
        spec: without a split that of training is meant.
        seed: shuffles the records.
        chosen: reads only these of them.
    """
    data = _records(spec)
    data = data if seed is None else data.shuffle(seed=seed % 2**32)
    for index in range(len(data)) if chosen is None else chosen:
        yield index, _row(data[index])


def count(spec: str) -> int:
    """How many records `read` has. Raises ValueError as it does."""
    return len(_records(spec))


def _records(spec: str) -> Any:
    """The records of a spec, by random access."""
    import tensorflow_datasets as tfds

    grain = _require("grain")
    place = spec.removeprefix(PREFIX)
    directory, mark, split = place.rpartition("@")
    if not mark or "/" in split:  # an @ in the name of a folder
        directory, split = place, ""
    split = split or "train"
    try:
        records = tfds.builder_from_directory(str(absolute(directory))).as_data_source(split=split)
    except (OSError, KeyError, ValueError, NotImplementedError, tfds.core.DatasetNotFoundError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"Cannot read {spec} as a TFDS data set in array_record form: {reason}.") from error
    return grain.MapDataset.source(records)


def _require(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingPackage(f"{name} is not installed: run `pip install 'mxjax[data]'`.") from error


def _record(question: Question) -> dict[str, str]:
    tests = json.dumps(list(question.tests)) if question.tests else ""
    values = (question.id, question.text, question.task_type, question.gold or "", tests, question.source)
    return dict(zip(FIELDS, values, strict=True))


def _row(record: dict[str, Any]) -> dict[str, Any]:
    row = {name: value.decode() if isinstance(value, bytes) else value for name, value in record.items()}
    if isinstance(row.get("tests"), str):
        row["tests"] = json.loads(row["tests"]) if row["tests"] else None
    return {name: value.item() if hasattr(value, "item") else value for name, value in row.items()}
