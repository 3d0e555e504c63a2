"""`mxjax design show FILE`: a design as text and as a drawing."""

from __future__ import annotations

import argparse

from etils import epath

from mxjax import mas
from mxjax.errors import UserError, file_errors
from mxjax.report.drawing import svg_file
from mxjax.terminal import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the verb."""
    parser.add_argument("action", choices=("show",))
    parser.add_argument("file", help="a script, or the text of a designer that holds one")
    parser.add_argument("--svg", default="", help="where to write the drawing; default nowhere")


def run(args: argparse.Namespace) -> int:
    """Show a design; 1 when the file holds none that can run."""
    path = epath.Path(args.file)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {args.file}: {error}; give the path of a script") from None
    try:
        checked = mas.check(mas.parse_design(text) if "<code>" in text or "```" in text else text)
    except mas.DesignError as error:
        say(f"{args.file}: no design that can run: {error}")
        return 1
    graph = mas.graph(checked)
    say(mas.describe(checked))
    if args.svg:
        if not graph.nodes:
            raise UserError(f"{args.file} makes no node when it is run without a model, so there is nothing to draw")
        with file_errors("write", args.svg):
            epath.Path(args.svg).write_text(svg_file(graph))
        say(f"drawing: {args.svg}")
    return 0
