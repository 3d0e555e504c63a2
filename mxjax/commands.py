"""The verbs that convert a checkpoint or look at a run, a design or the machine: report, convert, design, doctor; and
how a checkpoint's roles are loaded.

Each takes the parsed arguments and returns the exit status.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import platform

import jax
from etils import epath
from ml_collections import ConfigDict

from mxjax import __version__, checkpoint, mas, models, serving
from mxjax.config import default_config, from_json
from mxjax.config_files import prompt_file
from mxjax.data.provenance import TRAINED_ON
from mxjax.errors import UserError, file_errors
from mxjax.grading import check_tools
from mxjax.lock import LOCK, only_writer
from mxjax.models.headers import read_headers
from mxjax.plan.estimate import ROWS, smallest_slices
from mxjax.report import read_run, summary, write_pictures, write_report
from mxjax.report.drawing import svg_file
from mxjax.rewards import grade_math
from mxjax.rl.stages import ROLES
from mxjax.roles import make_roles
from mxjax.rollout import Role
from mxjax.run import read_record, workdir_prompts, write_workdir
from mxjax.sampling.attention import OF_PLATFORM, choose
from mxjax.sandbox import Sandbox, SandboxUnavailable
from mxjax.serving import copy_beside, read_contract, write_contract
from mxjax.terminal import say


def checkpoint_config(path: str) -> ConfigDict:
    """The config that a checkpoint was trained with, or that `convert` kept beside it; else one for general models.

    Prompt sets that the run read from files are those that it saved beside its checkpoints.
    """
    is_workdir = models.is_workdir(path)
    directory = None if is_workdir else models.directory_of(path)
    kept = read_contract(directory) if directory is not None else None
    if kept is not None:
        return kept
    if is_workdir:
        record = read_record(path)
        config = from_json(record["config"])
        for name, prompt in workdir_prompts(path, record).items():
            config.roles[name].prompt = prompt
        return config
    config = default_config()
    for role in config.roles.values():
        role.prompt, role.max_tokens = "documented", 1024
    config.engine.max_len = 4096
    return config


def load_roles(args: argparse.Namespace, config: ConfigDict, slots: int | None = None) -> dict[str, Role]:
    """Roles of `--checkpoint`, with engines no larger than it allows; `args.step` is then the step that was loaded.

    Raises UserError in one sentence.
    """
    load = lambda role: models.load(args.checkpoint, step=args.step, role=role, verify=False)
    check_counts(args, "max_tokens", "max_len", "slots")
    if models.is_workdir(args.checkpoint):
        args.step = checkpoint.sound_step(epath.Path(args.checkpoint) / "checkpoints", args.step)
    if args.tools:
        config.rollout.tools = () if args.tools == "none" else tuple(args.tools.split(","))
    check_tools(config)
    policies = {r: load(r) for r in ROLES} if config.rl.split_policy else {"shared": load(None)}
    for policy in policies.values():
        policy.tokenizer.check_turns()
    positions = min(policy.config.max_position_embeddings for policy in policies.values())
    config.engine.max_len = min(args.max_len or config.engine.max_len, positions)
    config.engine.slots = args.slots or min(slots or config.engine.slots, config.engine.slots)
    for role in config.roles.values():
        role.max_tokens = args.max_tokens or role.max_tokens
        role.prompt = prompt_file(args.prompt) or role.prompt
        mas.load_prompts(role.prompt)
    temperature = 0.0 if args.greedy else args.temperature
    return make_roles(config, policies, **({} if temperature is None else {"temperature": temperature}))


def check_counts(args: argparse.Namespace, *names: str) -> None:
    """Raises ValueError for a flag of these that is given and below 1."""
    for name in names:
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise UserError(f"--{name} must be at least 1, got {getattr(args, name)}")


def convert(args: argparse.Namespace) -> int:
    """`mxjax convert`: reads any source that `load` knows and writes one of the two forms."""
    target = epath.Path(args.destination)
    _check_empty(target)
    config = checkpoint_config(args.source)
    is_workdir, step = models.is_workdir(args.source), args.step
    if is_workdir:
        step = checkpoint.sound_step(epath.Path(args.source).expanduser() / "checkpoints", args.step)
    policy = models.load(args.source, dtype=args.dtype, step=step, role=args.role, verify=False)
    config.rl.split_policy = False  # one policy, whichever it was, is what is written
    if (args.to or ("hf" if is_workdir else "orbax")) == "hf":
        form = "hf"
        with only_writer(target):
            _check_empty(target)  # another may have written it while this one was reading its source
            models.save_hf(policy, target)
            directory = models.directory_of(args.source)
            if directory is not None and (is_workdir or (directory / serving.FILE).exists()):
                write_contract(target, config, step)
                copy_beside(TRAINED_ON, directory, target)
    else:
        form, config.init = "orbax", args.source
        write_workdir(policy, target, config)
    says = {"hf": "config.json, model.safetensors, tokenizer files and mxjax.json, for transformers and --checkpoint",
            "orbax": "an mxjax workdir, for --config.init and --checkpoint"}  # fmt: skip
    say(f"{target}: {says[form]}")
    return 0


def _check_empty(target: epath.Path) -> None:
    """Raises UserError for a destination that holds anything but the lock of a writer."""
    if target.exists() and not (target.is_dir() and all(path.name == LOCK for path in target.iterdir())):
        raise UserError(f"{target} exists and is not an empty folder; choose another destination")


def report(args: argparse.Namespace) -> int:
    """`mxjax report WORKDIR`: prints the results so far and rebuilds report.html from the files of the run."""
    say(summary(read_run(args.workdir)))
    say(f"report: {write_report(args.workdir)}")
    for path in write_pictures(args.workdir, args.pictures) if args.pictures else ():
        say(f"picture: {path}")
    return 0


def design(args: argparse.Namespace) -> int:
    """`mxjax design show FILE`: what a design is made of; 1 when the file holds no design that can run."""
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
            raise UserError(f"{args.file} builds no node that can be read from its text, so there is nothing to draw")
        with file_errors("write", args.svg):
            epath.Path(args.svg).write_text(svg_file(graph))
        say(f"drawing: {args.svg}")
    return 0


def doctor(args: argparse.Namespace) -> int:
    """`mxjax doctor [PATH]`: versions, devices, optional parts; with a path, whether that workdir or model is sound."""
    is_model = bool(args.path) and models.is_model(args.path)
    if is_model:
        return _describe_model(args.path)
    if args.path:
        return _check_workdir(epath.Path(args.path))
    names = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "transformers", "tokenizers", "numpy")
    say(f"{'mxjax':<18} {__version__}")
    for name in names:
        say(f"{name:<18} {importlib.metadata.version(name)}")
    say(f"{'python':<18} {platform.python_version()}")
    try:
        say(f"{'devices':<18} {jax.device_count()} x {jax.devices()[0].device_kind} ({jax.default_backend()})")
    except RuntimeError as error:
        say(f"{'devices':<18} none: {' '.join(str(error).split())}")
        return 1
    backend = jax.default_backend()
    fits = f"the first of {', '.join(OF_PLATFORM.get(backend, ()))} that fits a model, else xla"
    say(f"{'attention':<18} {fits if backend in OF_PLATFORM else f'xla: there is no kernel for {backend}'}")
    parts = {"reasoning-gym": "data", "grain": "data", "libtpu": "plan", "torch": "parity"}
    for name, extra in parts.items():
        try:
            say(f"{name:<18} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            say(f"{name:<18} absent: pip install 'mxjax[{extra}]'")
    try:
        with Sandbox() as sandbox:
            say(f"{'sandbox':<18} {sandbox.advice.removeprefix('sandbox ')}")
    except SandboxUnavailable as error:
        say(f"{'sandbox':<18} {error}")
    works = bool(grade_math("4", r"\boxed{4}")) and mas.check("x = 1") is not None
    say(f"{'self-test':<18} {'ok' if works else 'FAILED'}")
    return 0 if works else 1


def _describe_model(path: str) -> int:
    """Prints what the headers of a model's files say; 1 when its tensors are not those of its configuration."""
    found = read_headers(path)
    cfg, tokenizer = found.config, found.tokenizer
    stops = ", ".join(str(tokenizer.backend.id_to_token(i)) for i in tokenizer.stop_ids) or "none"
    turns = "each turn anew" if tokenizer.template and tokenizer.rewrites_history else "turns appended"
    slices = [f"{chip}: {chips or 'none'}" for chip, chips in smallest_slices(cfg).items()]
    usual = cfg.replace(dtype="bfloat16"), default_config().engine.page_size
    kernels = {kind: choose("auto", *usual, platform=kind) for kind in ("tpu", "gpu")}
    rows = {
        "family": f"{cfg.family}, {cfg.num_hidden_layers} layers of {cfg.hidden_size}, "
        f"{cfg.num_attention_heads}/{cfg.num_key_value_heads} heads of {cfg.head_dim}",
        "parameters": f"{found.count:,}",
        "dtype": ", ".join(f"{dtype} ({count / found.count:.0%})" for dtype, count in found.parameters.items()),
        "tokenizer": f"{tokenizer.vocab_size:,} ids, stops at {stops}",
        "template": f"yes, {turns}" if tokenizer.template else "none",
        "trains on": f"{', '.join(slices)} chips or more, about, with rows of {ROWS:,} tokens (mxjax plan compiles it)",
        "attention": "; ".join(f"on {kind} {name}, {why}" for kind, (name, why) in kernels.items()),
        "tensors": found.fault or "all there",
    }
    for name, value in rows.items():
        say(f"{name:<18} {value}")
    return 1 if found.fault else 0


def _check_workdir(path: epath.Path) -> int:
    """Verifies every finished checkpoint of a workdir; 1 when one is damaged or holds numbers that are not finite."""
    read_record(path)
    root, sound = path / "checkpoints", True
    for step in checkpoint.steps(root):
        fault = checkpoint.fault(root, step) or checkpoint.say_not_finite(checkpoint.saved_not_finite(root, step))
        sound = sound and not fault
        say(f"step {step}: {fault or 'sound'}")
    if not checkpoint.steps(root):
        say("no finished checkpoint")
        return 1
    return 0 if sound else 1
