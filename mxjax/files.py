"""Paths and small files, on local disks and object stores alike."""

from __future__ import annotations

import hashlib
import json
import os
import re
from typing import Any

from etils import epath

from mxjax.errors import UserError, file_errors

LONGEST_NAME = 100  # bytes, of a part of a file's name


def absolute(path: epath.PathLike) -> epath.Path:
    """`path` with the user's home and the current folder filled in; an address of an object store as it is."""
    return epath.Path(path) if "://" in str(path) else epath.Path(os.path.abspath(os.path.expanduser(path)))


def read_json(path: epath.PathLike) -> dict[str, Any]:
    """The JSON object in a file. Raises ValueError for a file that holds none, OSError for one that cannot be read."""
    with file_errors("read", path):
        content = epath.Path(path).read_bytes()
    try:
        contents = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON ({error})") from error
    if not isinstance(contents, dict):
        raise UserError(f"{path} is not a JSON object")
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

    What UTF-8 cannot hold (lone surrogates) is written as an escape. Raises OSError, in one sentence.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_bytes(path: epath.Path, data: bytes) -> None:
    """Writes a file by way of a temporary one beside it. Raises OSError, in one sentence."""
    temporary = path.parent / f"{path.name}.tmp"
    with file_errors("write", path):
        temporary.write_bytes(data)
        temporary.replace(path)
