"""Public data sets on this machine.

Fetched or taken from a local file, checked, written, and read again. A split is `<data directory>/<name>/<split>.jsonl`
with the columns that are read, and `<split>.manifest.json`: licence, origin with revision, row count, sha256 of the
file, and for test splits the identities of the questions' statements. `mxjax data prepare` writes both; a file may also
be put there as it was published. Sets with a shipped sample can be tried without either. Only `fetch` downloads.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import hashlib
import itertools
import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

from etils import epath

from mxjax import __version__
from mxjax.data import catalogue, rows
from mxjax.data.catalogue import SAMPLE, SETS, TEST, DataSet
from mxjax.data.gradable import check_gradable
from mxjax.data.identity import IDENTITY, statement_key, text_key
from mxjax.data.readers import Item, NoTests
from mxjax.data.rows import Row, files_below, read_rows, skipping
from mxjax.errors import FileError, UserError, file_errors, message_of
from mxjax.files import absolute, new_folder, read_json
from mxjax.rollout.records import Question

DATA_ENV = "MXJAX_DATA"
SHOWN_FAULTS = 10  # damaged rows that are named
_SAMPLES = epath.Path(__file__).parent / "samples"


def data_root(data_dir: str | None = None) -> epath.Path:
    """Where prepared sets lie.

    `data_dir`, else the environment variable MXJAX_DATA, else the user's cache.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return epath.Path(data_dir or os.environ.get(DATA_ENV) or f"{cache}/mxjax/data").expanduser()


def load_split(
    name: str, default: str, limit: int | None = None, seed: int = 0, data_dir: str | None = None
) -> list[Question]:
    """The questions of "NAME" (its split `default`) or "NAME/SPLIT".

    At most `limit`, sampled by `seed`.

    Raises ValueError for a split that is unknown, absent or damaged.
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
                Question(
                    id=f"{source}:{line}",
                    text=item.text,
                    task_type=data_set.task_type,
                    gold=item.gold,
                    tests=item.tests,
                    source=source,
                    split=split,
                )
            )
    if not questions:
        raise UserError(f"The question file {path} is empty: prepare it again.")
    return rows.sample(questions, limit, seed)


def read_item(data_set: DataSet, split: str, row: Row, place: str, name: str) -> Item | None:
    """A row as a question.

    Returns None for one of another split, or that cannot be graded.

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


def check_item(data_set: DataSet, item: Item, row: Row, place: str) -> None:
    """Raise ValueError for a question that cannot be graded.

    The message names the place.
    """
    check_gradable(Question("", item.text, data_set.task_type, item.gold, item.tests), _named(place, row))


def _named(place: str, row: Row) -> str:
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
    """What `mxjax data prepare` wrote beside a file.

    {} for a file that was put there by hand.
    """
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
    recorded = read_manifest(path).get("sha256")
    if recorded and recorded != file_digest(path):
        raise UserError(f"{path} has changed since it was prepared: run mxjax data prepare again.")


def locate(name: str, split: str, data_dir: str | None) -> tuple[epath.Path, str]:
    """(file, source name) of a split.

    The full file if it is there, else the shipped sample.

    Raises ValueError for a split that does not exist or is not here.
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


@dataclasses.dataclass(frozen=True)
class Prepared:
    """One split that was written.

    `rows` questions of `read` rows at the origin, the rest has nothing to grade with. `faults` are sentences on rows
    that are damaged and were left out, the first few of `damaged`.
    """

    name: str
    split: str
    path: epath.Path
    rows: int
    read: int
    licence: str
    origin: str
    damaged: int = 0
    faults: tuple[str, ...] = ()

    def __str__(self) -> str:
        left_out = self.read - self.rows - self.damaged
        why = f" ({left_out:,} rows left out, which have no tests or repeat another)" if left_out else ""
        damaged = "".join(f"\n  left out: {fault}" for fault in self.faults)
        if self.damaged > len(self.faults):
            damaged += f"\n  and {self.damaged - len(self.faults):,} rows more"
        return (
            f"{self.name}/{self.split}: {self.rows:,} questions{why}, licence: {self.licence}\n"
            f"  from {self.origin}\n  in {self.path}{damaged}"
        )


def prepare(name: str, source: str = "", output: str = "", partial: bool = False) -> Iterator[Prepared]:
    """Prepare a set, split by split.

    Args:
        name: "NAME" for all splits of a set, or "NAME/SPLIT".
        source: a local file or folder to take the rows from (`rows.read_rows`), "" to fetch them from the set's home.
        output: the data directory; "" for the one that benchmarks are looked for in (`data_root`).
        partial: accept another number of rows than the published ones, and leave out those that are damaged.

    Raises:
        ValueError: unknown set, rows of another form, or another number of rows. The message names the fix.
        OSError: the home cannot be reached, or the output cannot be written.
    """
    set_name, data_set, split = catalogue.find(name)
    splits = [split] if split else list(data_set.splits)
    if source and len(splits) > 1 and not all(data_set.splits[one].keep for one in splits):
        raise UserError(
            f"{set_name} has the splits {', '.join(splits)}: say which one {source} holds, as in "
            f"{set_name}/{splits[0]}."
        )
    if not source and not data_set.home:
        raise UserError(f"{set_name} comes from a local file only: pass --from PATH, {data_set.local}.")
    root = data_root(str(absolute(output)) if output else None)
    for one in splits:
        files, origin = ([source], source) if source else fetch(set_name, data_set, one)
        target = split_path(root, set_name, one)
        with file_errors("write", target), new_folder(target.parent):
            written = _write(set_name, data_set, one, files, origin=origin, root=root, partial=partial)
        yield written


def fetch(name: str, data_set: DataSet, split: str) -> tuple[list[str], str]:
    """(local files, origin) of a split, from the Hugging Face hub.

    Files are downloaded once and kept in the hub's cache.

    Raises OSError, with the way around it, where they cannot be had.
    """
    import huggingface_hub

    patterns, home = list(data_set.splits[split].files), data_set.home
    around = f"pass --from PATH with a copy of {' or '.join(patterns)}"
    try:
        folder = epath.Path(huggingface_hub.snapshot_download(home, repo_type="dataset", allow_patterns=patterns))
    except Exception as error:  # also those of the client's HTTP library, whichever it is
        reason = " ".join([line for line in str(error).splitlines() if line.strip()][:2]) or type(error).__name__
        sentence = f"{name} cannot be fetched from {home} ({reason}): check the connection, or {around}."
        raise FileError(sentence) from error
    names = [str(file.relative_to(folder)) for file in files_below(folder)] if folder.exists() else []
    files = [name for name in names if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]
    origin = f"https://huggingface.co/datasets/{home} at {folder.name}"
    if not files:
        raise FileError(f"{origin} has no file for the {split} split: {around}.")
    return [str(folder / file) for file in files], origin


def _write(
    name: str, data_set: DataSet, split: str, files: Sequence[str], origin: str, root: epath.Path, partial: bool
) -> Prepared:
    """Reads, checks and writes one split.

    When a check fails the files are as they were before.
    """
    spec, target = data_set.splits[split], split_path(root, name, split)
    unfinished = target.parent / f"{target.name}.tmp"
    digest, read, kept = hashlib.sha256(), 0, 0
    texts: set[str] = set()
    faults: list[UserError] = []
    skip = faults.append if partial else _refuse
    try:
        with unfinished.open("wb") as file:
            placed_rows = itertools.chain.from_iterable(read_rows(path, data_set.columns, skip) for path in files)
            for place, row in placed_rows:
                with skipping(skip):
                    item = read_item(data_set, split, row, place, name)
                    read += item is not None or spec.keep is None
                    if item is None:
                        continue
                    key = statement_key(item.text) if split == TEST else text_key(item.text)
                    if split != TEST and key in texts:
                        continue
                    check_item(data_set, item, row, place)
                    texts.add(key)
                    kept += 1
                    line = _line(data_set, split, row)
                    digest.update(line)
                    file.write(line)
        _check_count(name, split, spec.rows, read=read, kept=kept, partial=partial)
        record = {
            "name": name,
            "split": split,
            "licence": data_set.licence,
            "origin": origin,
            "read": read,
            "rows": kept,
            "damaged": len(faults),
            "sha256": digest.hexdigest(),
            "mxjax": __version__,
        }
        if split == TEST:
            record |= {"identity": IDENTITY, "texts": sorted(texts)}
        manifest_path(target).unlink(missing_ok=True)  # at no time does a file stand beside another's record
        unfinished.replace(target)
        manifest_path(target).write_text(json.dumps(record, indent=1) + "\n")
    finally:
        unfinished.unlink(missing_ok=True)
    messages = tuple(map(message_of, faults[:SHOWN_FAULTS]))
    return Prepared(
        name=name,
        split=split,
        path=target,
        rows=kept,
        read=read,
        licence=data_set.licence,
        origin=origin,
        damaged=len(faults),
        faults=messages,
    )


def _refuse(error: UserError) -> None:
    """Raise the error of a damaged row, with the fix."""
    raise UserError(f"{error} Mend the row, or leave such rows out with --partial.") from error


def _line(data_set: DataSet, split: str, row: Row) -> bytes:
    """The row's columns that are read, as a line of JSON."""
    shrink = data_set.splits[split].shrink
    row = shrink(row) if shrink else row
    return json.dumps({name: row[name] for name in data_set.columns if name in row}).encode() + b"\n"


def _check_count(name: str, split: str, published: Sequence[int], read: int, kept: int, partial: bool) -> None:
    if not kept:
        raise UserError(f"Nothing of {name}/{split} is in these files: check that they hold that split.")
    if read not in published and not partial:
        raise UserError(
            f"{name}/{split} has {' or '.join(f'{count:,}' for count in published)} rows as published, and {read:,} "
            "were found: take the whole files, or pass --partial to prepare what is there."
        )


def listing(output: str = "") -> str:
    """Every set as aligned text.

    Kind, splits with published rows, whether it is here, home, licence.
    """
    root = data_root(str(absolute(output)) if output else None)
    lines = [("set", "kind", "rows", "here", "home", "licence")]
    for name, data_set in SETS.items():
        for split, spec in data_set.splits.items():
            label = name if split == TEST else f"{name}/{split}"
            here = "yes" if split_path(root, name, split).exists() else ""
            here = here or ("sample" if split == TEST and data_set.sampled else "no")
            home = data_set.home or "a local file"
            lines.append((label, data_set.task_type, f"{spec.rows[-1]:,}", here, home, data_set.licence))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    table = "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)
    return f"{table}\nprepared sets are looked for in {root}"
