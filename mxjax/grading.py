"""How a run is graded, recorded so that a change is noticed.

Had a run continued with another version of a grader, or another sandbox, its rewards would follow two rules, and its
table would not say so.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

from mxjax import mas
from mxjax.config import to_json
from mxjax.data import load_task
from mxjax.data.sources import is_task
from mxjax.errors import UserError
from mxjax.ranges import check_names
from mxjax.rewards import RewardFunction, grader_versions, make_reward, program_tool
from mxjax.rollout import Question
from mxjax.rollout.faults import GradingFaults
from mxjax.rollout.tree import derive_seed
from mxjax.sandbox import LEVELS, Sandbox, SandboxLimits, SandboxUnavailable
from mxjax.sandbox.tool import python_tool
from mxjax.terminal import say

TOOLS = {"python_execute": python_tool}  # host tools that rollout.tools may name
ELSEWHERE = "continue it as it was begun, on a machine that has what it needs, or choose another --workdir"
NO_RULE = ("sandbox", "max_fault_share")  # keys of `reward` that say how to grade, not what an answer earns


def grading_record(config: ConfigDict, level: str | None) -> dict[str, Any]:
    """The "grading" of a results file.

    It has the versions of graders, the level of the sandbox (None: not needed), and `reward`.
    """
    reward = {key: value for key, value in to_json(config)["reward"].items() if key not in NO_RULE}
    return {"graders": grader_versions(), "sandbox_level": level, "reward": reward}


def check_same_grading(place: Any, before: Mapping[str, Any] | None, now: Mapping[str, Any], way_out: str) -> None:
    """Raise UserError if the grading of `place` has changed, naming each change.

    A key that the older record lacks, such as one added since, counts as unchanged.
    """
    changed = list(_changes(before or {}, now))
    if changed:
        raise UserError(f"{place} was graded in another way: {'; '.join(changed)}; {way_out}")


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    before, now = _named(before), _named(now)
    for name in (name for name in now if name in before and before[name] != now[name]):
        yield f"{name} was {_value(before[name])} and is now {_value(now[name])}"


def _named(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a record holds, by the names that messages use."""
    reward = {f"reward.{key}": value for key, value in record.get("reward", {}).items()}
    level = {"the sandbox level": record["sandbox_level"]} if "sandbox_level" in record else {}
    return {**level, **record.get("graders", {}), **reward}


def _value(value: Any) -> str:
    return "none" if value is None else value if isinstance(value, str) else repr(value)


@dataclasses.dataclass(frozen=True)
class Grading:
    """Reward function, host tools and sandbox level of a run.

    `level` is None where nothing needs a sandbox; `record` is what results files say of it. `training` gives the reward
    function of an RL step, which may run some of a program's tests (`reward.tests`); `reward` runs all, and is that of
    RL steps too where there is no `training`.
    """

    reward: RewardFunction
    tools: dict[str, mas.Tool]
    level: str | None
    training: Callable[[int], RewardFunction] | None = None
    record: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def of_step(self, step: int) -> RewardFunction:
        """The reward function of RL step `step`."""
        return self.reward if self.training is None else self.training(step)


@contextlib.contextmanager
def open_grading(
    config: ConfigDict, questions: Iterable[Question], begun: Mapping[str, Any] | None = None
) -> Iterator[Grading]:
    """Open the grading of a run.

    Questions of a task are graded by its own `verify` if it has one; programs and tools run in a sandbox.

    The sandbox is opened where a question has code or `rollout.tools` names a tool; below level A a line says how to
    get a stronger one. Raises UserError for an unknown tool, where no sandbox passes its self-test, and where a run
    goes on that was graded in another way when it was `begun` (its record).
    """
    check_tools(config)
    kinds = {(question.source, question.task_type) for question in questions}
    tasks = {name: load_task(name).verify for name in sorted({source for source, _ in kinds}) if is_task(name)}
    stateful = config.rollout.stateful_tools
    programs = any(kind == "code" and not tasks.get(source) for source, kind in kinds)
    needs_sandbox = programs or bool(config.rollout.tools)
    with contextlib.ExitStack() as stack:
        sandbox: Sandbox | None = None
        tools: dict[str, mas.Tool] = {}
        try:
            if needs_sandbox:
                sandbox = stack.enter_context(Sandbox(config.reward.sandbox, max(2, os.cpu_count() or 2)))
                tools = {name: TOOLS[name](sandbox, stateful=stateful) for name in config.rollout.tools}
        except SandboxUnavailable as error:
            reason = " ".join(str(error).split()).rstrip(".")
            if begun and begun["sandbox_level"]:
                level_before = f"{config.workdir} was begun with a sandbox of level {begun['sandbox_level']}"
                raise UserError(f"{level_before}, and this machine has none ({reason}); {ELSEWHERE}") from error
            without = "--tools none, or --config.rollout.tools=() --config.sft.tool_share=0"
            raise UserError(reason if programs else f"{reason}; or let agents go without it: {without}") from error
        if sandbox is not None and sandbox.level != LEVELS[0]:
            say(sandbox.advice, file=sys.stderr)
        limits, faults = limits_of_tests(config), GradingFaults(config.reward.max_fault_share)
        if sandbox is not None:
            tools["run_program"] = program_tool(sandbox, limits)

        def reward(**choice) -> RewardFunction:
            in_process = config.reward.in_process
            built_in = make_reward(config.reward.answer_from, None, sandbox, limits, in_process=in_process, **choice)

            def by_task(question: Question, answer: str) -> Any:
                return (tasks.get(question.source) or built_in.verify)(question, answer)

            verify = by_task if any(tasks.values()) else built_in.verify
            return dataclasses.replace(built_in, faults=faults, verify=verify)

        def training(step: int) -> RewardFunction:
            seed = derive_seed(config.seed, step)
            return reward(all_pass=config.reward.all_pass, tests=config.reward.tests, seed=seed)

        level = sandbox.level if sandbox else None
        record = grading_record(config, level)
        if begun:
            check_same_grading(config.workdir, begun, record, ELSEWHERE)
        yield Grading(reward(), tools, level, training, record)


def limits_of_tests(config: ConfigDict) -> SandboxLimits:
    """The limits of one test of a program, `reward.limits`.

    Raises ValueError for an unknown name or a wrong value.
    """
    check_names("reward.limits", config.reward.limits, SandboxLimits)
    return SandboxLimits(**config.reward.limits)


def check_tools(config: ConfigDict) -> None:
    """Raise UserError for an unknown tool in `rollout.tools`."""
    if unknown := sorted(set(config.rollout.tools) - set(TOOLS)):
        raise UserError(f"rollout.tools knows {', '.join(TOOLS)}, not {unknown[0]!r}")
