"""Hierarchical rollout: M designs per question, each executed N times.

All are in flight at once over the engines. Every script suspends at its calls; completions resume it. Which requests
are made, their ids and their seeds depend on (seed, step, question, design, execution, call) alone, so a tree does not
depend on the order in which replies arrive. Slow tools and graders run in workers while the engines go on.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future
from typing import Any, Generic, TypeVar

import numpy as np

from mxjax import mas, stopping
from mxjax.errors import UserError
from mxjax.mas.toolbox import Toolbox
from mxjax.rollout.faults import GradingFaults
from mxjax.rollout.overrides import DesignSampling, overridden
from mxjax.rollout.protocols import Call, ChatEngine, Handle, RewardFunction, Script, WorkerReward
from mxjax.rollout.records import Design, Execution, Question, QuestionTree, Reward, Segment
from mxjax.sampling import Completion, Request, SamplingParams
from mxjax.sandbox.outcome import InfrastructureError

DESIGNER, EXECUTOR = "designer", "executor"
E = TypeVar("E", bound=ChatEngine, covariant=True)
Roles = Mapping[str, "Role[ChatEngine]"]


@dataclasses.dataclass(frozen=True)
class Role(Generic[E]):
    """The engine, sampling settings and prompts of a role.

    `prompt` is "short", "documented" or the path of a TOML file; `design_sampling` bounds what a design may choose for
    its agents.
    """

    engine: E
    sampling: SamplingParams = dataclasses.field(default_factory=SamplingParams)
    prompt: str = "short"
    design_sampling: DesignSampling = dataclasses.field(default_factory=DesignSampling)


def engines_of(roles: Mapping[str, Role[E]]) -> list[E]:
    """The engines of some roles, each once."""
    return list({id(role.engine): role.engine for role in roles.values()}.values())


def derive_seed(*parts: object) -> int:
    """A 64-bit seed from any printable parts.

    It is the same on every machine and in every process.
    """
    digest = hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


@dataclasses.dataclass
class _LiveExecution:
    """One execution under way, with its script.

    It keeps the ids of each call, so that a continuation extends them exactly.
    """

    question: Question
    design: int
    index: int
    script: Script
    toolbox: Toolbox
    segments: list[Segment] = dataclasses.field(default_factory=list)
    calls: dict[str, tuple[mas.AgentCall, np.ndarray]] = dataclasses.field(default_factory=dict)
    lost: str = ""  # why the machine failed this execution
    at_work: int = 0  # tool calls that workers have not answered yet

    def close_tools(self) -> None:
        """Close tool sessions if the script has ended and none is busy."""
        if self.script.result is not None and not self.at_work:
            self.toolbox.close()


@dataclasses.dataclass(frozen=True)
class _Job:
    """A worker's tool call or grading, and the receiver of its result.

    `turn` is the turn of the engines before which it was given out, None for one that no script waits for.
    """

    future: Future
    resume: Callable[[Any], None]
    turn: int | None


class _Rollout:
    """State of one `collect`: what each request in flight will resume."""

    def __init__(
        self,
        questions: Sequence[Question],
        roles: Roles,
        reward: RewardFunction,
        *,
        tools: Mapping[str, mas.Tool],
        limits: mas.Limits | None,
        shape: tuple[int, int],
        seed: int,
        step: int,
        format_weight: float,
        in_order: bool,
        finished: Callable[[QuestionTree], None],
    ):
        self.questions, self.roles, self.reward = questions, roles, reward
        self.workers = reward if isinstance(reward, WorkerReward) else None
        self.faults = (self.workers.faults if self.workers else None) or GradingFaults()
        self.tools, self.limits, self.format_weight = tools, limits, format_weight
        self.shape, self.seed, self.step = shape, seed, step
        self.prompts = {name: mas.load_prompts(role.prompt) for name, role in roles.items()}
        self.in_flight: dict[tuple[int, int], tuple[Handle, Callable[[Completion], None]]] = {}
        self.jobs: list[_Job] = []
        self.turn, self.in_order = 0, in_order
        self.designs: dict[tuple[int, int], tuple[Segment | None, str, str, str]] = {}
        self.executions: dict[tuple[int, int, int], Execution] = {}
        self.finished = finished
        self.unfinished = dict.fromkeys(range(len(questions)), shape[0] * shape[1])

    def begin(self, scripts: Sequence[str] | Mapping[str, Sequence[str]] | None) -> None:
        """Ask the designer for every design, or start the given scripts."""
        for q, question in enumerate(self.questions):
            for i in range(self.shape[0]):
                if scripts is None:
                    self._ask_designer(q, i)
                else:
                    sources = scripts[question.id] if isinstance(scripts, Mapping) else scripts
                    self._run_design(q, i, None, sources[i])

    def _send(
        self, role: str, prompt_ids: np.ndarray, sampling: SamplingParams, resume: Callable[[Completion], None]
    ) -> None:
        engine = self.roles[role].engine
        handle = engine.submit(Request(prompt_ids, sampling))
        self.in_flight[id(engine), handle.id] = handle, resume

    def _sampling(self, role: str, q: int, *path: object) -> SamplingParams:
        parts = (self.seed, self.step, self.questions[q].id, role, *path)
        return self.roles[role].sampling.replace(seed=derive_seed(*parts))

    def _ask_designer(self, q: int, i: int) -> None:
        question, role = self.questions[q], self.roles[DESIGNER]
        messages = mas.designer_messages(question.text, question.task_type, self.prompts[DESIGNER])
        ids = np.array(role.engine.tokenizer.chat_ids(messages), np.int32)
        sampling = self._sampling(DESIGNER, q, i)
        if ids.size >= role.engine.max_len:
            reason = f"designer prompt of {ids.size} tokens is over the engine's {role.engine.max_len}"
            self._reject_design(q, i, None, "", error=reason, kind="prompt_too_long")
            return

        def designed(completion: Completion) -> None:
            segment = _segment(completion, DESIGNER, "design", prompt_ids=ids, sampling=sampling)
            if completion.error:
                self._reject_design(q, i, segment, "", error=completion.error, kind="engine")
                return
            try:
                source = mas.parse_design(completion.text)
            except mas.DesignError as error:
                self._reject_design(q, i, segment, completion.text, error=str(error), kind=error.kind)
            else:
                self._run_design(q, i, segment, source)

        self._send(DESIGNER, ids, sampling, designed)

    def _reject_design(self, q: int, i: int, segment: Segment | None, source: str, *, error: str, kind: str) -> None:
        self.designs[q, i] = (segment, source, error, kind)
        failed = Execution(
            0, (), result=None, correct=0.0, format=0.0, reward=0.0, status="invalid_design", reason=error
        )
        for j in range(self.shape[1]):
            self._record(q, i, dataclasses.replace(failed, index=j))

    def _run_design(self, q: int, i: int, segment: Segment | None, source: str) -> None:
        try:
            checked = mas.check(source, self.limits)
        except mas.DesignError as error:
            self._reject_design(q, i, segment, source, error=str(error), kind=error.kind)
            return
        self.designs[q, i] = (segment, source, "", "")
        question = self.questions[q]
        for j in range(self.shape[1]):
            script = mas.start(
                checked,
                question.text,
                question.task_type,
                tools=self.tools,
                limits=self.limits,
                prompts=self.prompts[EXECUTOR],
                seed=derive_seed(self.seed, self.step, question.id, "script", i, j),
                examples=question.examples,
            )
            live = _LiveExecution(question, i, j, script, Toolbox(self.tools))
            self._give_out(q, live, script.pending)

    def _give_out(self, q: int, live: _LiveExecution, calls: Sequence[Call]) -> None:
        """Send the calls that a script waits for.

        Those answered in place resume it at once.
        """
        while live.script.result is None and calls:
            at_once = {}
            for call in calls:
                if isinstance(call, mas.ToolCall):
                    if (reply := self._use_tool(q, live, call)) is not None:
                        at_once[call.id] = reply
                elif refusal := self._ask_executor(q, live, call):
                    at_once[call.id] = mas.Reply("", error=refusal)
            calls = live.script.advance(at_once) if at_once else ()
        if live.script.result is not None:
            self._finish(q, live)

    def _resume(self, q: int, live: _LiveExecution, call_id: str, reply: mas.Reply) -> None:
        if live.script.result is None:  # else the script ended without waiting for this reply
            self._give_out(q, live, live.script.advance({call_id: reply}))

    def _use_tool(self, q: int, live: _LiveExecution, call: mas.ToolCall) -> mas.Reply | None:
        """The reply to a tool call.

        None if it will come from a worker.
        """
        submit = live.toolbox.submitter(call)
        if submit is None:
            return _tool_reply(live, call)

        def resume(reply: mas.Reply) -> None:
            live.at_work -= 1
            self._resume(q, live, call.id, reply)
            live.close_tools()

        live.at_work += 1
        self.jobs.append(_Job(submit(_tool_reply, live, call), resume, self.turn))
        return None

    def _ask_executor(self, q: int, live: _LiveExecution, call: mas.AgentCall) -> str:
        """Submit one agent call.

        Returns the reason if it cannot be submitted: the prompt does not fit, or its settings make no sense.
        """
        engine = self.roles[EXECUTOR].engine
        tokenizer = engine.tokenizer
        if call.parent in live.calls and not tokenizer.rewrites_history:
            earlier, earlier_ids = live.calls[call.parent]
            new = call.messages[len(earlier.messages) + 1 :]
            ids = np.array(tokenizer.extend_ids(earlier_ids.tolist(), new), np.int32)
        else:
            ids = np.array(tokenizer.chat_ids(call.messages), np.int32)
        if ids.size >= engine.max_len:
            return "prompt_too_long"
        sampling = self._sampling(EXECUTOR, q, live.design, live.index, call.id)
        try:
            sampling, clamped = overridden(sampling, call.sampling, self.roles[EXECUTOR].design_sampling)
        except (TypeError, ValueError, OverflowError):  # the script's own numbers, which may be anything
            return "impossible_sampling"

        def replied(completion: Completion) -> None:
            live.segments.append(
                _segment(
                    completion,
                    EXECUTOR,
                    call.id,
                    call.parent,
                    prompt_ids=ids,
                    sampling=sampling,
                    clamped=clamped,
                )
            )
            live.calls[call.id] = (call, np.concatenate([ids, completion.token_ids]))
            reply = mas.Reply(
                completion.text, len(completion.token_ids), completion.finish_reason, error=completion.error
            )
            self._resume(q, live, call.id, reply)

        self._send(EXECUTOR, ids, sampling, replied)
        return ""

    def _finish(self, q: int, live: _LiveExecution) -> None:
        stopping.poll()  # grading a turn's answers one after the other can take long
        result = live.script.result
        assert result is not None
        order = {call.id: place for place, (call, _) in enumerate(live.script.answered)}
        segments = tuple(sorted(live.segments, key=lambda segment: order[segment.call_id]))
        live.close_tools()

        def graded(verdict: Reward) -> None:
            execution = Execution(
                index=live.index,
                segments=segments,
                result=result,
                correct=float(verdict.correct),
                format=float(verdict.format),
                reward=verdict.total(self.format_weight),
                status=result.status if verdict.valid else "infrastructure",
                reason=live.lost or result.reason or verdict.how,
            )
            self._record(q, live.design, execution)

        submit = self.workers.submitter(live.question) if self.workers and result.status == "ok" else None
        if live.lost:
            graded(Reward(0.0, 0.0, False, how=live.lost))
        elif submit is None:
            graded(self.faults.grade(self.reward, live.question, result, segments))
        else:
            job = submit(self.faults.grade, self.reward, live.question, result, segments)
            self.jobs.append(_Job(job, graded, None))

    def _record(self, q: int, i: int, execution: Execution) -> None:
        """Keep an execution; the last one of a question finishes its tree."""
        self.executions[q, i, execution.index] = execution
        self.unfinished[q] -= 1
        if not self.unfinished[q]:
            self.finished(self.tree(q))

    def drive(self, progress: Callable[[int], None]) -> None:
        """Step the engines and take workers' results until nothing is under way."""
        engines = engines_of(self.roles)
        while self.in_flight or self.jobs:
            self.turn += 1
            for engine in engines if self.in_flight else ():
                engine.step()
            for key in [key for key, (handle, _) in self.in_flight.items() if handle.done]:
                handle, resume = self.in_flight.pop(key)
                resume(handle.result())
            self._take_jobs()
            progress(len(self.executions))
            stopping.poll()

    def _take_jobs(self) -> None:
        """Hand over the results of workers in the order of their jobs.

        Waits for one if nothing else is under way. When `in_order`, replies of tools are handed over after the first
        turn of the engines that begins once they were asked for, neither earlier nor later.
        """
        futures = [job.future for job in self.jobs]
        while not self.in_flight and futures and not any(future.done() for future in futures):
            stopping.poll()
            concurrent.futures.wait(futures, timeout=1.0, return_when=FIRST_COMPLETED)
        due: list[_Job] = []
        later: list[_Job] = []
        for job in self.jobs:
            (due if self._is_due(job) else later).append(job)
        self.jobs = later
        for job in due:
            job.resume(job.future.result())

    def _is_due(self, job: _Job) -> bool:
        if self.in_order and job.turn is not None:
            return job.turn < self.turn or not self.in_flight
        return job.future.done()

    def trees(self) -> list[QuestionTree]:
        """The finished trees, in the order of the questions."""
        return [self.tree(q) for q in range(len(self.questions))]

    def tree(self, q: int) -> QuestionTree:
        """The tree of a question whose executions are all done."""
        M, N = self.shape
        designs = []
        for i in range(M):
            segment, source, error, kind = self.designs[q, i]
            executions = tuple(self.executions[q, i, j] for j in range(N))
            designs.append(Design(i, segment, source, error, executions, error_kind=kind))
        return QuestionTree(self.questions[q], tuple(designs), self.step)


def _tool_reply(live: _LiveExecution, call: mas.ToolCall) -> mas.Reply:
    """The reply to a tool call.

    A tool that loses its machine makes the whole execution void.
    """
    try:
        return live.toolbox.use(call)
    except InfrastructureError as error:
        live.lost = f"infrastructure: {error}"
        return mas.Reply("", error="the tool is not available")


def _segment(
    completion: Completion,
    role: str,
    call_id: str,
    parent: str | None = None,
    *,
    prompt_ids: np.ndarray,
    sampling: SamplingParams,
    clamped: bool = False,
) -> Segment:
    return Segment(
        role,
        call_id,
        parent,
        prompt_token_ids=prompt_ids,
        token_ids=completion.token_ids,
        logprobs=completion.logprobs,
        model_logprobs=completion.model_logprobs,
        sampling=sampling,
        finish_reason=completion.finish_reason,
        clamped=clamped,
    )


def collect(
    questions: Sequence[Question],
    roles: Roles,
    reward: RewardFunction,
    tools: Mapping[str, mas.Tool] | None = None,
    limits: mas.Limits | None = None,
    designs: int = 4,
    executions: int = 4,
    seed: int = 0,
    step: int = 0,
    scripts: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
    format_weight: float = 0.4,
    progress: Callable[[int], None] = lambda executions_done: None,
    deterministic: bool = False,
    finished: Callable[[QuestionTree], None] = lambda tree: None,
) -> list[QuestionTree]:
    """Roll out `designs` × `executions` trees for all questions at once.

    Args:
      questions: what to answer; ids must be distinct, since seeds derive from them.
      roles: "designer" and "executor"; a shared policy is the same engine in both.
      reward: called with (question, result, executor segments) of each execution that ran; R = correct +
        `format_weight` * format. A design that cannot run gets 0 and its error as the reason. A `WorkerReward` grades
        outside of this thread. An exception loses the execution (`rollout.faults`).
      tools: host tools that scripts may register, by name; one with `submit` answers while the engines go on.
      limits: `mas.Limits` of each execution.
      seed, step: every request's and script's seed derives from them.
      scripts: fixed designs to execute instead of sampled ones (baselines), for all questions or `designs` of them by
        question id; then no designer role is needed.
      progress: called with the number of executions done.
      deterministic: the engines get the same requests in the same order at each turn, however long tools take: replies
        of tools are waited for after one turn. The trees are the same without it, since no request's output depends
        on what else an engine does. With an engine that shares the pages of responses (`prefix_cache="all"`) outputs
        do depend on it, within rounding: there the order is always this one, so that a run repeats, and
        `deterministic` is refused.
      finished: called with each tree once all of its executions are done.

    Asked to stop (`mxjax.stopping`), it raises `Stopped` and leaves nothing behind.

    Raises ValueError for missing roles, repeated question ids, counts below 1, `deterministic` with an engine whose
    outputs depend on what it did before, and where grading fails too often.
    """
    needed = {EXECUTOR} if scripts is not None else {DESIGNER, EXECUTOR}
    if missing := needed - set(roles):
        raise UserError(f"collect needs a role for {', '.join(sorted(missing))}; got {sorted(roles)}")
    if len({question.id for question in questions}) != len(questions):
        raise UserError("question ids must be distinct: seeds derive from them")
    designs = len(scripts) if isinstance(scripts, Sequence) else designs
    if designs < 1 or executions < 1:
        raise UserError(f"designs and executions must be at least 1, got {designs} and {executions}")
    shares_responses = any(role.engine.prefix_cache == "all" for role in roles.values())
    if deterministic and shares_responses:
        raise UserError(
            "deterministic=True needs engines that reuse no pages of responses; make them with prefix_cache='prompts'"
        )
    shape, in_order = (designs, executions), deterministic or shares_responses
    rollout = _Rollout(
        questions,
        roles,
        reward,
        tools=tools or {},
        limits=limits,
        shape=shape,
        seed=seed,
        step=step,
        format_weight=format_weight,
        in_order=in_order,
        finished=finished,
    )
    try:
        rollout.begin(scripts)
        rollout.drive(progress)
    finally:
        for handle, _ in rollout.in_flight.values():
            handle.cancel()
    return rollout.trees()
