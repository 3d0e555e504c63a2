"""Paths and small files, on local disks and object stores alike."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator
from typing import Any

from etils import epath

LONGEST_NAME = 100  # bytes, of a part of a file's name


def absolute(path: epath.PathLike) -> epath.Path:
    """`path` with the user's home and the current folder filled in; an address of an object store as it is."""
    return epath.Path(path) if "://" in str(path) else epath.Path(os.path.abspath(os.path.expanduser(path)))


@contextlib.contextmanager
def reading(origin: epath.PathLike) -> Iterator[None]:
    """Around what parses a file that may hold anything: each error becomes a ValueError that names `origin`.

    A missing file stays a FileNotFoundError. Libraries in Rust panic, with an exception that is no Exception.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except BaseException as error:
        kind = type(error).__name__
        if not isinstance(error, Exception) and kind != "PanicException":
            raise
        said = " ".join(str(error).split())
        said = said if len(said) < 500 else f"{said[:500]} ..."
        if not isinstance(error, ValueError):
            raise ValueError(f"{origin} is damaged, or of another kind ({kind}: {said})") from error
        if str(origin) in said:
            raise
        raise ValueError(f"{origin}: {said}") from error


def read_json(path: epath.PathLike) -> dict[str, Any]:
    """The JSON object in a file. Raises ValueError, in one sentence, for a file that holds none."""
    try:
        contents = json.loads(epath.Path(path).read_text())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON ({error})") from error
    if not isinstance(contents, dict):
        raise ValueError(f"{path} is not a JSON object")
    return contents


def read_rows(path: epath.PathLike) -> list[dict[str, Any]]:
    """The objects of a jsonl file, none where there is no file.

    A line that is no object is left out, such as one that a kill or a writer at work cut short.
    """
    path, rows = epath.Path(path), []
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def file_name(text: str) -> str:
    """`text` as part of a file's name: without "/" and ":", and where it is long its end and a digest of the whole."""
    name = re.sub("[/:]", "_", text)
    if len(name.encode("utf-8", "surrogatepass")) <= LONGEST_NAME:
        return name
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
    return f"{digest}_{re.sub(r'[^a-zA-Z0-9_.-]', '_', name)[13 - LONGEST_NAME :]}"


def write_text(path: epath.Path, text: str) -> None:
    """Writes text that models may have written, by way of a temporary file, so that a reader never sees half of it.

    What UTF-8 cannot hold (lone surrogates) is written as an escape.
    """
    temporary = path.parent / f"{path.name}.tmp"
    temporary.write_bytes(text.encode("utf-8", "backslashreplace"))
    temporary.replace(path)
