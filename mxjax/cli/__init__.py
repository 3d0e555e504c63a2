"""The command line: `mxjax VERB`.

Exit 0: done; 1: the answer is no; 2: the user's mistake, named in one line. Also 1 is the exit of a run that ended
itself; 0 that of one which SIGTERM stopped, with its state saved. Verbs import what they need when they run, so that
`mxjax doctor` answers even where JAX cannot start.
"""

from __future__ import annotations

import argparse
import contextlib
import glob
import importlib
import importlib.util
import os
import shutil
import signal
import sys
import textwrap
from collections.abc import Sequence

from mxjax import __version__
from mxjax.cli.arguments import Parser
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
    """Run one verb; returns the exit status.

    Without `argv`, those of the process, which then ends.
    """
    is_process = argv is None
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
        return 128 + stop.signal if verb == "evaluate" else stop.status
    except KeyboardInterrupt:
        again = f" at once; {STOPPABLE[verb]}" if verb in STOPPABLE else ""
        say(f"mxjax {verb}: stopped{again}", file=sys.stderr)
        return 130
    finally:
        if is_process and verb in STOPPABLE:  # a late SIGTERM must not spoil the interpreter's end
            signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _do(verb: str, rest: Sequence[str]) -> int:
    """Run the verb's module.

    `run(config, values)` where it takes a config, else `run(args)`.
    """
    if verb not in VERBS:
        raise UserError(f"unknown verb {verb!r}; one of {', '.join(VERBS)}")
    if verb in CONFIGURED and {"-h", "--help"} & set(rest):
        say(f"usage: mxjax {verb} --config FILE [--config.key=value ...] {CONFIGURED[verb]}\n{VERBS[verb]}\n")
        _say_keys()
        return 0
    module = importlib.import_module(f"mxjax.cli.{verb}")
    if verb in CONFIGURED:
        from mxjax.cli.config import command_config

        return module.run(*command_config(verb, rest))
    return module.run(parse(verb, rest))


def parse(verb: str, argv: Sequence[str]) -> argparse.Namespace:
    """The arguments of a verb that takes no config.

    Raises UserError for those that it does not know.
    """
    parser = Parser(prog=f"mxjax {verb}", description=VERBS[verb])
    importlib.import_module(f"mxjax.cli.{verb}").add_arguments(parser)
    return parser.parse_intermixed_args(argv) if verb == "solve" else parser.parse_args(argv)


def _settle_jax(verb: str) -> None:
    """Set JAX's compilation cache and platform.

    The cache keeps compiled programs between commands, unless JAX_COMPILATION_CACHE_DIR is set. And keeps JAX from
    looking for a TPU where there is only its compiler, which prints alarming errors.
    """
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", os.path.expanduser("~/.cache/mxjax/compiled"))
    accelerators = any(glob.glob(f"/dev/{name}*") for name in ("accel", "vfio/[0-9]", "nvidia"))
    if verb == "plan" or (importlib.util.find_spec("libtpu") and not accelerators):
        os.environ.setdefault("JAX_PLATFORMS", "cpu")


def _say_keys() -> None:
    from mxjax.keys import keys_help

    width = min(shutil.get_terminal_size().columns, 140)
    start = "FILE is a config file's path, or a name that mxjax configs lists. It sets, and --config.key=value changes:"
    say("\n".join(textwrap.wrap(start, width)) + "\n")
    say(keys_help(width))
