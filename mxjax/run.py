"""One run of `sft` or `train`.

It opens or continues a workdir and carries the state from step to step. A workdir belongs to one config and, while it
is written, to one process. Settings, questions and models are checked before anything but the lock is written there; a
killed run goes on from its last checkpoint.

Three words of its files: the *kind* of a run is what made it ("train", "sft" or "convert"); the *phase* of a row of
metrics is what it measures ("rl", "sft" or "eval"); the *stage* of an RL step is the roles that learn in it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from etils import epath
from ml_collections import ConfigDict
from rich.progress import Progress, TaskID

from mxjax import checkpoint, mas, models, stopping
from mxjax.checkpoint import Checkpointer
from mxjax.checks import check_config
from mxjax.config import from_json, run_record, to_json
from mxjax.data import Pools
from mxjax.data.pools import question_pools
from mxjax.data.provenance import TRAINED_ON, check_unseen, trained_on_record
from mxjax.errors import RunStopped, UserError, file_errors
from mxjax.evaluation.choice import check_choice, chosen
from mxjax.evaluation.validation import evaluation_rows, load_benchmarks, validate
from mxjax.files import absolute, check_can_write, read_json
from mxjax.grading import Grading, open_grading
from mxjax.lock import Lock, only_writer
from mxjax.metrics import phase_seconds
from mxjax.mirrors import check_mirrors
from mxjax.models.io import workdir_config
from mxjax.models.params import abstract_params
from mxjax.rl import Learner, TrainState, init_state
from mxjax.rl.stages import ROLES
from mxjax.roles import check_engine, make_roles, warm_up
from mxjax.rollout import Question, QuestionTree, Role
from mxjax.sampling import Engine
from mxjax.sharding import make_mesh
from mxjax.skips import check_skips
from mxjax.workdir import Workdir, plain, progress_bar

# In a run that continues.
MAY_CHANGE = ("workdir", "init", "checkpoint", "telemetry", "rl.steps", "rl.max_skipped", "sft.max_skipped")
PROMPTS = tuple(f"roles.{role}.prompt" for role in ROLES)  # compared by content

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Policies:
    """The initial policies of a run.

    Parameters by name, with one architecture and one tokenizer. The parameters are abstract (`abstract_params`) if a
    checkpoint is to be restored into them.
    """

    params: Mapping[str, Any]
    config: models.ModelConfig
    tokenizer: models.Tokenizer

    def of(self, state: TrainState) -> dict[str, models.Policy]:
        """The policies with the parameters of a state."""
        return {name: models.Policy(state.policies[name], self.config, self.tokenizer) for name in self.params}


@contextlib.contextmanager
def open_run(config: ConfigDict, kind: str, unread: Sequence[str] = (), quiet: bool = False) -> Iterator[Run]:
    """Open or continue the run in `config.workdir`.

    Until it ends this process is the only writer there. Meanwhile SIGTERM and Ctrl-C stop the run (`mxjax.stopping`).
    `unread` names the top-level keys that this kind of run does not read. Raises UserError for settings that no run can
    work with, where another process writes there, and for a workdir of another kind or with other settings.
    """
    check_config(config)
    with stopping.on_signals(), only_writer(config.workdir) as lock:
        yield Run(config, kind, check_workdir(config, kind, unread, lock), quiet)


class Run:
    """An opened run.

    Attributes:
      config: its settings.
      kind: what the run does, "train" or "sft"; not the phase of its rows, nor the stage of its steps.
      workdir: its files.
      mesh: the devices that it runs on.
      limits: those of every execution of a design.
      quiet: no progress bar is shown.
    """

    # From `steps`, while it is open.
    _checkpointer: Checkpointer
    _bar: Progress
    _task: TaskID

    def __init__(self, config: ConfigDict, kind: str, workdir: Workdir, quiet: bool = False):
        self.config = config
        self.kind = kind
        self.workdir = workdir
        self.mesh = make_mesh(dict(config.mesh))
        self.limits = mas.Limits(**config.rollout.limits)
        self.grading: Mapping[str, Any] = {}  # how executions are graded, as results files say it
        self.quiet = quiet
        self._state: TrainState | None = None  # that the last step led to
        self._stage = ""

    # What a run begins with

    @property
    def continues(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return checkpoint.latest_step(self.workdir.checkpoints) is not None

    @functools.cached_property
    def pools(self) -> Pools:
        """Training and held-out questions."""
        check_choice(self.config)
        return question_pools(self.config)

    @functools.cached_property
    def benchmarks(self) -> dict[str, Sequence[Question]]:
        """Questions of each of `eval.benchmarks`."""
        return load_benchmarks(self.config, self.pools)

    @property
    def begun_grading(self) -> Mapping[str, Any] | None:
        """The original grading of a run that continues.

        None for one that begins, or that has no record of it.
        """
        return read_record(self.workdir.path)["grading"] if self.continues else None

    def check_questions(self) -> None:
        """Draw all questions.

        Raises UserError if a new run would hold out questions that `init` was trained on.
        """
        pools = self.pools
        if self.kind == "train":
            self.benchmarks  # noqa: B018  loaded here, before any model is
        if not self.continues:
            check_unseen(pools, self.config.init)

    def policies(self) -> Policies:
        """The policies that training begins from.

        `init`, once for each role if `rl.split_policy` is set.
        """
        split = self.config.rl.split_policy and self.kind == "train"
        if self.continues:
            return self.saved_policies(ROLES if split else ("shared",))
        loaded = {name: self.load(name if split else None) for name in (ROLES if split else ("shared",))}
        first = next(iter(loaded.values()))
        return Policies({name: policy.params for name, policy in loaded.items()}, first.config, first.tokenizer)

    def saved_policies(self, names: Sequence[str]) -> Policies:
        """The policies of a run that continues, their parameters abstract."""
        path = self.workdir.path
        read_record(path)
        cfg, tokenizer = workdir_config(path), models.Tokenizer.from_directory(path / "tokenizer")
        return Policies({name: abstract_params(cfg, self.mesh) for name in names}, cfg, tokenizer)

    def load(self, role: str | None = None) -> models.Policy:
        """Load the policy that `init` names, in the run's dtypes.

        Raises UserError if it cannot be loaded.
        """
        config = self.config
        policy = models.load(config.init, mesh=self.mesh, dtype=config.model.param_dtype, role=role, seed=config.seed)
        policy.tokenizer.check_turns()
        return dataclasses.replace(policy, config=policy.config.replace(**config.model))

    # Training

    @contextlib.contextmanager
    def training(
        self, policies: Policies, learner: Learner
    ) -> Iterator[tuple[TrainState, dict[str, Role[Engine]], Grading]]:
        """Everything that RL steps need: state, roles with its parameters, and grading."""
        check_engine(self.config, policies.config, self.mesh)
        questions = itertools.chain(self.pools.train, *self.benchmarks.values())
        rl = self.config.rl
        with open_grading(self.config, questions, self.begun_grading) as grading:
            self.describe(policies, self.pools, self.pools.train, grading.record)
            with self.steps(policies, learner, rl.mode, rl.steps, "RL") as state:
                roles = make_roles(self.config, policies.of(state), self.mesh)
                warm_up(roles)
                yield state, roles, grading

    @contextlib.contextmanager
    def steps(self, policies: Policies, learner: Learner, mode: str, total: int, label: str) -> Iterator[TrainState]:
        """The training state to continue from: the newest sound checkpoint.

        A step that a signal cuts short leaves nothing: its batch is a function of (seed, step), so it comes again.
        """
        telemetry = self.config.telemetry
        with (
            contextlib.closing(self.workdir),
            checkpoints(self.config, self.workdir) as self._checkpointer,
            progress_bar(self.quiet) as self._bar,
            self._saved_when_stopped(),
        ):
            state = start_state(self._checkpointer, policies.params, learner.optimizer, mode)
            self.workdir.drop_metrics_from(state.step)
            self.workdir.mirror(telemetry.tensorboard, telemetry.wandb)
            self._task = self._bar.add_task(label, total=total, completed=state.step, note="")
            yield state

    def validate(self, step: int, roles: Mapping[str, Role], grading: Grading) -> None:
        """Evaluate the run's systems on its benchmarks if due before `step`.

        See `evaluation.validation`.
        """
        stopping.poll()
        rows = validate(
            self.config,
            step,
            self.benchmarks,
            roles,
            grading,
            limits=self.limits,
            workdir=self.workdir,
            bar=self._bar,
        )
        keep_validation(self._checkpointer, self.workdir, step, rows)

    def log(self, state: TrainState, stage: str, metrics: Mapping[str, Any], note: str) -> None:
        """Record the state after a step, and write the step's metrics.

        Raises RunStopped where too many steps in a row were skipped.
        """
        self._state, self._stage = state, stage
        stopping.owe(True)
        phase = "rl" if self.kind == "train" else self.kind
        self.workdir.log(state.step - 1, stage if phase == "rl" else "", phase, metrics)
        check_skips(self.workdir, metrics, phase, self.config[phase])
        self._bar.update(self._task, completed=state.step, note=note)

    def save_episodes(self, step: int, trees: Sequence[QuestionTree], roles: Mapping[str, Role]) -> None:
        """Write the trees of a step if `telemetry.episodes_every` says so."""
        every = self.config.telemetry.episodes_every
        if every and step % every == 0:
            self.workdir.save_episodes(step, trees, roles["executor"].engine.tokenizer.decode)

    def save(self, every: int, last: int) -> None:
        """Save the state last logged, if due.

        It is due every `every` steps, and after step `last`.
        """
        state = self._state
        if state is not None and (state.step % every == 0 or state.step == last):
            save_state(self._checkpointer, state, self.config, self._stage)

    @contextlib.contextmanager
    def _saved_when_stopped(self) -> Iterator[None]:
        """Let signals wait for the next `stopping.poll`.

        When that ends the run, a state not yet saved is saved first.
        """
        checkpointer = self._checkpointer
        try:
            with stopping.deferred():
                yield
        except stopping.Stopped as stop:
            checkpointer.wait()
            state = self._state
            if state is not None and state.step > (checkpointer.latest_step() or 0):
                save_state(checkpointer, state, self.config, self._stage)
                checkpointer.wait()
            step = checkpointer.latest_step()
            where = f"at step {step}" if step else "before the first checkpoint"
            _log.warning("stopped by %s %s", stop.signal.name, where)
            raise

    # What a run leaves

    def describe(
        self, policies: Policies, pools: Pools | None, trained: Sequence[Question], grading: Mapping[str, Any]
    ) -> None:
        """Write the workdir's files that describe the run.

        See `describe_workdir`.
        """
        self.grading = grading
        describe_workdir(
            self.workdir,
            self.config,
            self.kind,
            policies.config,
            policies.tokenizer,
            pools=pools,
            trained=trained,
            graded=grading,
        )

    def results(self) -> list[dict[str, Any]]:
        """Write results.json of a finished training run; return its evaluation rows."""
        rows, config = evaluation_rows(self.workdir), self.config
        seconds, best = phase_seconds(config, self.workdir), chosen_so_far(config, self.workdir)
        self.workdir.write_results(to_json(config), rows, seconds, config.seed, self.grading, chosen=best)
        return rows


def check_workdir(config: ConfigDict, kind: str, ignore: Sequence[str] = (), lock: Lock | None = None) -> Workdir:
    """The run's workdir, checked against its config.

    Raises UserError when it belongs to a run of another kind or with other settings.

    `ignore` names the top-level keys that this kind of run does not read.
    """
    workdir = Workdir(config.workdir, lock)
    check_can_write(workdir.path)
    check_mirrors(config.telemetry.tensorboard, config.telemetry.wandb)
    if (workdir.path / "config.json").exists():
        earlier = read_record(workdir.path)
        if earlier["kind"] != kind:
            raise UserError(f"{workdir.path} holds a run of mxjax {earlier['kind']}; choose another --workdir")
        # Keys that came after the run began have their defaults.
        before, now = (to_json(from_json(values)) for values in (earlier["config"], to_json(config)))
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


def describe_workdir(
    workdir: Workdir,
    config: ConfigDict,
    kind: str,
    model: models.ModelConfig,
    tokenizer: models.Tokenizer,
    pools: Pools | None = None,
    trained: Sequence[Question] = (),
    graded: Mapping[str, Any] | None = None,
) -> None:
    """Write config.json, tokenizer, prompt files and trained_on.json.

    These are all that serving a checkpoint needs. Beside the config they record the `pools` drawn, how executions are
    `graded`, and the questions `trained` on, with which benchmarks are compared. Once there is a checkpoint nothing is
    written: what it was made with stays. Before that, each start removes what the last one left. Raises UserError if
    the run had other questions, which the config alone cannot tell.
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
    workdir.write_json(TRAINED_ON, trained_on_record(() if pools is None else trained, config.init))
    workdir.write_json("config.json", record)


def write_workdir(policy: models.Policy, path: epath.PathLike, config: ConfigDict) -> None:
    """A workdir with `policy` as its only checkpoint.

    It is served with the prompts and limits of `config`.
    """
    config.workdir = str(path)
    with only_writer(path):
        workdir = Workdir(path)
        describe_workdir(workdir, config, "convert", policy.config, policy.tokenizer)
        meta = {"step": 0, "stage": "", "seed": config.seed, "config": to_json(config)}
        checkpoint.save(workdir.checkpoints, {"params": {"shared": dict(policy.params)}, "meta": meta}, 0)


def read_record(path: epath.PathLike) -> dict[str, Any]:
    """The config.json of an mxjax workdir.

    Raises UserError if it belongs to something else, or is broken.
    """
    file = absolute(path) / "config.json"
    try:
        record = read_json(file)
        required = {name: record[name] for name in ("kind", "model", "config")}
        return {**required, "questions": record.get("questions"), "grading": record.get("grading")}
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{file} is not that of an mxjax run; choose another directory") from None


def workdir_prompts(path: epath.PathLike, record: Mapping[str, Any]) -> dict[str, str]:
    """The prompt set of each role.

    It is the file that the workdir keeps, else the built-in set that its config names: a checkpoint is served with the
    prompts that it was trained on.
    """
    roles = record["config"]["roles"]
    files = {name: absolute(path) / "prompts" / f"{name}.toml" for name in roles}
    return {name: str(files[name]) if files[name].exists() else role["prompt"] for name, role in roles.items()}


@contextlib.contextmanager
def checkpoints(config: ConfigDict, workdir: Workdir) -> Iterator[Checkpointer]:
    """The run's checkpointer, keeping the newest steps and the chosen one.

    Closing waits for the last save.
    """

    def best() -> int | None:
        return (chosen_so_far(config, workdir) or {}).get("step")

    with Checkpointer(workdir.checkpoints, config.checkpoint.keep, best) as checkpointer:
        yield checkpointer


def start_state(checkpointer: Checkpointer, policies: Mapping[str, Any], optimizer, mode: str) -> TrainState:
    """The newest undamaged checkpoint, or a fresh state from `policies`.

    `policies` holds parameters by name, or, to restore into, `abstract_params`: then there must be a checkpoint. Raises
    UserError for parameters that are not finite.
    """
    state = init_state(policies, optimizer, mode)
    if checkpointer.latest_step() is not None:
        items = checkpointer.restore({**_items(state), "meta": {}})
        optimizers = {owner: items[f"opt_{owner}"] for owner in state.optimizers}
        state = dataclasses.replace(state, policies=items["params"], optimizers=optimizers, step=items["meta"]["step"])
    if fault := checkpoint.say_not_finite(checkpoint.not_finite(_items(state))):
        raise UserError(f"{fault} where the run begins; begin it from another init or checkpoint")
    return state


def save_state(checkpointer: Checkpointer, state: TrainState, config: ConfigDict, stage: str) -> None:
    """Save a training state as step `state.step`.

    It has parameters, each optimiser state, and what the step needs to go on. Raises RunStopped for a state that is not
    finite, which must not enter a checkpoint.
    """
    items = _items(state)
    if fault := checkpoint.say_not_finite(checkpoint.not_finite(items)):
        raise RunStopped(f"step {state.step} is not saved, since {fault}; the last checkpoint is as it was")
    meta = {"step": state.step, "stage": stage, "seed": config.seed, "config": to_json(config)}
    checkpointer.save({**items, "meta": meta}, state.step)
    stopping.owe(False)


def _items(state: TrainState) -> dict[str, Any]:
    return {"params": state.policies, **{f"opt_{owner}": opt for owner, opt in state.optimizers.items()}}


def keep_validation(checkpointer: Checkpointer, workdir: Workdir, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
    """Store the rows of a validation in the checkpoint of that step.

    Does nothing if there is none.
    """
    if not rows:
        return
    checkpointer.wait()
    if step in checkpointer.steps():
        eval_rows = plain([{**row, "step": step, "phase": "eval"} for row in rows])
        checkpoint.record_validation(workdir.checkpoints, step, eval_rows)


def chosen_so_far(config: ConfigDict, workdir: Workdir) -> dict[str, Any] | None:
    """`chosen` for the checkpoints and metrics on disk.

    Validations are read from the checkpoints, which store theirs. For a checkpoint without one, such as one older than
    this record, they are looked for in the metrics.
    """
    root = workdir.checkpoints
    saved = [step for step in checkpoint.steps(root) if not checkpoint.saved_not_finite(root, step)]
    validations = {step: checkpoint.validation(root, step) for step in saved}
    logged = workdir.metrics() if None in validations.values() else []
    rows = [row for row in logged if validations.get(row["step"], ()) is None]
    return chosen(config, rows + [row for of_step in validations.values() for row in of_step or ()], saved)


def chosen_step(path: str) -> int:
    """The chosen step of a workdir.

    Raises UserError where nothing has been validated.
    """
    if not models.is_workdir(path):
        raise UserError(f"--step=chosen is for the workdir of a run, and {path} is not one")
    row = chosen_so_far(from_json(read_record(path)["config"]), Workdir(path))
    if row is None:
        raise UserError(f"{path} has no validated checkpoint to choose from: name one with --step")
    return row["step"]
