"""Paths and small files, on local disks and object stores alike."""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import hashlib
import json
import os
import re
from collections.abc import Iterator
from typing import Any

from etils import epath

from mxjax.errors import FileError, UserError, file_errors

LONGEST_NAME = 100  # bytes, of a part of a file's name


def absolute(path: epath.PathLike) -> epath.Path:
    """`path` with the user's home and the current folder filled in.

    An address in an object store stays as it is.
    """
    return epath.Path(path) if "://" in str(path) else epath.Path(os.path.abspath(os.path.expanduser(path)))


@contextlib.contextmanager
def reading(origin: epath.PathLike) -> Iterator[None]:
    """Turn parser errors into a ValueError that names `origin`.

    For code that parses a file with arbitrary contents. A missing file stays a FileNotFoundError. Panics of Rust
    libraries are caught too; they are no subclass of Exception.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except BaseException as error:
        kind = type(error).__name__
        if not isinstance(error, Exception) and kind != "PanicException":
            raise
        message = " ".join(str(error).split())
        message = message if len(message) < 500 else f"{message[:500]} ..."
        if not isinstance(error, ValueError):
            raise UserError(f"{origin} is damaged, or of another kind ({kind}: {message})") from error
        if str(origin) in message:
            raise
        raise UserError(f"{origin}: {message}") from error


def read_json(path: epath.PathLike) -> dict[str, Any]:
    """The JSON object in a file.

    Raises ValueError for a file that holds none, OSError for one that cannot be read.
    """
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


def matching(folder: epath.Path, pattern: str) -> list[epath.Path]:
    """Entries of a folder that match a shell pattern, sorted.

    Empty if there is no folder. `folder.glob` would read the folder's own name as a pattern too, and find nothing in
    `runs/[1]`.
    """
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if fnmatch.fnmatchcase(path.name, pattern))


def file_name(text: str) -> str:
    """`text` as part of a file's name.

    "/" and ":" are replaced; a long text is cut to its end and a digest of the whole.
    """
    name = re.sub("[/:]", "_", text)
    if len(name.encode("utf-8", "surrogatepass")) <= LONGEST_NAME:
        return name
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
    return f"{digest}_{re.sub(r'[^a-zA-Z0-9_.-]', '_', name)[13 - LONGEST_NAME :]}"


def make_folder(path: epath.Path) -> None:
    """Make a folder and those that it lies in, if need be.

    Raises OSError.
    """
    with file_errors("make the folder", path):
        path.mkdir(parents=True, exist_ok=True)


def check_can_write(folder: epath.Path) -> None:
    """Raise OSError if a folder cannot be made or written.

    It creates nothing, and checks local disks only.
    """
    if "://" in str(folder):
        return
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir():
        raise FileError(f"cannot make the folder {folder}: {there} is a file")
    if not os.access(there, os.W_OK | os.X_OK):
        read_only = os.statvfs(there).f_flag & os.ST_RDONLY
        raise FileError(f"cannot write to {there}: {os.strerror(errno.EROFS if read_only else errno.EACCES)}")


@contextlib.contextmanager
def new_folder(path: epath.Path) -> Iterator[None]:
    """Make a folder for the block.

    Where that fails, those that it has made and that are empty are removed again.
    """
    created = [folder for folder in (path, *path.parents) if not folder.exists()]
    make_folder(path)
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            for folder in created:
                folder.rmdir()  # only where it is empty
        raise


def write_text(path: epath.Path, text: str) -> None:
    """Write text by way of a temporary file.

    A reader never sees half of it. Models may have written the text: what UTF-8 cannot hold (lone surrogates) is
    written as an escape. Raises OSError.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_bytes(path: epath.Path, data: bytes) -> None:
    """Write a file by way of a temporary one beside it.

    Raises OSError.
    """
    temporary = path.parent / f"{path.name}.tmp"
    with file_errors("write", path):
        try:
            temporary.write_bytes(data)
            temporary.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
