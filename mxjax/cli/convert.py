"""`mxjax convert`: a checkpoint in another form, with its serving settings."""

from __future__ import annotations

import argparse

from etils import epath

from mxjax import checkpoint, models, serving
from mxjax.cli.arguments import step, step_of
from mxjax.data.provenance import TRAINED_ON
from mxjax.errors import UserError
from mxjax.lock import LOCK, only_writer
from mxjax.run import write_workdir
from mxjax.serving import checkpoint_config, copy_beside, write_contract
from mxjax.terminal import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the verb."""
    add = parser.add_argument
    add("source", help="what to read: a Hugging Face directory, a .gguf file, a workdir, or a name `load` knows")
    add("destination", help="a new directory")
    add("--to", choices=("hf", "orbax"), help="default: hf from a workdir, else orbax")
    add("--role", help="which policy of a split run")
    add("--dtype", choices=("float32", "bfloat16"), help="of the weights; default that of a workdir, else float32")
    add("--step", type=step, help="a workdir's checkpoint, or chosen: the best in validation; default the newest")


def run(args: argparse.Namespace) -> int:
    """Read any source that `load` knows and write another form."""
    target = epath.Path(args.destination)
    _check_empty(target)
    config = checkpoint_config(args.source)
    is_workdir, at_step = models.is_workdir(args.source), step_of(args.source, args.step)
    if is_workdir:
        at_step = checkpoint.sound_step(epath.Path(args.source).expanduser() / "checkpoints", at_step)
    policy = models.load(args.source, dtype=args.dtype, step=at_step, role=args.role, verify=False)
    config.rl.split_policy = False  # one policy, whichever it was, is what is written
    if (args.to or ("hf" if is_workdir else "orbax")) == "hf":
        form = "hf"
        with only_writer(target):
            _check_empty(target)  # another may have written it while this one was reading its source
            models.save_hf(policy, target)
            directory = models.directory_of(args.source)
            if directory is not None and (is_workdir or (directory / serving.FILE).exists()):
                write_contract(target, config, at_step)
                copy_beside(TRAINED_ON, directory, target)
    else:
        form, config.init = "orbax", args.source
        write_workdir(policy, target, config)
    contents = {
        "hf": "config.json, model.safetensors, tokenizer files and mxjax.json, for transformers and --checkpoint",
        "orbax": "an mxjax workdir, for --config.init and --checkpoint",
    }
    say(f"{target}: {contents[form]}")
    return 0


def _check_empty(target: epath.Path) -> None:
    """Raise UserError for a destination that is not empty.

    A writer's lock may be in it.
    """
    if target.exists() and not (target.is_dir() and all(path.name == LOCK for path in target.iterdir())):
        raise UserError(f"{target} exists and is not an empty folder; choose another destination")
