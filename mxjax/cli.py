"""The command line: `mxjax VERB`. Exit 0: done; 1: the answer is no; 2: the user's mistake, in one sentence.

Also 1 is the exit of a run that ended itself; 0 that of one which SIGTERM stopped, with its state saved.
Verbs import what they need when they run, so that `mxjax doctor` answers even where JAX cannot start.
"""

from __future__ import annotations

import argparse
import contextlib
import glob
import importlib.util
import os
import shutil
import signal
import sys
import textwrap
from collections.abc import Sequence

from mxjax import __version__
from mxjax.command_line import running
from mxjax.errors import RunStopped, UserError, message_of
from mxjax.stopping import Stopped, on_signals
from mxjax.terminal import say, show_warnings

VERBS = {
    "train": "start from `init`, or continue the workdir",
    "sft": "cold start: supervised fine-tuning on filtered trajectories",
    "evaluate": "a checkpoint on benchmarks, by one or more systems",
    "solve": "answer questions and show the design and every call",
    "plan": "whether a run fits a TPU slice, and how fast it can be; compiled ahead of time, needs no TPU",
    "report": "rebuild report.html of a workdir, also while its run is going",
    "convert": "a workdir to Hugging Face's form, anything else to a workdir; --to decides otherwise",
    "data": "prepare NAME: a public data set, fetched or from a local file; list; pack SOURCE: as array_record files",
    "design": "show FILE: the pattern, nodes and edges of a design, as text and as an SVG",
    "configs": "the config files that come with the package; --show NAME: the text of one",
    "doctor": "what this machine has, or whether a workdir is sound",
}

CONFIGURED = {  # verbs that take a config, and their other options
    "train": "--workdir DIR [--quiet]",
    "sft": "--workdir DIR [--quiet]",
    "plan": "--topology v5e:8x8|v5litepod-64|... [--cpu]",
}

STOPPABLE = {  # verbs that SIGTERM and Ctrl-C end in good order, and what goes on afterwards
    "train": "the same command continues from the last checkpoint",
    "sft": "the same command continues from the last checkpoint",
    "evaluate": "the same command with --resume continues",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb; returns the exit status. Without `argv`, those of the process, which then ends."""
    own = argv is None
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] in ("-h", "--help", "help"):
        say("usage: mxjax VERB [options]\n")
        say("\n".join(f"  {verb:<10} {text}" for verb, text in VERBS.items()))
        return 0 if argv else 2
    if argv[0] in ("--version", "-V"):
        say(f"mxjax {__version__}")
        return 0
    verb, rest = argv[0], argv[1:]
    _settle_jax(verb)
    show_warnings()
    try:
        with running(argv), on_signals() if verb in STOPPABLE else contextlib.nullcontext():
            return _do(verb, rest)
    except UserError as error:
        say(f"mxjax {verb}: {message_of(error)}", file=sys.stderr)
        return 2
    except RunStopped as error:
        say(f"mxjax {verb}: {message_of(error)}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # whoever read our output has left; nothing may write to it again, not even at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Stopped as stop:
        say(f"mxjax {verb}: stopped by {stop.signal.name}; {STOPPABLE[verb]}", file=sys.stderr)
        return 128 + stop.signal if verb == "evaluate" else stop.code
    except KeyboardInterrupt:
        again = f" at once; {STOPPABLE[verb]}" if verb in STOPPABLE else ""
        say(f"mxjax {verb}: stopped{again}", file=sys.stderr)
        return 130
    finally:
        if own and verb in STOPPABLE:  # what is left is the interpreter's end, which a late SIGTERM shall not spoil
            signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _do(verb: str, rest: Sequence[str]) -> int:
    if verb not in VERBS:
        raise UserError(f"unknown verb {verb!r}; one of {', '.join(VERBS)}")
    if verb in CONFIGURED and {"-h", "--help"} & set(rest):
        say(f"usage: mxjax {verb} --config FILE [--config.key=value ...] {CONFIGURED[verb]}\n{VERBS[verb]}\n")
        _say_keys()
        return 0
    return {"train": _train, "sft": _sft, "plan": _plan, "data": _data}.get(verb, _command(verb))(rest)


def _settle_jax(verb: str) -> None:
    """Keeps compiled programs from one command to the next, unless JAX_COMPILATION_CACHE_DIR says otherwise.

    And keeps JAX from looking for a TPU where there is only its compiler, which prints alarming errors.
    """
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", os.path.expanduser("~/.cache/mxjax/compiled"))
    accelerators = any(glob.glob(f"/dev/{name}*") for name in ("accel", "vfio/[0-9]", "nvidia"))
    if verb == "plan" or (importlib.util.find_spec("libtpu") and not accelerators):
        os.environ.setdefault("JAX_PLATFORMS", "cpu")


def _command(verb: str):
    modules = {"evaluate": "mxjax.evaluation.command", "solve": "mxjax.solve", "configs": "mxjax.config_files"}
    module = modules.get(verb, "mxjax.commands")
    return lambda argv: importlib.import_module(module).__dict__[verb](_parse(verb, argv))


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise UserError(f"{message}; see mxjax {self.prog.split()[-1]} --help")


def _parse(verb: str, argv: Sequence[str]) -> argparse.Namespace:
    parser = _Parser(prog=f"mxjax {verb}", description=VERBS[verb])
    add = parser.add_argument
    if verb == "solve":
        add("question", nargs="*")
        add("--questions", default="", help="a file of more: one a line, or .jsonl with question; - is standard input")
        add("--json", action="store_true", help="a line of JSON for each: answer, status, design, calls, tokens")
    if verb == "convert":
        add("source", help="what to read: a Hugging Face directory, a .gguf file, a workdir, or a name `load` knows")
        add("destination", help="a new directory")
        add("--to", choices=("hf", "orbax"), help="default: hf from a workdir, else orbax")
        add("--role", help="which policy of a split run")
        add("--dtype", choices=("float32", "bfloat16"), help="of the weights; default that of a workdir, else float32")
        add("--step", type=_step, help="a workdir's checkpoint, or chosen: the best in validation; default the newest")
    if verb == "report":
        add("workdir")
        add("--pictures", default="", help="a folder for learning_curve.svg and design.svg")
    if verb == "design":
        add("action", choices=("show",))
        add("file", help="a script, or the text of a designer that holds one")
        add("--svg", default="", help="where to write the drawing; default nowhere")
    if verb == "data":
        add("action", choices=("prepare", "list", "pack"))
        add(
            "name",
            nargs="?",
            help="of prepare: NAME or NAME/SPLIT, see mxjax data list; of pack: a source of questions",
        )
        add("--from", dest="source", default="", help="a local file or folder, instead of the set's home")
        add("--output", default="", help="the data directory; default $MXJAX_DATA, else ~/.cache/mxjax/data")
        add("--partial", action="store_true", help="accept fewer rows than published, and leave out damaged ones")
    if verb == "configs":
        add("--show", metavar="NAME", default="", help="print this one: a name of the list, or a file's path")
    if verb == "doctor":
        add("path", nargs="?", help="a workdir to check")
    if verb in ("evaluate", "solve"):
        add("--checkpoint", required=True, help="an mxjax workdir, a Hugging Face directory, a .gguf file, ...")
        add("--step", type=_step, help="checkpoint step, or chosen: the best in validation; default the newest")
        add("--seed", type=int, default=0)
        add("--greedy", action="store_true", help="temperature 0 for both roles")
        add("--prompt", default="", help="short, documented or a TOML file, for both roles; default that of the run")
        add("--tools", default="", help="host tools of agents: python_execute, or none; default as of the run")
        add("--temperature", type=float, help="of both roles; default that of the checkpoint's run, else 1")
        add("--max_tokens", type=int, help="most tokens of one reply; default that of the checkpoint's run, else 1024")
        add("--max_len", type=int, help="most tokens of one prompt and its reply; default as of the run, else 4096")
        add("--slots", type=int, help="calls answered side by side; default as of the run, else 64")
    if verb == "evaluate":
        add("--benchmark", required=True, help="comma separated: held_out, gsm8k, reasoning_gym:TASK, jsonl:PATH")
        add("--system", default="single,designed", help="comma separated, or all: every baseline beside designed")
        add("--executor", default="", help="the checkpoint that answers the calls of frozen_executor")
        add("--validation", default="", help="where best_fixed is chosen; default held_out, of a workdir")
        add("--validation_limit", type=int, default=64, help="questions of it")
        add("--choose_on_test", action="store_true", help="allow a test split there; the row then says so")
        add("--allow_overlap", action="store_true", help="allow questions of the training; the rows then say so")
        add("--samples", type=int, default=1)
        add("--limit", type=int, help="questions per benchmark")
        add("--output", default="", help="where results.json goes; default beside the checkpoint")
        add("--resume", action="store_true", help="keep what --output has: its rows, and single questions")
        add("--quiet", action="store_true", help="no progress bar")
        add("--data_dir", help="where mxjax data prepare put benchmarks; default $MXJAX_DATA, else ~/.cache/mxjax/data")
    args = parser.parse_intermixed_args(argv) if verb == "solve" else parser.parse_args(argv)
    args.chosen = getattr(args, "step", None) == "chosen"
    if args.chosen:
        from mxjax.run import chosen_step

        args.step = chosen_step(args.source if verb == "convert" else args.checkpoint)
    return args


def _step(text: str) -> int | str:
    if text != "chosen" and not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number or chosen, got {text!r}")
    return text if text == "chosen" else int(text)


def _say_keys() -> None:
    from mxjax.keys import keys_help

    width = min(shutil.get_terminal_size().columns, 140)
    start = "FILE is a config file's path, or a name that mxjax configs lists. It sets, and --config.key=value changes:"
    say("\n".join(textwrap.wrap(start, width)) + "\n")
    say(keys_help(width))


def _plan(argv: Sequence[str]) -> int:
    from mxjax.command_config import command_config

    config, values = command_config("plan", argv)
    if not values.topology:
        raise UserError("needs --topology SLICE, such as v5e:8x8 or v5litepod-64")
    from mxjax.plan.process import run

    return run(config, values["config"].config_filename, values.topology, values.cpu)


def _data(argv: Sequence[str]) -> int:
    from mxjax.data import load_questions
    from mxjax.data.array_records import write
    from mxjax.data.generators import is_generator
    from mxjax.data.prepare import listing, prepare

    args = _parse("data", argv)
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
    for made in prepare(args.name, args.source, args.output, args.partial):
        say(made)
    return 0


def _train(argv: Sequence[str]) -> int:
    from mxjax.command_config import command_config
    from mxjax.evaluation import table
    from mxjax.evaluation.choice import describe
    from mxjax.report import write_report
    from mxjax.train import train

    config, values = command_config("train", argv)
    say(table(train(config, values.quiet)))
    say(describe(config.workdir))
    say(f"report: {write_report(config.workdir)}")
    return 0


def _sft(argv: Sequence[str]) -> int:
    from mxjax.command_config import command_config
    from mxjax.sft import sft

    config, values = command_config("sft", argv)
    metrics = sft(config, values.quiet)
    say(f"cold start: loss {metrics['sft/loss']:.4f}" if metrics else f"{config.workdir} is already trained")
    return 0


if __name__ == "__main__":
    sys.exit(main())
