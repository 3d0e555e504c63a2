"""What a finished question leaves behind.

Small enough to keep by the thousand, enough to make a table's row of. A row is made of these records alone, so an
evaluation that was killed and continued has the row of one that was not.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mxjax import mas
from mxjax.evaluation import statistics
from mxjax.mas.library.texts import normalise, vote_key
from mxjax.rewards import extract_answer
from mxjax.rewards.code import IN_PROCESS
from mxjax.rollout import Design, Execution, QuestionTree

_WITHOUT_VOTE = ("no_answer", "not_from_agent")  # verdicts on messages that need no answer to be found in them
LONG_VOTE = 64  # characters; a longer vote is kept as its digest
REASONS = 12  # most that a row lists
_UNANSWERED = ("no_answer", "too_long", "undecided", "not_from_agent")
_NOT_PASSED = ("no_program", "runtime_error", "time", "memory", "output", "compile", IN_PROCESS)
_OUTCOMES = frozenset((*_UNANSWERED, *_NOT_PASSED))


@dataclasses.dataclass(frozen=True)
class Answered:
    """One question, answered.

    `correct` and `votes` have an entry for each sample; the rest are sums over all of them. A vote is what a majority
    counts: the normalised answer, or the program without comments, as in a vote of agents; the whole message where a
    verifier takes what has no answer in it; None if there is none. `designs` are the patterns of the designs, "invalid"
    for one that cannot run; `failures` counts executions by status, `reasons` what went wrong in those that are not
    right; `in_process` those whose program passed a test beside which it ran, `grading_faults` those whose grading
    raised an exception; `seconds` passed since the question before was finished.
    """

    correct: tuple[float, ...]
    votes: tuple[str | None, ...]
    designs: tuple[str, ...]
    calls: int
    prompt_tokens: int
    response_tokens: int
    failures: Mapping[str, int]
    reasons: Mapping[str, int]
    seconds: float = 0.0
    in_process: int = 0
    grading_faults: int = 0

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Answered:
        """What `dataclasses.asdict` made of one, by way of JSON."""
        fields: dict[str, Any] = {n: tuple(value) if isinstance(value, list) else value for n, value in record.items()}
        return cls(**fields)


def answered(tree: QuestionTree, size: int = 1, seconds: float = 0.0) -> Answered:
    """The record of a tree.

    Every `size` executions, in order, are one sample, decided by their majority.
    """
    task_type = tree.question.task_type
    executions = [execution for design in tree.designs for execution in design.executions]
    votes = [_vote(execution, task_type) for execution in executions]
    samples = []
    for start in range(0, len(executions), size):
        winner = statistics.majority(votes[start : start + size])
        samples.append(start + (winner or 0))
    segments = [s for e in executions for s in e.segments] + [d.segment for d in tree.designs if d.segment is not None]
    reasons = [_reason(d, e) for d in tree.designs for e in d.executions if e.correct < 1]
    return Answered(
        correct=tuple(executions[i].correct for i in samples),
        votes=tuple(votes[i] for i in samples),
        designs=tuple(map(pattern_of, tree.designs)),
        calls=len(segments),
        prompt_tokens=sum(len(s.prompt_token_ids) for s in segments),
        response_tokens=sum(len(s.token_ids) for s in segments),
        failures=dict(collections.Counter(e.status for e in executions if e.status != "ok")),
        reasons=dict(collections.Counter(reasons)),
        seconds=seconds,
        in_process=sum(e.reason == IN_PROCESS and e.correct > 0 for e in executions),
        grading_faults=sum(e.grading_fault for e in executions),
    )


def _vote(execution: Execution, task_type: str) -> str | None:
    """What a majority over executions counts. Failed ones have no vote."""
    if execution.status != "ok" or execution.result is None:
        return None
    if task_type == "code":
        vote = vote_key(execution.result.content, task_type)
    else:
        answer = extract_answer(execution.result.content)
        vote = None if answer is None else normalise(answer)
        if vote is None and execution.reason not in _WITHOUT_VOTE:
            vote = " ".join(execution.result.content.split()) or None
    if vote is None or len(vote) <= LONG_VOTE:
        return vote
    return hashlib.blake2b(vote.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _reason(design: Design, execution: Execution) -> str:
    """In a word or two, why an execution is not right."""
    if design.error:
        return f"design: {design.error_kind or 'other'}"
    if execution.status == "error":
        named = re.search(r"line \d+: (\w+)", execution.reason)
        return f"script: {named[1] if named else execution.reason[:60]}"
    if execution.status != "ok":
        return f"{execution.status}: {execution.reason[:60]}".replace(
            "infrastructure: infrastructure", "infrastructure"
        )
    return execution.reason.replace("_", " ") if execution.reason in _OUTCOMES else "wrong answer"


def pattern_of(design: Design) -> str:
    """The pattern of a design (`mas.pattern`), "invalid" if it cannot run."""
    return "invalid" if design.error else mas.pattern(mas.check(design.source))


def shares(patterns: Sequence[str]) -> dict[str, float]:
    """The share of each pattern, the most frequent first."""
    return {name: count / len(patterns) for name, count in collections.Counter(patterns).most_common()}


def pattern_shares(designs: Sequence[Design]) -> dict[str, float]:
    """Share of each pattern (`mas.pattern`) among the designs.

    Those that cannot run count as "invalid".
    """
    return shares(list(map(pattern_of, designs)))


def make_row(records: Sequence[Answered], system: str, benchmark: str, seed: int) -> dict[str, Any]:
    """A row of the table of results.

    Accuracy and its interval, pass@k and majority@k, validity, and what an answer cost. `accuracy` is pass@1, the mean
    over questions and samples; costs are means per question and sample; `correct` has the share of right samples of
    each question, for paired comparisons.
    """
    correct_QS = np.array([record.correct for record in records], np.float64)
    n, samples = correct_QS.shape
    means_Q = correct_QS.mean(axis=1)
    mean = lambda name: round(sum(getattr(record, name) for record in records) / (n * samples), 2)
    patterns = [pattern for record in records for pattern in record.designs]
    failures: collections.Counter[str] = collections.Counter()
    reasons: collections.Counter[str] = collections.Counter()
    for record in records:
        failures.update(record.failures)
        reasons.update(record.reasons)
    seconds = sum(record.seconds for record in records)
    return {
        "system": system,
        "benchmark": benchmark,
        "n": n,
        "samples": samples,
        "accuracy": float(correct_QS.mean()),
        "ci95": list(statistics.interval(means_Q, seed)),
        **_at_k(records, samples, seed),
        "valid_design_rate": 1.0 - shares(patterns).get("invalid", 0.0),
        "patterns": shares(patterns),
        "calls": mean("calls"),
        "prompt_tokens": mean("prompt_tokens"),
        "response_tokens": mean("response_tokens"),
        "failures": dict(failures),
        "reasons": dict(reasons.most_common(REASONS)),
        "in_process": sum(record.in_process for record in records),
        "grading_faults": sum(record.grading_faults for record in records),
        "seconds": round(seconds, 2),
        "seconds_per_question": round(seconds / n, 3),
        "correct": means_Q.tolist(),
    }


def _at_k(records: Sequence[Answered], samples: int, seed: int) -> dict[str, Any]:
    """pass@k and majority@k with their intervals, by k as text.

    Nothing for one sample.
    """
    estimates: dict[str, Any] = {}
    for k in statistics.counts_k(samples):
        passed = [statistics.pass_at_k(samples, sum(c == 1 for c in r.correct), k) for r in records]
        voted = [statistics.majority_at_k(r.votes, r.correct, k, seed) for r in records]
        for name, values in (("pass_at", passed), ("majority_at", voted)):
            at = {"value": float(np.mean(values)), "ci95": list(statistics.interval(np.array(values), seed))}
            estimates.setdefault(name, {})[str(k)] = at
    return estimates
