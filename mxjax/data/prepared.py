"""Splits of public data sets on this machine: where they lie, that they are whole, and their questions.

A split is `<data directory>/<name>/<split>.jsonl`, written by `mxjax data prepare`, or put there as it was published.
Sets with a shipped sample can be tried without either. Nothing is downloaded here.
"""

from __future__ import annotations

import hashlib
import os
from typing import Any

from etils import epath

from mxjax.data import catalogue, rows
from mxjax.data.catalogue import SAMPLE, SETS, TEST, DataSet
from mxjax.data.gradable import check_gradable
from mxjax.data.readers import Item, NoTests
from mxjax.errors import UserError, message_of
from mxjax.files import read_json
from mxjax.rollout.records import Question

DATA_ENV = "MXJAX_DATA"
_SAMPLES = epath.Path(__file__).parent / "samples"


def data_root(data_dir: str | None = None) -> epath.Path:
    """Where prepared sets lie: `data_dir`, else the environment variable MXJAX_DATA, else the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return epath.Path(data_dir or os.environ.get(DATA_ENV) or f"{cache}/mxjax/data").expanduser()


def load_split(
    name: str, default: str, limit: int | None = None, seed: int = 0, data_dir: str | None = None
) -> list[Question]:
    """The questions of "NAME" (its split `default`) or "NAME/SPLIT"; at most `limit`, sampled by `seed`.

    Raises ValueError, in one sentence that names the fix, for a split that is unknown, absent or damaged.
    """
    set_name, data_set, split = catalogue.find(name)
    split = split or default
    path, source = locate(set_name, split, data_dir)
    _check_digest(path)
    chosen = None
    mixed = data_set.splits[split].keep and not read_manifest(path)  # rows of other splits may be among these
    if limit is not None and not mixed and limit < (count := rows.count_lines(path)):
        chosen = frozenset(rows.sample(range(count), limit, seed))
    questions = []
    for line, row in rows.json_lines(path, chosen):
        item = read_item(data_set, split, row, f"{path}, line {line}", set_name)
        if item is not None:
            check_item(data_set, item, row, f"{path}, line {line}")
            questions.append(
                Question(f"{source}:{line}", item.text, data_set.task_type, item.gold, item.tests, source, split)
            )
    if not questions:
        raise UserError(f"The question file {path} is empty: prepare it again.")
    return rows.sample(questions, limit, seed)


def read_item(data_set: DataSet, split: str, row: rows.Row, place: str, name: str) -> Item | None:
    """A row as a question; None for one of another split, or that cannot be graded.

    Raises ValueError, naming the place, for a row of another form.
    """
    spec = data_set.splits[split]
    try:
        if spec.keep and not spec.keep(row):
            return None
        return data_set.read(row)
    except NoTests:
        return None
    except (KeyError, TypeError, AttributeError, ValueError, SyntaxError) as error:
        why = f"no column {error}" if isinstance(error, KeyError) else message_of(error)
        raise UserError(f"{_named(place, row)}: not a row of {name} ({why}).") from error


def check_item(data_set: DataSet, item: Item, row: rows.Row, place: str) -> None:
    """Raises ValueError, naming the place, for a question that no answer could be graded for."""
    check_gradable(Question("", item.text, data_set.task_type, item.gold, item.tests), _named(place, row))


def _named(place: str, row: rows.Row) -> str:
    """A row's place with the name that it has, for messages."""
    return f"{place} (id {id})" if (id := rows.row_id(row)) else place


def benchmark_names() -> list[str]:
    """The sets that have a test split."""
    return [name for name, data_set in SETS.items() if TEST in data_set.splits]


def present_benchmarks(data_dir: str | None = None) -> list[str]:
    """The test sets that are here, prepared or as a shipped sample."""
    root = data_root(data_dir)
    return [name for name in benchmark_names() if SETS[name].sampled or split_path(root, name, TEST).exists()]


def split_path(root: epath.Path, name: str, split: str) -> epath.Path:
    """The file of a prepared split."""
    return root / name / f"{split}.jsonl"


def manifest_path(path: epath.Path) -> epath.Path:
    """Where the record of how a prepared file was made stands."""
    return path.parent / f"{path.stem}.manifest.json"


def read_manifest(path: epath.Path) -> dict[str, Any]:
    """What `mxjax data prepare` wrote beside a file; {} for a file that was put there by hand."""
    manifest = manifest_path(path)
    return read_json(manifest) if manifest.exists() else {}


def file_digest(path: epath.Path) -> str:
    """sha256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _check_digest(path: epath.Path) -> None:
    wanted = read_manifest(path).get("sha256")
    if wanted and wanted != file_digest(path):
        raise UserError(f"{path} has changed since it was prepared: run mxjax data prepare again.")


def locate(name: str, split: str, data_dir: str | None) -> tuple[epath.Path, str]:
    """(file, source name) of a split's full file if it is there, else of its shipped sample.

    Raises ValueError, in one sentence that names the fix, for a split that there is not or that is not here.
    """
    splits = SETS[name].splits
    if split not in splits:
        raise UserError(f"{name} has no {split} split, only {', '.join(splits)}: name another set.")
    root = data_root(data_dir)
    full = split_path(root, name, split)
    source = name if split == TEST else f"{name}/{split}"
    if full.exists():
        return full, source
    if split == TEST and SETS[name].sampled:
        return _SAMPLES / f"{name}.jsonl", f"{name}{SAMPLE}"
    command = f"mxjax data prepare {source if len(splits) > 1 else name}"
    command += "" if SETS[name].home else " --from PATH"
    raise UserError(f"{source} is not here: run `{command}`, or put its rows in {full} (--data_dir, {DATA_ENV}).")
