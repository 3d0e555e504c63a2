"""Shared libraries of an interpreter and its packages, found by loading them.

So a sandbox shows these files alone instead of folders in which other software keeps its own.
"""

from __future__ import annotations

import functools
import os
import pathlib
import subprocess
import sysconfig
from collections.abc import Iterator

_UNNEEDED = ("_tkinter", "nis", "readline", "_curses", "_curses_panel", "_gdbm", "_dbm")  # windows, terminals, networks
_LOADER_FOLDERS = ("/lib", "/lib64", "/usr/lib", "/usr/lib64")
_LOAD = r"""
import ctypes, sys
for path in ["libgcc_s.so.1", *sys.argv[1:]]:
    try: ctypes.CDLL(path)
    except OSError: pass
print("".join(line[line.index("/"):] for line in open("/proc/self/maps") if "/" in line and ".so" in line), end="")
"""


@functools.cache
def shared_libraries(python: str, folders: tuple[pathlib.Path, ...]) -> dict[str, tuple[str, ...]]:
    """Files loaded by `python`, its standard library and packages in `folders`.

    Each with the links that lead to it.

    Raises OSError if the interpreter cannot be run.
    """
    modules = [*pathlib.Path(sysconfig.get_path("stdlib"), "lib-dynload").glob("*.so"), *_extensions(folders)]
    paths = [str(path) for path in modules if path.name.partition(".")[0] not in _UNNEEDED]
    done = subprocess.run(
        [python, "-I", "-S", "-c", _LOAD, *paths], capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode != 0:
        raise OSError(f"{python} does not run: {done.stderr.strip().splitlines()[-1:]}")
    inside = {os.path.realpath(folder) for folder in (*map(str, folders), sysconfig.get_path("stdlib"))}
    files = {os.path.realpath(line) for line in done.stdout.splitlines()}
    files = {file for file in files if not any(file.startswith(f"{folder}/") for folder in inside)}
    links: dict[str, list[str]] = {file: [] for file in sorted(files)}
    for link in _links({*_LOADER_FOLDERS, *map(os.path.dirname, files)}):
        file = os.path.realpath(link)
        if file in links:
            links[file].append(link)
    return {file: tuple(sorted(sources)) for file, sources in links.items()}


def _extensions(folders: tuple[pathlib.Path, ...]) -> Iterator[pathlib.Path]:
    for folder in folders:
        yield from folder.rglob("*.so*")


def _links(folders: set[str]) -> Iterator[str]:
    """The symbolic links in folders, by the folders' real paths."""
    for folder in sorted({os.path.realpath(folder) for folder in folders}):
        if os.path.isdir(folder):
            yield from (entry.path for entry in os.scandir(folder) if entry.is_symlink() and ".so" in entry.name)
