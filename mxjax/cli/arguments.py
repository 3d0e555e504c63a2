"""Options that several verbs share."""

from __future__ import annotations

import argparse
from typing import Any

from mxjax.errors import UserError


class Parser(argparse.ArgumentParser):
    """A parser whose mistakes are UserErrors."""

    def error(self, message):
        raise UserError(f"{message}; see mxjax {self.prog.split()[-1]} --help")


def add_checkpoint_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verbs that answer questions with a checkpoint."""
    add = parser.add_argument
    add("--checkpoint", required=True, help="an mxjax workdir, a Hugging Face directory, a .gguf file, ...")
    add("--step", type=step, help="checkpoint step, or chosen: the best in validation; default the newest")
    add("--seed", type=int, default=0)
    add("--greedy", action="store_true", help="temperature 0 for both roles")
    add("--prompt", default="", help="short, documented or a TOML file, for both roles; default that of the run")
    add("--tools", default="", help="host tools of agents: python_execute, or none; default as of the run")
    add("--temperature", type=float, help="of both roles; default that of the checkpoint's run, else 1")
    add("--max_tokens", type=int, help="most tokens of one reply; default that of the checkpoint's run, else 1024")
    add("--max_len", type=int, help="most tokens of one prompt and its reply; default as of the run, else 4096")
    add("--slots", type=int, help="calls answered side by side; default as of the run, else 64")


def serving_options(args: argparse.Namespace) -> dict[str, Any]:
    """The arguments of `serving.serve` that `add_checkpoint_arguments` parsed."""
    check_counts(args, "max_tokens", "max_len", "slots")
    return {
        "tools": args.tools,
        "prompt": args.prompt,
        "temperature": 0.0 if args.greedy else args.temperature,
        "max_tokens": args.max_tokens,
        "max_len": args.max_len,
        "slots": args.slots,
    }


def step(text: str) -> int | str:
    """The value of `--step`: a whole number, or "chosen"."""
    if text != "chosen" and not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number or chosen, got {text!r}")
    return text if text == "chosen" else int(text)


def step_of(path: str, step_flag: int | str | None) -> int | None:
    """The step of a checkpoint that `--step` means; None for the newest."""
    if isinstance(step_flag, str):  # "chosen", the only text that `step` lets through
        from mxjax.run import chosen_step

        return chosen_step(path)
    return step_flag


def check_counts(args: argparse.Namespace, *names: str) -> None:
    """Raise UserError for a given flag below 1."""
    for name in names:
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise UserError(f"--{name} must be at least 1, got {getattr(args, name)}")
