"""`mxjax doctor`: check of this machine, a workdir or a model."""

from __future__ import annotations

import argparse
import importlib.metadata
import platform

import jax
from etils import epath

from mxjax import __version__, checkpoint, mas, models
from mxjax.config import default_config
from mxjax.models.headers import read_headers
from mxjax.plan.estimate import ROWS, smallest_slices
from mxjax.rewards import grade_math
from mxjax.run import read_record
from mxjax.sampling.attention import OF_PLATFORM, choose
from mxjax.sandbox import Sandbox, SandboxUnavailable
from mxjax.terminal import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the verb."""
    parser.add_argument("path", nargs="?", help="a workdir or a model to check")


def run(args: argparse.Namespace) -> int:
    """Print versions, devices and optional parts.

    With a path, whether that workdir or model is sound.
    """
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
    """Print what the headers of a model's files say.

    Returns 1 when its tensors are not those of its configuration.
    """
    headers = read_headers(path)
    cfg, tokenizer = headers.config, headers.tokenizer
    stops = ", ".join(str(tokenizer.backend.id_to_token(i)) for i in tokenizer.stop_ids) or "none"
    turns = "each turn anew" if tokenizer.template and tokenizer.rewrites_history else "turns appended"
    slices = [f"{chip}: {chips or 'none'}" for chip, chips in smallest_slices(cfg).items()]
    usual = cfg.replace(dtype="bfloat16"), default_config().engine.page_size
    kernels = {kind: choose("auto", *usual, platform=kind) for kind in ("tpu", "gpu")}
    rows = {
        "family": f"{cfg.family}, {cfg.num_hidden_layers} layers of {cfg.hidden_size}, "
        f"{cfg.num_attention_heads}/{cfg.num_key_value_heads} heads of {cfg.head_dim}",
        "parameters": f"{headers.count:,}",
        "dtype": ", ".join(f"{dtype} ({count / headers.count:.0%})" for dtype, count in headers.parameters.items()),
        "tokenizer": f"{tokenizer.vocab_size:,} ids, stops at {stops}",
        "template": f"yes, {turns}" if tokenizer.template else "none",
        "trains on": f"{', '.join(slices)} chips or more, about, with rows of {ROWS:,} tokens (mxjax plan compiles it)",
        "attention": "; ".join(f"on {kind} {name}, {why}" for kind, (name, why) in kernels.items()),
        "tensors": headers.fault or "all there",
    }
    for name, value in rows.items():
        say(f"{name:<18} {value}")
    return 1 if headers.fault else 0


def _check_workdir(path: epath.Path) -> int:
    """Verify every finished checkpoint of a workdir.

    Returns 1 when one is damaged or holds numbers that are not finite.
    """
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
