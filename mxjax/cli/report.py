"""`mxjax report`: results so far, and report.html rebuilt."""

from __future__ import annotations

import argparse

from mxjax.report import read_run, summary, write_pictures, write_report
from mxjax.terminal import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the verb."""
    parser.add_argument("workdir")
    parser.add_argument("--pictures", default="", help="a folder for learning_curve.svg and design.svg")


def run(args: argparse.Namespace) -> int:
    """Print the results so far and rebuild report.html."""
    say(summary(read_run(args.workdir)))
    say(f"report: {write_report(args.workdir)}")
    for path in write_pictures(args.workdir, args.pictures) if args.pictures else ():
        say(f"picture: {path}")
    return 0
