"""Rows of data files in their usual forms.

JSON lines and JSON arrays, each also as .gz, Parquet, and folders of them. JSON lines and Parquet are streamed: a large
test set is never in memory as a whole. A JSON array is read at once.
"""

from __future__ import annotations

import codecs
import contextlib
import gzip
import json
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import IO, Any, TypeVar

import numpy as np
from etils import epath

from mxjax.errors import MissingPackage, UserError

SUFFIXES = (".jsonl", ".json", ".parquet", ".jsonl.gz", ".json.gz")
ID_FIELDS = ("id", "ID", "task_id", "question_id", "unique_id")
Row = Mapping[str, Any]
Skip = Callable[[UserError], None]
T = TypeVar("T")


def json_lines(
    path: epath.PathLike, chosen: Collection[int] | None = None, skip: Skip | None = None
) -> Iterator[tuple[int, Row]]:
    """(line number, object) of each non-blank line of a JSON-lines file.

    Or only of the `chosen` ones. `chosen` counts lines that are not blank, from 0. Raises ValueError, naming file and
    line, for a file that cannot be read and for a line that is no JSON object; `skip` is given the latter instead, and
    the line is left out.
    """
    index = -1
    for number, line in _lines(path):
        index += 1
        if chosen is None or index in chosen:
            with skipping(skip):
                yield number, _object(line, f"{path}, line {number}")


@contextlib.contextmanager
def skipping(skip: Skip | None) -> Iterator[None]:
    """Give a UserError on one row to `skip`, if there is one."""
    try:
        yield
    except UserError as error:
        if skip is None:
            raise
        skip(error)


def row_id(row: Row) -> str:
    """What a row calls itself, for messages and questions.

    Returns "" where it has no name.
    """
    ids = (row.get(name) for name in ID_FIELDS)
    return next((str(id) for id in ids if isinstance(id, str | int) and str(id).strip()), "")


def count_lines(path: epath.PathLike) -> int:
    """How many lines of a file are not blank.

    Raises ValueError for a file that cannot be read.
    """
    return sum(1 for _ in _lines(path))


def read_rows(path: epath.PathLike, columns: Sequence[str] = (), skip: Skip | None = None) -> Iterator[tuple[str, Row]]:
    """(place, row) of every row of a file or folder.

    A folder's files are read in order of name; `place` is for messages. `columns` bounds what is read of a Parquet
    file. Raises ValueError for a missing file, one of another form, and a folder without any file of these forms, and
    for a row that is no object, which `skip` is given instead.
    """
    path = epath.Path(path).expanduser()
    if path.is_dir():
        files = [file for file in files_below(path) if file.name.endswith(SUFFIXES)]
        if not files:
            raise UserError(f"{path} holds no {', '.join(SUFFIXES)} file: give the path of the data.")
        for file in files:
            yield from read_rows(file, columns, skip)
    elif not path.exists():
        raise UserError(f"There is no file {path}: check the path.")
    elif path.name.endswith((".jsonl", ".jsonl.gz")):
        yield from ((f"{path}, line {number}", row) for number, row in json_lines(path, skip=skip))
    elif path.name.endswith((".json", ".json.gz")):
        yield from _json(path, skip)
    elif path.name.endswith(".parquet"):
        yield from _parquet(path, columns)
    else:
        raise UserError(f"{path} is not a {', '.join(SUFFIXES)} file: convert it to one.")


def sample(questions: Sequence[T], size: int | None, seed: int) -> list[T]:
    """`size` of `questions` drawn by `seed` without replacement, in their own order.

    All of them if size is None.
    """
    if size is None or size >= len(questions):
        return list(questions)
    keys = np.random.Philox(np.random.SeedSequence(seed % 2**64)).random_raw(len(questions))
    return [questions[i] for i in sorted(np.argsort(keys, kind="stable")[:size])]


def files_below(path: epath.Path) -> list[epath.Path]:
    """Every file of a folder and the folders in it, by name."""
    entries = sorted(path.iterdir())
    return [file for entry in entries for file in (files_below(entry) if entry.is_dir() else [entry])]


@contextlib.contextmanager
def _opened(path: epath.PathLike) -> Iterator[IO[bytes] | gzip.GzipFile]:
    """A file as bytes, unpacked if it is .gz.

    Raises UserError for errors of the system and of the packing.
    """
    try:
        with epath.Path(path).open("rb") as file:
            if str(path).endswith(".gz"):
                with gzip.open(file) as unpacked:
                    yield unpacked
            else:
                yield file
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"Cannot read the question file {path}: {error}.") from error


def _lines(path: epath.PathLike) -> Iterator[tuple[int, bytes]]:
    """(number, content) of each non-blank line, without a byte order mark."""
    with _opened(path) as file:
        for number, line in enumerate(file, 1):
            line = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
            if line.strip():
                yield number, line


def _object(line: bytes, place: str) -> Row:
    try:
        row = json.loads(line.decode())
    except UnicodeDecodeError as error:
        raise UserError(f"Cannot read the question file {place}: not UTF-8 at byte {error.start + 1}.") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{place}: not valid JSON ({error}).") from error
    if not isinstance(row, dict):
        raise UserError(f"{place}: expected a JSON object, got {type(row).__name__}.")
    return row


def _json(path: epath.Path, skip: Skip | None) -> Iterator[tuple[str, Row]]:
    """The rows of a JSON array; a JSON object is one row."""
    with _opened(path) as file:
        try:
            content = json.loads(file.read())
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}: not valid JSON ({error}).") from error
    for number, row in enumerate(content if isinstance(content, list) else [content], 1):
        with skipping(skip):
            if not isinstance(row, dict):
                raise UserError(f"{path}, item {number}: expected a JSON object, got {type(row).__name__}.")
            yield f"{path}, item {number}", row


def _parquet(path: epath.Path, columns: Sequence[str]) -> Iterator[tuple[str, Row]]:
    try:
        from pyarrow import lib, parquet
    except ImportError as error:
        raise MissingPackage("Parquet files need pyarrow: run `pip install pyarrow`.") from error
    with _opened(path) as file:
        try:
            table = parquet.ParquetFile(file)
            names = [name for name in table.schema_arrow.names if not columns or name in columns]
            number = 0
            for batch in table.iter_batches(batch_size=256, columns=names):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}, row {number}", row
        except lib.ArrowException as error:
            raise UserError(f"{path} is no Parquet file that can be read: {error}.") from error
