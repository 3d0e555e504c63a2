"""Paths and small files, on local disks and object stores alike."""

from __future__ import annotations

import json
import os
from typing import Any

from etils import epath


def absolute(path: epath.PathLike) -> epath.Path:
    """`path` with the user's home and the current folder filled in; an address of an object store as it is."""
    return epath.Path(path) if "://" in str(path) else epath.Path(os.path.abspath(os.path.expanduser(path)))


def read_json(path: epath.PathLike) -> dict[str, Any]:
    """The JSON object in a file. Raises ValueError, in one sentence, for a file that holds none."""
    try:
        contents = json.loads(epath.Path(path).read_text())
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error})") from error
    if not isinstance(contents, dict):
        raise ValueError(f"{path} is not a JSON object")
    return contents


def write_text(path: epath.Path, text: str) -> None:
    """Writes text that models may have written, by way of a temporary file, so that a reader never sees half of it.

    What UTF-8 cannot hold (lone surrogates) is written as an escape.
    """
    temporary = path.parent / f"{path.name}.tmp"
    temporary.write_bytes(text.encode("utf-8", "backslashreplace"))
    temporary.replace(path)
