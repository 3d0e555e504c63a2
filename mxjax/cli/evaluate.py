"""`mxjax evaluate`: a checkpoint on benchmarks, by one or more systems."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import itertools
import time
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath
from ml_collections import ConfigDict

from mxjax import models, stopping
from mxjax.cli.arguments import add_checkpoint_arguments, check_counts, serving_options, step_of
from mxjax.config import to_json
from mxjax.data import Pools, load_benchmark
from mxjax.data.benchmarks import quoted, shared_with
from mxjax.data.identity import texts_of
from mxjax.data.pools import HELD_OUT, question_pools
from mxjax.data.provenance import trained_on
from mxjax.errors import UserError
from mxjax.evaluation.choice import ON_TEST, is_test, remark
from mxjax.evaluation.harness import distinct, shown_name
from mxjax.evaluation.suite import NOT_KEPT, Suite, digest, questions_digest, settings_of
from mxjax.evaluation.systems import BEST_FIXED, FROZEN_EXECUTOR, check_systems, expand, left_to_do, parse_system
from mxjax.evaluation.tables import comparisons, table
from mxjax.files import read_json
from mxjax.grading import check_same_grading, open_grading
from mxjax.lock import only_writer
from mxjax.mas import Limits
from mxjax.report.evaluation_pages import write_episodes, write_pages
from mxjax.roles import warm_up
from mxjax.rollout import Question
from mxjax.serving import Served, checkpoint_config, serve
from mxjax.terminal import say, shown_in_line
from mxjax.workdir import Workdir, progress_bar, progress_of

Row = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the verb."""
    add_checkpoint_arguments(parser)
    add = parser.add_argument
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


def run(args: argparse.Namespace) -> int:
    """Print the table and write results.json, results.md, results.html and whole episodes."""
    config = checkpoint_config(args.checkpoint)
    systems = expand(args.system.split(","), bool(args.executor))
    names = {parse_system(system)[0] for system in systems}
    check_counts(args, "samples", "limit", "validation_limit")
    if FROZEN_EXECUTOR in names and not args.executor:
        raise UserError(f"{FROZEN_EXECUTOR} needs another policy; name it with --executor CHECKPOINT")
    if not args.resume:
        check_systems(systems)
    if not args.output and not models.is_workdir(args.checkpoint):
        raise UserError(f"{args.checkpoint} is not a workdir: say with --output DIR where results.json goes")
    with only_writer(args.output or epath.Path(args.checkpoint) / "evaluation") as lock:
        return _evaluate(args, config, systems, Workdir(lock.path.parent, lock))


def _evaluate(args: argparse.Namespace, config: ConfigDict, systems: Sequence[str], workdir: Workdir) -> int:
    sources = _Sources(config, args)
    names = {parse_system(system)[0] for system in systems}
    benchmarks = sources.benchmarks()
    trained = {source: trained_on(source) for source in (args.checkpoint, args.executor) if source}
    remarks = {name: _remarks(config, args, trained, name, benchmarks[name]) for name in benchmarks}
    validations = {name: sources.validation(name, benchmarks[name]) for name in benchmarks if BEST_FIXED in names}
    options = serving_options(args)
    served = serve(args.checkpoint, config, step_of(args.checkpoint, args.step), **options)
    config, roles, policies = served.config, dict(served.roles), [(args.checkpoint, served)]
    if args.executor:
        policies.append((args.executor, serve(args.executor, checkpoint_config(args.executor), **options)))
        roles[FROZEN_EXECUTOR] = policies[-1][1].roles["executor"]
    settings = settings_of([(name, each.step, each.config) for name, each in policies], roles, args.seed)
    made_with = _made_with(args, policies)
    chosen_step = args.step == "chosen"
    settings_digest = digest({**settings, "samples": args.samples, "limit": args.limit, "chosen": chosen_step})
    question_digests = {(name, ""): questions_digest(questions) for name, questions in benchmarks.items()}
    question_digests |= {
        (name, BEST_FIXED): questions_digest(benchmarks[name], validation, questions_digest(questions))
        for name, (validation, questions) in validations.items()
    }
    rows = _earlier_rows(workdir, settings_digest, question_digests) if args.resume else []
    for name in benchmarks:
        check_systems(systems, [row["system"] for row in rows if row["benchmark"] == name])
    started = time.monotonic()
    warm_up(roles)
    every = itertools.chain(*benchmarks.values(), *(questions for _, questions in validations.values()))
    limits = Limits(**config.rollout.limits)
    with stopping.deferred(), open_grading(config, every) as grading, progress_bar(args.quiet) as bar:
        if rows:
            path = workdir.path / "results.json"
            check_same_grading(path, read_json(path).get("grading"), grading.record, NOT_KEPT)
        suite = Suite(
            workdir,
            roles,
            grading,
            settings,
            limits,
            agent_text=config.eval.agent_text,
            seed=args.seed,
            resume=args.resume,
        )
        best: dict[str, dict[str, Any]] = {}  # of each set of validation questions
        for name, system in left_to_do(benchmarks, systems, rows):
            chosen = {}
            if system == BEST_FIXED:
                validation, questions = validations[name]
                if validation not in best:
                    best[validation] = suite.choose_fixed(validation, questions)
                chosen = best[validation]
            total = len(benchmarks[name]) * args.samples
            task = bar.add_task(shown_in_line(f"{system} on {name}"), total=total, note="")
            row = suite.run(
                system,
                name,
                benchmarks[name],
                samples=args.samples,
                script=chosen.get("script", ""),
                progress=progress_of(bar, task),
            ).row
            episodes = suite.file_name(system, name, chosen.get("script", ""))
            write_episodes(workdir.path / f"{episodes}.jsonl", f"{system} on {name}")
            stamps = {"settings": settings_digest, "questions": _asked(question_digests, system, name)}
            choice_remarks = [ON_TEST] if chosen and is_test(chosen["validation"]) else []
            remark_text = ", ".join(dict.fromkeys([*remarks[name], *choice_remarks]))
            stamps["sandbox_level"] = grading.level
            more = {**({"when": remark_text} if remark_text else {}), **({"chosen": chosen} if chosen else {})}
            rows.append({**row, **made_with, **stamps, "episodes": episodes, **more})
            phases_s = {"evaluation": time.monotonic() - started}
            workdir.write_results(to_json(config), rows, phases_s, args.seed, grading.record)
            write_pages(workdir.path, read_json(workdir.path / "results.json"))
    say(table(rows))
    for name, change in comparisons(rows):
        say(f"{name}: {change}")
    return 0


def _remarks(
    config: ConfigDict,
    args: argparse.Namespace,
    trained: Mapping[str, frozenset[str]],
    name: str,
    questions: Sequence[Question],
) -> list[str]:
    """What every row on a benchmark says.

    That the step was chosen on it, that the policy was trained on some of it.

    Raises ValueError for questions that were trained on, unless `--allow_overlap` says that this is meant.
    """
    lines = [remark(config, name)] if args.step == "chosen" else []
    for source, keys in trained.items():
        if shared := shared_with(questions, keys):
            count = f"{len(shared)} of {len(questions)}"
            if not args.allow_overlap:
                raise UserError(
                    f"{count} questions of {name} are among those that {source} was trained on, such as "
                    f"{quoted(shared[0])}: take another benchmark, or say so in its rows with --allow_overlap"
                )
            lines.append(f"{count} trained on")
    return [text for text in lines if text]


def _made_with(args: argparse.Namespace, policies: Sequence[tuple[str, Served]]) -> dict[str, Any]:
    """The settings of an evaluation that its rows name."""
    (name, served), *others = policies
    executor = served.roles["executor"]
    facts = {
        "checkpoint": name,
        "step": served.step,
        "seed": args.seed,
        "limit": args.limit,
        "temperature": executor.sampling.temperature,
        "max_tokens": executor.sampling.max_tokens,
        "prompt": executor.prompt,
    }
    for name, frozen in others:
        facts |= {"executor": name, "executor_step": frozen.step}
    return facts


def _earlier_rows(workdir: Workdir, settings: str, question_digests: Mapping[tuple[str, str], str]) -> list[Row]:
    """Rows of an earlier evaluation with the same settings.

    And with the same questions where they are asked again. Not those of which the machine lost an execution.
    """
    path = workdir.path / "results.json"
    rows = read_json(path).get("rows", []) if path.exists() else []

    def is_current(row: Row) -> bool:
        digest_now = _asked(question_digests, row["system"], row["benchmark"])
        return row.get("settings") == settings and (not digest_now or row.get("questions") == digest_now)

    return [row for row in rows if is_current(row) and not row.get("failures", {}).get("infrastructure")]


def _asked(question_digests: Mapping[tuple[str, str], str], system: str, benchmark: str) -> str | None:
    """The digest of what a row is asked.

    The questions, of the best fixed design also those that it was chosen on. None where this command asks nothing of
    the kind.
    """
    return question_digests.get((benchmark, system if system == BEST_FIXED else ""))


@dataclasses.dataclass(frozen=True)
class _Sources:
    """Where the questions of a command come from.

    Benchmarks by name, and what the checkpoint's own run has.
    """

    config: ConfigDict
    args: argparse.Namespace

    def benchmarks(self) -> dict[str, list[Question]]:
        """The questions of `--benchmark`, by the names that rows have."""
        by_name = {}
        for name in self.args.benchmark.split(","):
            if name == HELD_OUT:
                by_name[name] = self._pools(f"--benchmark {HELD_OUT}").held_out[: self.args.limit]
            else:
                questions = distinct(name, load_benchmark(name, self.args.limit, self.args.seed, self.args.data_dir))
                by_name[shown_name(name, questions)] = questions
        return by_name

    def validation(self, name: str, questions: Sequence[Question]) -> tuple[str, Sequence[Question]]:
        """Name and questions of the set that chooses the best fixed design.

        Those of `--validation`; without it those that the checkpoint's run held out, or, where these are the benchmark,
        some that it was trained on. Raises ValueError where one of them is also in the benchmark.
        """
        args, limit = self.args, self.args.validation_limit
        if args.validation and args.validation != HELD_OUT:
            if is_test(args.validation) and not args.choose_on_test:
                raise UserError(
                    f"--validation {args.validation} would choose the design on a test split: name another split or "
                    f"set, or say with --choose_on_test that its row is {ON_TEST}"
                )
            loaded = load_benchmark(args.validation, limit, args.seed, args.data_dir)
            chosen_set = args.validation, distinct(args.validation, loaded)
        elif args.validation:
            chosen_set = HELD_OUT, self._pools(f"--validation {HELD_OUT}").held_out[:limit]
        elif not models.is_workdir(args.checkpoint):
            raise UserError(f"{BEST_FIXED} is chosen on other questions than {name}; name them with --validation")
        elif name == HELD_OUT:
            chosen_set = "train", self._pools("").train[:limit]
        else:
            chosen_set = HELD_OUT, self._pools("").held_out[:limit]
        if shared := texts_of(chosen_set[1]) & texts_of(questions):
            raise UserError(
                f"{len(shared)} questions of {chosen_set[0]} are also in {name}; choose with --validation a set "
                "that is not"
            )
        return chosen_set

    def _pools(self, flag: str) -> Pools:
        """The pools of the checkpoint's run.

        Raises ValueError, naming what was asked, where there is no run.
        """
        if not models.is_workdir(self.args.checkpoint):
            raise UserError(
                f"{flag} is for the workdir of a run, which held questions out, and {self.args.checkpoint} is not "
                "one; name a benchmark"
            )
        return self._own_pools

    @functools.cached_property
    def _own_pools(self) -> Pools:
        return question_pools(self.config)
