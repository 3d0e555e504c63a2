"""Config files by name, also where only the package is installed.

The source tree keeps them in `configs/`; a wheel holds that folder as `mxjax/_configs`. Both `quickstart` and
`configs/quickstart.py` name one.
"""

from __future__ import annotations

import ast
import difflib
import pathlib

from mxjax.errors import MissingFile

FOLDER = "configs"  # of the source tree, and in the names that commands take
_PACKAGE = pathlib.Path(__file__).parent


def shipped_folder() -> pathlib.Path:
    """The folder of the config files that come with the package."""
    installed = _PACKAGE / "_configs"
    return installed if installed.is_dir() else _PACKAGE.parent / FOLDER


def shipped_configs() -> dict[str, pathlib.Path]:
    """Name and path of each config file that comes with the package."""
    return {path.stem: path for path in sorted(shipped_folder().glob("*.py"))}


def config_file(name: str) -> str:
    """The path of a config file that a command names.

    A shipped one may be named alone: `NAME` stands for `configs/NAME.py`. A file of that path in the current folder
    comes before the shipped one. What follows a colon, as in `quickstart:continued`, is the argument of its
    `get_config()` and stays.
    Raises UserError, naming the shipped ones and the nearest of them, where there is no such file.
    """
    path, colon, argument = name.partition(":")
    if not pathlib.Path(path).is_file():
        path = str(_found(path))
    return path + colon + argument


def prompt_file(name: str) -> str:
    """A role's prompt setting, with the path of a shipped file.

    `configs/prompts/NAME.toml` is the shipped one unless the current folder has it.
    """
    shipped = shipped_folder() / name.removeprefix(f"{FOLDER}/")
    there = name.startswith(f"{FOLDER}/") and not pathlib.Path(name).exists() and shipped.is_file()
    return str(shipped) if there else name


def _found(path: str) -> pathlib.Path:
    known = shipped_configs()
    name = path.removeprefix(f"{FOLDER}/").removesuffix(".py")
    if name in known and path in (name, f"{FOLDER}/{name}.py"):
        here = pathlib.Path(FOLDER, f"{name}.py")
        return here if here.is_file() else known[name]
    near = difflib.get_close_matches(pathlib.PurePath(name).name, known, 1, 0.6)
    meant = f"did you mean {near[0]}? " if near else ""
    raise MissingFile(
        f"config file {path} does not exist: {meant}give a file's path, or one of {', '.join(known)} (mxjax configs)"
    )


def first_line(source: str) -> str:
    """The first line of a module's docstring; the file is not run."""
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]
