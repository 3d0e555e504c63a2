"""`mxjax evaluate`: a checkpoint on benchmarks, by one or more systems."""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath
from ml_collections import ConfigDict

from mxjax import checkpoint, models
from mxjax.commands import check_counts, checkpoint_config, load_roles
from mxjax.config import to_json, user_errors
from mxjax.data import load_benchmark
from mxjax.data.identity import texts_of
from mxjax.evaluation.suite import Suite
from mxjax.evaluation.systems import BEST_FIXED, FROZEN_EXECUTOR, expand, left_to_do, parse_system
from mxjax.evaluation.tables import comparisons, table
from mxjax.files import read_json
from mxjax.mas import Limits, load_prompts
from mxjax.report.evaluation import write_episodes, write_pages
from mxjax.rollout import Question, Role
from mxjax.runs import open_grading, question_pools
from mxjax.telemetry import Workdir, progress_bar, progress_of


def evaluate(args: argparse.Namespace) -> int:
    """`mxjax evaluate`: prints the table and writes results.json, results.md, results.html and whole episodes."""
    config = checkpoint_config(args.checkpoint)
    systems = expand(args.system.split(","), bool(args.executor))
    with user_errors():
        names = {parse_system(system)[0] for system in systems}
        check_counts(args, "samples", "limit", "validation_limit")
        if FROZEN_EXECUTOR in names and not args.executor:
            raise ValueError(f"{FROZEN_EXECUTOR} needs another policy; name it with --executor CHECKPOINT")
        if not args.output and not models.is_workdir(args.checkpoint):
            raise ValueError(f"{args.checkpoint} is not a workdir: say with --output DIR where results.json goes")
        workdir = Workdir(args.output or epath.Path(args.checkpoint) / "evaluation")
        benchmarks = {name: _questions(config, name, args) for name in args.benchmark.split(",")}
        validations = _validations(config, benchmarks, args) if BEST_FIXED in names else {}
    roles = load_roles(args, config)
    if args.executor:
        roles[FROZEN_EXECUTOR] = _frozen_executor(args)
    made_with = _made_with(args, roles["executor"])
    rows = _earlier_rows(workdir, made_with, args.samples) if args.resume else []
    started = time.monotonic()
    for engine in {id(role.engine): role.engine for role in roles.values()}.values():
        engine.warmup()
    asked = itertools.chain(*benchmarks.values(), *(questions for _, questions in validations.values()))
    limits = Limits(**config.rollout.limits)
    with open_grading(config, asked) as grading, progress_bar(args.quiet) as bar:
        settings = {
            **made_with, "limit": None, "max_len": config.engine.max_len, "slots": config.engine.slots,
            "tools": config.rollout.tools, "prompts": [load_prompts(role.prompt) for role in roles.values()],
        }  # fmt: skip
        suite = Suite(workdir, roles, grading, settings, limits, config.eval.agent_text, args.seed, args.resume)
        for name, system in left_to_do(benchmarks, systems, rows):
            chosen = suite.choose_fixed(*validations[name]) if system == BEST_FIXED else {}
            task = bar.add_task(f"{system} on {name}", total=len(benchmarks[name]) * args.samples, note="")
            row = suite.run(
                system, name, benchmarks[name], args.samples, chosen.get("script", ""), progress_of(bar, task)
            ).row  # fmt: skip
            episodes = suite.file_name(system, name, chosen.get("script", ""))
            write_episodes(workdir.path / f"{episodes}.jsonl", f"{system} on {name}")
            rows.append({**row, **made_with, "episodes": episodes, **({"chosen": chosen} if chosen else {})})
            phases_s = {"evaluation": time.monotonic() - started}
            workdir.write_results("evaluate", to_json(config), rows, phases_s, args.seed, grading.level)
            write_pages(workdir.path, read_json(workdir.path / "results.json"), args.command)
    print(table(rows))
    for name, change in comparisons(rows):
        print(f"{name}: {change}")
    return 0


def _made_with(args: argparse.Namespace, executor: Role) -> dict[str, Any]:
    """The settings of an evaluation that its rows name."""
    step = args.step
    if step is None and models.is_workdir(args.checkpoint):
        step = checkpoint.latest_step(epath.Path(args.checkpoint) / "checkpoints")
    return {
        "checkpoint": args.checkpoint, "step": step, "seed": args.seed, "limit": args.limit,
        "temperature": executor.sampling.temperature, "max_tokens": executor.sampling.max_tokens,
        "prompt": executor.prompt, **({"executor": args.executor} if args.executor else {}),
    }  # fmt: skip


def _frozen_executor(args: argparse.Namespace) -> Role:
    """The executor of `--executor CHECKPOINT`, with that checkpoint's own prompts and the flags of the command."""
    config = checkpoint_config(args.executor)
    other = argparse.Namespace(**{**vars(args), "checkpoint": args.executor, "step": None})
    return load_roles(other, config)["executor"]


def _validations(
    config: ConfigDict, benchmarks: Mapping[str, Sequence[Question]], args: argparse.Namespace
) -> dict[str, tuple[str, Sequence[Question]]]:
    """For each benchmark, the name and the questions on which the best fixed design is chosen.

    Those of `--validation`; without it those that the checkpoint's run held out, or, where these are the benchmark,
    some that it was trained on. Raises ValueError where one of them is also in the benchmark.
    """
    found = {}
    for name, questions in benchmarks.items():
        if args.validation:
            own = args.validation, load_benchmark(args.validation, args.validation_limit, args.seed, args.data_dir)
        elif not models.is_workdir(args.checkpoint):
            raise ValueError(f"{BEST_FIXED} is chosen on other questions than {name}; name them with --validation")
        elif name == "held_out":
            own = "train", question_pools(config).train[: args.validation_limit]
        else:
            own = "held_out", question_pools(config).held_out[: args.validation_limit]
        if shared := texts_of(own[1]) & texts_of(questions):
            raise ValueError(
                f"{len(shared)} questions of {own[0]} are also in {name}; choose with --validation a set that is not"
            )
        found[name] = own
    return found


def _earlier_rows(workdir: Workdir, made_with: dict, samples: int) -> list[dict]:
    """Rows of an interrupted evaluation that were made with the same settings."""
    path = workdir.path / "results.json"
    rows = read_json(path).get("rows", []) if path.exists() else []
    wanted = {**made_with, "samples": samples}
    return [row for row in rows if wanted.items() <= row.items()]


def _questions(config: ConfigDict, name: str, args: argparse.Namespace) -> list[Question]:
    """The questions of a benchmark; "held_out" are those that the checkpoint's own run held out."""
    if name == "held_out":
        return question_pools(config).held_out[: args.limit]
    questions = load_benchmark(name, args.limit, args.seed, args.data_dir)
    return list({question.id: question for question in questions}.values())
