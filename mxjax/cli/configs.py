"""`mxjax configs`: the config files of the package, listed or shown."""

from __future__ import annotations

import argparse
import pathlib

from mxjax.config_files import config_file, first_line, shipped_configs
from mxjax.terminal import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the verb."""
    parser.add_argument("--show", metavar="NAME", default="", help="print this one: a name of the list, or a path")


def run(args: argparse.Namespace) -> int:
    """List the shipped config files, or show one."""
    if args.show:
        say(pathlib.Path(config_file(args.show).partition(":")[0]).read_text(), end="")
        return 0
    known = shipped_configs()
    width = max(map(len, known)) + 2
    for name, path in known.items():
        say(f"{name:<{width}}{first_line(path.read_text())}")
    return 0
