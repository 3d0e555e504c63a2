"""`mxjax data`: public data sets prepared, listed and packed."""

from __future__ import annotations

import argparse

from mxjax.data import load_questions
from mxjax.data.array_records import write
from mxjax.data.generators import is_generator
from mxjax.data.prepared import listing, prepare
from mxjax.errors import UserError
from mxjax.terminal import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the verb."""
    add = parser.add_argument
    add("action", choices=("prepare", "list", "pack"))
    add("name", nargs="?", help="of prepare: NAME or NAME/SPLIT, see mxjax data list; of pack: a source of questions")
    add("--from", dest="source", default="", help="a local file or folder, instead of the set's home")
    add("--output", default="", help="the data directory; default $MXJAX_DATA, else ~/.cache/mxjax/data")
    add("--partial", action="store_true", help="accept fewer rows than published, and leave out damaged ones")


def run(args: argparse.Namespace) -> int:
    """Prepares, lists or packs."""
    if args.action == "list":
        say(listing(args.output))
        return 0
    if not args.name:
        raise UserError(f"{args.action} needs a NAME, such as gsm8k/train; mxjax data list shows all")
    if args.action == "pack":
        if is_generator(args.name):
            raise UserError(f"pack takes stored questions, and {args.name} is a generator: a run names it as it is")
        if not args.output:
            raise UserError("pack needs --output DIR, a new folder for the array_record files")
        say(f"read it with data.train.source={write(load_questions(args.name), args.output)}")
        return 0
    for split in prepare(args.name, args.source, args.output, args.partial):
        say(split)
    return 0
