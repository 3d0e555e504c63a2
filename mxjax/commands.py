"""The verbs that use a trained checkpoint or look at the machine: evaluate, solve, convert, doctor.

Each takes the parsed arguments and returns the exit status.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
import time

import jax
from etils import epath
from ml_collections import ConfigDict

from mxjax import __version__, checkpoint, mas, models
from mxjax.config import UserError, default_config, to_json, user_errors
from mxjax.data import load_benchmark
from mxjax.evaluate import SYSTEMS, table
from mxjax.evaluate import evaluate as evaluate_system
from mxjax.mas import Limits
from mxjax.rewards import extract_answer, grade_math, make_reward
from mxjax.rollout import Question, QuestionTree, Role, collect
from mxjax.runs import make_roles, question_pools, workdir_prompts, write_workdir
from mxjax.telemetry import Workdir, progress_bar, read_json


def checkpoint_config(path: str) -> ConfigDict:
    """The config that a checkpoint was trained with; defaults for one that is not an mxjax workdir.

    Prompt sets that the run read from files are those that it saved beside its checkpoints.
    """
    config = default_config()
    file = epath.Path(path) / "config.json"
    record = read_json(file) if file.exists() else {}
    if "mxjax" not in record:
        for role in config.roles.values():
            role.prompt, role.max_tokens = "documented", 1024
        config.engine.max_len = 4096
        return config
    config = ConfigDict(record["config"])
    for name, prompt in workdir_prompts(path).items():
        config.roles[name].prompt = prompt
    return config


def load_roles(args: argparse.Namespace) -> tuple[ConfigDict, dict[str, Role]]:
    """Config and roles of `--checkpoint`. Raises UserError in one sentence."""
    config = checkpoint_config(args.checkpoint)
    load = lambda role: models.load(args.checkpoint, step=args.step, role=role)
    with user_errors():
        policies = {r: load(r) for r in ("designer", "executor")} if config.rl.split_policy else {"shared": load(None)}
        sampling = {"temperature": 0.0} if args.greedy else {}
        positions = min(policy.config.max_position_embeddings for policy in policies.values())
        config.engine.max_len = min(config.engine.max_len, positions)
        return config, make_roles(config, policies, **sampling)


def evaluate(args: argparse.Namespace) -> int:
    """`mxjax evaluate`: prints the table and writes results.json."""
    systems, benchmarks = args.system.split(","), args.benchmark.split(",")
    for system in systems:
        if system.partition("@")[0] not in SYSTEMS:
            raise UserError(f"unknown system {system!r}; known: {', '.join(SYSTEMS)}")
    config, roles = load_roles(args)
    workdir = Workdir(args.output or epath.Path(args.checkpoint) / "evaluation")
    rows, started = _earlier_rows(workdir) if args.resume else [], time.monotonic()
    done = {(row["system"], row["benchmark"]) for row in rows}
    reward = make_reward(config.reward.answer_from)
    with progress_bar() as bar:
        for name in benchmarks:
            questions = _questions(config, name, args)
            for system in [system for system in systems if (system, name) not in done]:
                total = len(questions) * args.samples
                task = bar.add_task(f"{system} on {name}", total=total, note="")
                outcome = evaluate_system(
                    questions, system, roles, reward, name, args.samples, args.seed, Limits(**config.rollout.limits),
                    config.eval.agent_text, lambda done, task=task: bar.update(task, completed=done),
                )  # fmt: skip
                rows.append(outcome.row)
                decode = roles["executor"].engine.tokenizer.decode
                workdir.save_episodes(f"{system}_{name}".replace("/", "_"), outcome.trees, decode)
                phases_s = {"evaluation": time.monotonic() - started}
                workdir.write_results("evaluate", to_json(config), rows, phases_s, args.seed)
    print(table(rows))
    return 0


def _earlier_rows(workdir: Workdir) -> list[dict]:
    path = workdir.path / "results.json"
    return read_json(path)["rows"] if path.exists() else []


def _questions(config: ConfigDict, name: str, args: argparse.Namespace) -> list[Question]:
    """The questions of a benchmark; "held_out" are those that the checkpoint's own run held out."""
    with user_errors():
        if name == "held_out":
            return question_pools(config).held_out[: args.limit]
        return load_benchmark(name, args.limit, args.seed, args.data_dir)


def solve(args: argparse.Namespace) -> int:
    """`mxjax solve`: prints the design, every call with its reply, and the answer; 1 when there is none."""
    config, roles = load_roles(args)
    question = Question("asked", args.question)
    ungraded = make_reward(config.reward.answer_from, verify=lambda question, answer: 0.0)
    limits = Limits(**config.rollout.limits)
    (tree,) = collect([question], roles, ungraded, designs=1, executions=1, limits=limits, seed=args.seed)
    return _show(tree, roles["executor"].engine.tokenizer.decode)


def _show(tree: QuestionTree, decode) -> int:
    (design,) = tree.designs
    print(design.source.strip() or "(no design)", end="\n\n")
    if design.error:
        print(f"The design cannot run: {design.error}")
        return 1
    (execution,) = design.executions
    for segment in execution.segments:
        print(f"[{segment.call_id}]\n{decode(segment.token_ids).strip()}\n")
    result = execution.result
    if result.status != "ok":
        print(f"The design did not finish: {result.reason}")
        return 1
    print(f"answer: {extract_answer(result.content) or result.content}")
    return 0


def convert(args: argparse.Namespace) -> int:
    """`mxjax convert`: reads any source that `load` knows and writes the other form."""
    target = epath.Path(args.destination)
    if target.exists() and any(target.iterdir()):
        raise UserError(f"{target} exists and is not empty; choose another destination")
    with user_errors():
        policy = models.load(args.source, role=args.role)
    source = epath.Path(args.source)
    from_workdir = (source / "checkpoints").exists()
    if from_workdir and not args.destination.endswith(".orbax"):
        models.save_hf(policy, target)
        print(f"{target}: config.json, model.safetensors and tokenizer, for transformers")
    else:
        write_workdir(policy, target)
        print(f"{target}: an mxjax workdir, for --config.init and --checkpoint")
    return 0


def doctor(args: argparse.Namespace) -> int:
    """`mxjax doctor [PATH]`: versions, devices and optional parts; with a path, whether that workdir is sound."""
    if args.path:
        return _check_workdir(epath.Path(args.path))
    names = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "transformers", "tokenizers", "numpy")
    print(f"{'mxjax':<18} {__version__}")
    for name in names:
        print(f"{name:<18} {importlib.metadata.version(name)}")
    print(f"{'python':<18} {platform.python_version()}")
    print(f"{'devices':<18} {jax.device_count()} x {jax.devices()[0].device_kind} ({jax.default_backend()})")
    print(f"{'attention':<18} xla (blockwise, every backend)")
    parts = {"reasoning-gym": "data", "grain": "data", "math-verify": "code", "libtpu": "plan", "torch": "parity"}
    for name, extra in parts.items():
        try:
            print(f"{name:<18} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            print(f"{name:<18} absent: pip install 'mxjax[{extra}]'")
    works = bool(grade_math("4", r"\boxed{4}")) and mas.check("x = 1") is not None
    print(f"{'self-test':<18} {'ok' if works else 'FAILED'}")
    return 0 if works else 1


def _check_workdir(path: epath.Path) -> int:
    """Verifies every finished checkpoint of a workdir; 1 when one is damaged."""
    if not (path / "config.json").exists():
        raise UserError(f"{path} has no config.json, so it is not a workdir; check the path")
    root, sound = path / "checkpoints", True
    for step in checkpoint.steps(root):
        fault = checkpoint.fault(root, step)
        sound = sound and not fault
        print(f"step {step}: {fault or 'sound'}")
    if not checkpoint.steps(root):
        print("no finished checkpoint")
        return 1
    return 0 if sound else 1
