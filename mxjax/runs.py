"""What `sft` and `train` share: opening a workdir, where the policy comes from, saving and resuming.

A workdir belongs to one config: continuing it with another is an error that names the keys that differ.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
from etils import epath
from ml_collections import ConfigDict

from mxjax import checkpoint, mas, models, stopping
from mxjax.checkpoint import Checkpointer
from mxjax.choice import HELD_OUT, check_choice, chosen
from mxjax.config import from_json, run_record, to_json
from mxjax.data import Pools, disjoint_pools, likeness, load_task
from mxjax.data.identity import IDENTITY
from mxjax.data.overlap import benchmark_keys, check_apart, keys_of, left_out, quoted, shared_with
from mxjax.data.sources import is_task
from mxjax.errors import RunStopped, UserError, file_errors
from mxjax.evaluation import check_run_systems
from mxjax.files import absolute, check_can_write, read_json, reading
from mxjax.grading import check_same_grading, grading_record
from mxjax.lock import Lock, only_writer
from mxjax.mirrors import check_mirrors
from mxjax.models.io import workdir_config
from mxjax.ranges import check_ranges
from mxjax.rewards import RewardFunction, make_reward, program_tool
from mxjax.rl import TrainState, init_state
from mxjax.rl.stages import ROLES
from mxjax.rollout import DesignSampling, Question, Role
from mxjax.rollout.faults import GradingFaults
from mxjax.rollout.tree import derive_seed
from mxjax.sampling import Engine, SamplingParams
from mxjax.sampling.engine import engine_layout
from mxjax.sandbox import LEVELS, Sandbox, SandboxLimits, SandboxUnavailable
from mxjax.sandbox.tool import python_tool
from mxjax.sharding import make_mesh
from mxjax.telemetry import Workdir, plain
from mxjax.terminal import say

_log = logging.getLogger(__name__)
TRAINED_ON = "trained_on.json"
ELSEWHERE = "continue it as it was begun, on a machine that has what it needs, or choose another --workdir"
MAY_CHANGE = (  # in a run that continues
    "workdir", "init", "checkpoint", "telemetry", "rl.steps", "rl.max_skipped", "sft.max_skipped",
)  # fmt: skip
TOOLS = {"python_execute": python_tool}  # host tools that rollout.tools may name
PROMPTS = tuple(f"roles.{role}.prompt" for role in ROLES)  # compared by content


def check_config(config: ConfigDict) -> None:
    """Raises UserError for settings that could only fail later, when time has been spent and files written."""
    check_ranges(config)
    rl = config.rl
    for role in config.roles.values():
        mas.load_prompts(role.prompt)
    DesignSampling(**config.roles.executor.design_sampling)
    known_names("rollout.limits", config.rollout.limits, mas.Limits)
    mas.Limits(**config.rollout.limits)
    limits_of_tests(config)
    check_tools(config)
    check_run_systems(config.eval.systems)
    if rl.row_length < config.engine.max_len:
        raise UserError(
            f"rl.row_length={rl.row_length} must hold the longest prompt with its response, "
            f"engine.max_len={config.engine.max_len} tokens; raise the one or lower the other"
        )
    sizes = {name: role.minibatch_segments or rl.minibatch_segments for name, role in config.roles.items()}
    if rl.mode == "coupled" and len(set(sizes.values())) > 1:
        listed = " and ".join(f"{size} of the {name}" for name, size in sizes.items())
        raise UserError(
            f"rl.mode=coupled takes one gradient for both roles, so their mini-batches must be equal, and are {listed} "
            "segments: set roles.designer.minibatch_segments and roles.executor.minibatch_segments to one number"
        )
    for name, steps in (("rl", None), ("sft", config.sft.steps + 1)):
        check_schedule(f"{name}.optimizer", config[name].optimizer, steps)


def check_schedule(name: str, optimizer: Mapping[str, Any], default_steps: int | None) -> None:
    """Raises UserError for a schedule that ends before its warm-up does; `default_steps` stands for total_steps=0."""
    total = optimizer["total_steps"] or default_steps or 0
    if optimizer["schedule"] != "constant" and total <= optimizer["warmup_steps"]:
        raise UserError(
            f"{name}.schedule={optimizer['schedule']} needs {name}.total_steps above {name}.warmup_steps="
            f"{optimizer['warmup_steps']}, got {total}"
        )


def check_tools(config: ConfigDict) -> None:
    """Raises UserError for a tool that `rollout.tools` names and that there is not."""
    if unknown := sorted(set(config.rollout.tools) - set(TOOLS)):
        raise UserError(f"rollout.tools knows {', '.join(TOOLS)}, not {unknown[0]!r}")


def known_names(name: str, given: Mapping[str, Any], record: type) -> None:
    """Raises UserError for a name in the mapping `given` that the dataclass `record` lacks."""
    known = [field.name for field in dataclasses.fields(record)]
    if unknown := sorted(set(given) - set(known)):
        raise UserError(f"{name} knows {', '.join(known)}, not {unknown[0]!r}")


def run_mesh(config: ConfigDict) -> jax.sharding.Mesh:
    """The mesh that `config.mesh` asks for. Raises UserError when the devices do not fit."""
    return make_mesh(dict(config.mesh))


def question_pools(config: ConfigDict) -> Pools:
    """Training and held-out questions of a run, without a text in common; the held-out ones are drawn first.

    Neither shares a text with a benchmark that the run names or that is on this machine (`data.overlap`).
    """
    data = config.data
    spec = config.task or (list(map(dict, data.mixture)) if data.mixture else _spec(data.train))
    validation = _spec(data.validation) if data.validation else None
    check_choice(config)
    size = data.train_size or None
    keys = benchmark_keys(name for name in config.eval.benchmarks if name != HELD_OUT)
    not_drawn = left_out(keys, data.overlap)
    on_test = config.eval.choose_on_test
    pools = disjoint_pools(
        spec, size, data.validation_size, config.seed, held_out_spec=validation, train_without=not_drawn,
        held_out_without=frozenset() if on_test else not_drawn,
    )  # fmt: skip
    check_apart(pools.train, keys, "training")
    if not on_test:
        check_apart(pools.held_out, keys, "validation")
    return pools


def _spec(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {key: dict(value) if isinstance(value, ConfigDict) else value for key, value in spec.items()}


@contextlib.contextmanager
def open_run(config: ConfigDict, kind: str, ignore: Sequence[str] = ()) -> Iterator[Workdir]:
    """The run's workdir, this process its only writer; meanwhile SIGTERM and Ctrl-C stop the run (`mxjax.stopping`).

    Raises UserError as `check_workdir` does, and where another process writes there.
    """
    with stopping.on_signals(), only_writer(config.workdir) as lock:
        yield check_workdir(config, kind, ignore, lock)


def check_workdir(config: ConfigDict, kind: str, ignore: Sequence[str] = (), lock: Lock | None = None) -> Workdir:
    """The run's workdir. Raises UserError when it belongs to a run of another kind or with other settings.

    `ignore` names the top-level keys that this kind of run does not read.
    """
    workdir = Workdir(config.workdir, lock)
    check_can_write(workdir.path)
    check_mirrors(config.telemetry.tensorboard, config.telemetry.wandb)
    if (workdir.path / "config.json").exists():
        earlier = read_record(workdir.path)
        if earlier["kind"] != kind:
            raise UserError(f"{workdir.path} holds a run of mxjax {earlier['kind']}; choose another --workdir")
        filled = lambda values: to_json(from_json(values))  # keys that came after the run began have their defaults
        before, now = filled(earlier["config"]), filled(to_json(config))
        changed = dict(_differences(before, now, {*MAY_CHANGE, *PROMPTS, *ignore}))
        for name, prompt in workdir_prompts(workdir.path, earlier).items():
            if mas.load_prompts(prompt) != mas.load_prompts(config.roles[name].prompt):
                changed[f"roles.{name}.prompt"] = prompt
        if changed:
            back = ", ".join(f"{key}={value!s:.60}" for key, value in sorted(changed.items()))
            raise UserError(
                f"{workdir.path} belongs to a run with other settings of {', '.join(sorted(changed))}; "
                f"set them back ({back}), or choose another --workdir"
            )
    return workdir


def check_unseen(config: ConfigDict, pools: Pools) -> None:
    """Raises UserError when a run that begins would hold out questions that `init`, or what it began from, has seen."""
    if checkpoint.latest_step(absolute(config.workdir) / "checkpoints") is not None:
        return
    if known := shared_with(pools.held_out, trained_on(config.init)):
        raise UserError(
            f"{len(known)} of {len(pools.held_out)} held-out questions were trained on before, by {config.init} or "
            f"what it began from, such as {quoted(known[0])}: take its seed and data.train, or set data.validation"
        )


def describe_run(
    workdir: Workdir,
    config: ConfigDict,
    kind: str,
    model: models.ModelConfig,
    tokenizer: models.Tokenizer,
    pools: Pools | None = None,
    trained: Sequence[Question] | None = None,
    graded: Mapping[str, Any] | None = None,
) -> None:
    """Writes config.json, tokenizer, prompt files and trained_on.json: all that serving a checkpoint needs, which pools
    were drawn, how it is graded, and what benchmarks are compared with: the questions `trained`, None for all training
    questions.

    Once there is a checkpoint nothing is written: what it was made with stays. Until then a start leaves nothing to the
    next one. Raises UserError where that run had
    other questions, which the config alone cannot tell.
    """
    if checkpoint.latest_step(workdir.checkpoints) is not None:
        if pools is not None and read_record(workdir.path)["questions"] not in (None, pools.digest):
            raise UserError(
                f"{workdir.path} was begun with other questions than its config gives now: bring back the files, sets "
                "and packages that they came from, or choose another --workdir"
            )
        return
    with file_errors("write", workdir.path):
        workdir.begin_anew()
        tokenizer.save(workdir.path / "tokenizer")
        for name, role in config.roles.items():
            if role.prompt.endswith(".toml"):
                (workdir.path / "prompts").mkdir(exist_ok=True)
                (workdir.path / "prompts" / f"{name}.toml").write_bytes(epath.Path(role.prompt).read_bytes())
    more = {**({} if pools is None else {"questions": pools.digest}), **({"grading": graded} if graded else {})}
    record = run_record(config, kind, dataclasses.asdict(model), **more)
    questions = () if pools is None else pools.train if trained is None else trained
    like = likeness.merged(likeness.summary(question.text for question in questions), likeness_of(config.init))
    keys = sorted(keys_of(questions) | trained_on(config.init))
    workdir.write_json(TRAINED_ON, {"identity": IDENTITY, "texts": keys, "likeness": like})
    workdir.write_json("config.json", record)


def trained_on(source: str) -> frozenset[str]:
    """The `statement_key` of every question that a policy was trained on, by its run and by those it began from.

    None for a source that does not have them, which a logged sentence says of a workdir.
    """
    if (kept := _kept(source)) is None:
        return frozenset()
    if kept.get("identity") != IDENTITY:
        _log.warning(
            "%s of %s is not there or of another version: no benchmark is compared with its training",
            TRAINED_ON, source,
        )  # fmt: skip
        return frozenset()
    return frozenset(kept.get("texts", ()))


def likeness_of(source: str) -> dict[str, Any]:
    """The `likeness.summary` of the questions that a policy was trained on; empty where nothing is known of them.

    Raises ValueError for a file that has something else there.
    """
    known = (_kept(source) or {}).get("likeness", {})
    with reading(f"{TRAINED_ON} of {source}"):
        likeness.check(known)
    return known


def _kept(source: str) -> dict[str, Any] | None:
    """trained_on.json of a workdir or of a model that was converted from one; None for another model."""
    try:
        directory = models.directory_of(source)
    except FileNotFoundError:  # of the hub, which cannot be reached: loading will say so
        directory = None
    if directory is None or not (models.is_workdir(source) or (directory / TRAINED_ON).exists()):
        return None
    path = directory / TRAINED_ON
    return read_json(path) if path.exists() else {}


def read_record(path: epath.PathLike) -> dict[str, Any]:
    """config.json of an mxjax workdir. Raises UserError if it is of something else, or broken."""
    file = absolute(path) / "config.json"
    try:
        record = read_json(file)
        required = {name: record[name] for name in ("kind", "model", "config")}
        return {**required, "questions": record.get("questions"), "grading": record.get("grading")}
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{file} is not that of an mxjax run; choose another directory") from None


def saved_model(workdir: str) -> tuple[models.ModelConfig, models.Tokenizer] | None:
    """Architecture and tokenizer of a workdir that has a checkpoint to continue from, else None."""
    path = absolute(workdir)
    if checkpoint.latest_step(path / "checkpoints") is None:
        return None
    read_record(path)
    return workdir_config(path), models.Tokenizer.from_directory(path / "tokenizer")


def write_workdir(policy: models.Policy, path: epath.PathLike, config: ConfigDict) -> None:
    """A workdir that holds `policy` as its only checkpoint, to be served with the prompts and limits of `config`."""
    config.workdir = str(path)
    with only_writer(path):
        workdir = Workdir(path)
        describe_run(workdir, config, "convert", policy.config, policy.tokenizer)
        meta = {"step": 0, "stage": "", "seed": config.seed, "config": to_json(config)}
        checkpoint.save(workdir.checkpoints, {"params": {"shared": dict(policy.params)}, "meta": meta}, 0)


def workdir_prompts(path: epath.PathLike, record: Mapping[str, Any]) -> dict[str, str]:
    """Prompt set of each role: the file that the workdir keeps, since a checkpoint is served with what it was
    trained on, else the built-in set that its config names."""
    roles = record["config"]["roles"]
    kept = {name: absolute(path) / "prompts" / f"{name}.toml" for name in roles}
    return {name: str(kept[name]) if kept[name].exists() else role["prompt"] for name, role in roles.items()}


def _differences(a: Mapping, b: Mapping, skip: Collection[str], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys at which two configs differ, with the value in `a`."""
    for key in sorted({*a, *b}):
        x, y, name = a.get(key), b.get(key), f"{prefix}{key}"
        if name in skip:
            continue
        if isinstance(x, dict) and isinstance(y, dict):
            yield from _differences(x, y, skip, name + ".")
        elif x != y:
            yield name, x


def load_policy(config: ConfigDict, mesh: jax.sharding.Mesh, role: str | None = None) -> models.Policy:
    """The policy that `config.init` names, in the run's dtypes. Raises UserError in one sentence."""
    policy = models.load(config.init, mesh=mesh, dtype=config.model.param_dtype, role=role, seed=config.seed)
    policy.tokenizer.check_turns()
    return dataclasses.replace(policy, config=policy.config.replace(**config.model))


def save_state(checkpointer: Checkpointer, state: TrainState, config: ConfigDict, stage: str) -> None:
    """Saves parameters, each optimiser state, and what the step needs to go on, as step `state.step`.

    Raises RunStopped for a state that is not finite, which no checkpoint shall hold.
    """
    items = _items(state)
    if fault := checkpoint.say_not_finite(checkpoint.not_finite(items)):
        raise RunStopped(f"step {state.step} is not saved, since {fault}; the last checkpoint is as it was")
    meta = {"step": state.step, "stage": stage, "seed": config.seed, "config": to_json(config)}
    checkpointer.save({**items, "meta": meta}, state.step)
    stopping.owe(False)


@contextlib.contextmanager
def saved_when_stopped(
    checkpointer: Checkpointer, config: ConfigDict, current: Callable[[], tuple[TrainState | None, str]]
) -> Iterator[None]:
    """Lets signals wait for the next `stopping.poll`; before that ends the run, saves the `current` state, if new."""
    try:
        with stopping.deferred():
            yield
    except stopping.Stopped as stop:
        checkpointer.wait()
        state, stage = current()
        if state is not None and state.step > (checkpointer.latest_step() or 0):
            save_state(checkpointer, state, config, stage)
            checkpointer.wait()
        step = checkpointer.latest_step()
        _log.warning("stopped by %s %s", stop.signal.name, f"at step {step}" if step else "before the first checkpoint")
        raise


def keep_validation(
    checkpointer: Checkpointer, workdir: Workdir, step: int, rows: Sequence[Mapping[str, Any]]
) -> None:  # fmt: skip
    """Keeps the rows of a validation in the checkpoint of that step, if there is one, once it is on disk."""
    if not rows:
        return
    checkpointer.wait()
    if step in checkpointer.steps():
        kept = plain([{**row, "step": step, "phase": "eval"} for row in rows])
        checkpoint.record_validation(workdir.checkpoints, step, kept)


def start_state(checkpointer: Checkpointer, policies: Mapping[str, Any], optimizer, mode: str) -> TrainState:
    """The newest undamaged checkpoint, or a fresh state from `policies` if there is none.

    `policies` holds parameters by name, or, to restore into, `abstract_params`: then there must be a checkpoint.
    Raises UserError for parameters that are not finite.
    """
    state = init_state(policies, optimizer, mode)
    if checkpointer.latest_step() is not None:
        items = checkpointer.restore({**_items(state), "meta": {}})
        optimizers = {owner: items[f"opt_{owner}"] for owner in state.optimizers}
        state = state.replace(policies=items["params"], optimizers=optimizers, step=items["meta"]["step"])
    if fault := checkpoint.say_not_finite(checkpoint.not_finite(_items(state))):
        raise UserError(f"{fault} where the run begins; begin it from another init or checkpoint")
    return state


def chosen_so_far(config: ConfigDict, workdir: Workdir) -> dict[str, Any] | None:
    """`chosen` of what is on disk: validations are read from the checkpoints themselves, which keep theirs.

    Those of a checkpoint that has none, as one from before they were kept, are looked for in the metrics.
    """
    root = workdir.checkpoints
    saved = [step for step in checkpoint.steps(root) if not checkpoint.saved_not_finite(root, step)]
    kept = {step: checkpoint.validation(root, step) for step in saved}
    logged = workdir.metrics() if None in kept.values() else []
    rows = [row for row in logged if kept.get(row["step"], ()) is None]
    return chosen(config, rows + [row for own in kept.values() for row in own or ()], saved)


def chosen_step(path: str) -> int:
    """The chosen step of a workdir. Raises UserError where nothing has been validated."""
    if not models.is_workdir(path):
        raise UserError(f"--step=chosen is for the workdir of a run, and {path} is not one")
    found = chosen_so_far(from_json(read_record(path)["config"]), Workdir(path))
    if found is None:
        raise UserError(f"{path} has no validated checkpoint to choose from: name one with --step")
    return found["step"]


def _items(state: TrainState) -> dict[str, Any]:
    return {"params": state.policies, **{f"opt_{owner}": opt for owner, opt in state.optimizers.items()}}


def engine_settings(config: ConfigDict) -> dict[str, Any]:
    """`config.engine` as arguments of an `Engine`."""
    return {**config.engine, "pages": config.engine.pages or None}


def check_engine(config: ConfigDict, cfg: models.ModelConfig, mesh: jax.sharding.Mesh) -> None:
    """Raises UserError where no engine of `config.engine` can sample from such a model; takes no memory."""
    engine_layout(cfg, mesh=mesh, **engine_settings(config))


def make_roles(config: ConfigDict, policies: Mapping[str, models.Policy], mesh=None, **sampling) -> dict[str, Role]:
    """Designer and executor over `policies` ({"shared": ...} or one each); a shared policy is one engine.

    `sampling` overrides the config's settings of both roles.
    """
    engines = {name: Engine(policy, mesh=mesh, **engine_settings(config)) for name, policy in policies.items()}
    roles = {}
    for role in ROLES:
        own = config.roles[role]
        params = SamplingParams(**{**own.sampling, **sampling}, max_tokens=own.max_tokens)
        bounds = DesignSampling(**own.get("design_sampling", {}))
        roles[role] = Role(engines.get("shared") or engines[role], params, own.prompt, bounds)
    return roles


@contextlib.contextmanager
def checkpoints(config: ConfigDict, workdir: Workdir) -> Iterator[Checkpointer]:
    """The run's checkpointer, which keeps the newest steps and the chosen one; closing waits for the last save."""
    best = lambda: (chosen_so_far(config, workdir) or {}).get("step")
    checkpointer = Checkpointer(workdir.checkpoints, config.checkpoint.keep, best)
    with checkpointer:
        yield checkpointer


@dataclasses.dataclass(frozen=True)
class Grading:
    """What the executions of a run are graded with: the reward function, host tools by name, and the sandbox's level.

    `level` is None where nothing needs a sandbox; `record` is what results files say of it. `training` gives the reward
    function of an RL step, which may run some of a program's tests (`reward.tests`); `reward` runs all.
    """

    reward: RewardFunction
    tools: dict[str, mas.Tool]
    level: str | None
    training: Callable[[int], RewardFunction] | None = None
    record: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@contextlib.contextmanager
def open_grading(
    config: ConfigDict, questions: Iterable[Question], workdir: Workdir | None = None
) -> Iterator[Grading]:
    """The grading of a run: questions of a task by its own `verify` if it has one, programs and tools in a sandbox.

    The sandbox is opened where a question has code or `rollout.tools` names a tool that needs it; below level A a line
    says how to get a stronger one. Raises UserError, in one sentence, for an unknown tool, where no sandbox passes its
    self-test, and where the run in `workdir` goes on and was graded in another way.
    """
    begun = begun_grading(workdir)
    check_tools(config)
    asked = {(question.source, question.task_type) for question in questions}
    tasks = {name: load_task(name).verify for name in sorted({source for source, _ in asked}) if is_task(name)}
    stateful = config.rollout.stateful_tools
    programs = any(kind == "code" and not tasks.get(source) for source, kind in asked)
    needs_sandbox = programs or bool(config.rollout.tools)
    with contextlib.ExitStack() as stack:
        try:
            workers = max(2, os.cpu_count() or 2)
            sandbox = stack.enter_context(Sandbox(config.reward.sandbox, workers)) if needs_sandbox else None
            tools = {name: TOOLS[name](sandbox, stateful=stateful) for name in config.rollout.tools}
        except SandboxUnavailable as error:
            said = " ".join(str(error).split()).rstrip(".")
            if begun and begun["sandbox_level"]:
                had = f"{workdir.path} was begun with a sandbox of level {begun['sandbox_level']}"
                raise UserError(f"{had}, and this machine has none ({said}); {ELSEWHERE}") from error
            without = "--tools none, or --config.rollout.tools=() --config.sft.tool_share=0"
            raise UserError(said if programs else f"{said}; or let agents go without it: {without}") from error
        if sandbox is not None and sandbox.level != LEVELS[0]:
            say(sandbox.advice, file=sys.stderr)
        limits, faults = limits_of_tests(config), GradingFaults(config.reward.max_fault_share)
        if sandbox is not None:
            tools["run_program"] = program_tool(sandbox, limits)

        def reward(**choice) -> RewardFunction:
            made = make_reward(
                config.reward.answer_from, None, sandbox, limits, in_process=config.reward.in_process, **choice
            )
            made = dataclasses.replace(made, faults=faults)
            by_task = lambda question, answer: (tasks.get(question.source) or made.verify)(question, answer)
            return dataclasses.replace(made, verify=by_task) if any(tasks.values()) else made

        def training(step: int) -> RewardFunction:
            seed = derive_seed(config.seed, step)
            return reward(all_pass=config.reward.all_pass, tests=config.reward.tests, seed=seed)

        level = sandbox.level if sandbox else None
        record = grading_record(config, level)
        if begun:
            check_same_grading(workdir.path, begun, record, ELSEWHERE)
        yield Grading(reward(), tools, level, training, record)


def begun_grading(workdir: Workdir | None) -> Mapping[str, Any] | None:
    """How a run that goes on was graded when it began; None for one that begins, or says nothing of it."""
    if workdir is None or checkpoint.latest_step(workdir.checkpoints) is None:
        return None
    return read_record(workdir.path)["grading"]


def limits_of_tests(config: ConfigDict) -> SandboxLimits:
    """The limits of one test of a program, `reward.limits`. Raises ValueError for an unknown name or a wrong value."""
    known_names("reward.limits", config.reward.limits, SandboxLimits)
    return SandboxLimits(**config.reward.limits)
