"""Evaluation: one harness and one grader for every system, with budgets and intervals in each row.

A system is a way to answer a question with the executor policy: a fixed script ("single", "vote", ...), the single
agent sampled k times with a majority over its answers ("self_consistency@k"), or designs by the designer ("designed").
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mxjax import mas
from mxjax.config import user_errors
from mxjax.rewards import extract_answer
from mxjax.rollout import Execution, Question, QuestionTree, Role, collect

Z95 = 1.959963984540054
BOOTSTRAPS = 2000

_SCRIPT = """from workflow import Workflow, AgentNode, EnsembleNode, ReflectionNode, DebateNode
workflow = Workflow()
workflow.add_node({node})
workflow.run(question)
"""
_AGENT = 'AgentNode("{name}", {text!r})'
SOLVER_TEXT = "You are a careful solver. Work step by step."


def fixed_script(system: str, text: str = SOLVER_TEXT) -> str:
    """The script of a fixed system: "single", "vote", "reflection" or "debate", its agents told `text`."""
    agents = [_AGENT.format(name=f"solver{n}", text=text) for n in range(3)]
    nodes = {
        "single": agents[0],
        "vote": f'EnsembleNode("vote", [{", ".join(agents)}], "majority_vote")',
        "reflection": f'ReflectionNode("reflection", {agents[0]}, num_iterations=1)',
        "debate": f'DebateNode("debate", [{", ".join(agents[:2])}], num_rounds=2)',
    }
    return _SCRIPT.format(node=nodes[system])


FIXED = ("single", "vote", "reflection", "debate")
SYSTEMS = (*FIXED, "self_consistency", "designed")
MATCHED = "self_consistency@matched"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A system on a set of questions: its table row, and what each number was computed from.

    `correct_QS` float64[Q, samples] aligns with the questions, for paired comparisons.
    """

    row: dict[str, Any]
    correct_QS: np.ndarray
    trees: list[QuestionTree]


def evaluate(
    questions: Sequence[Question],
    system: str,
    roles: Mapping[str, Role],
    reward: Callable,
    benchmark: str = "",
    samples: int = 1,
    seed: int = 0,
    limits: Any = None,
    agent_text: str = SOLVER_TEXT,
    progress: Callable[[int], None] = lambda done: None,
    tools: Mapping[str, Any] | None = None,
) -> Outcome:
    """Answers every question `samples` times with `system` and grades the returned messages.

    Raises ValueError for an unknown system or no questions.
    """
    name, votes = parse_system(system)
    if not votes:
        raise ValueError(f"{system} is settled by match_budget before it is evaluated")
    if not questions:
        raise ValueError(f"no questions to evaluate on in {benchmark or 'the set'}; check its file or raise the limit")
    start = time.monotonic()
    common = dict(seed=seed, limits=limits, progress=progress, tools=tools)
    if name == "designed":
        trees = collect(questions, roles, reward, designs=samples, executions=1, **common)
        answers = [[design.executions for design in tree.designs] for tree in trees]
    else:
        script = fixed_script("single" if name == "self_consistency" else name, agent_text)
        each = votes if name == "self_consistency" else 1
        trees = collect(questions, roles, reward, scripts=[script], executions=samples * each, **common)
        answers = [_chunks(tree.designs[0].executions, each) for tree in trees]
    correct_QS = np.array([[_majority(group).correct for group in groups] for groups in answers], np.float64)
    row = {"system": system, "benchmark": benchmark, "n": len(questions), "samples": samples}
    row |= _accuracy(correct_QS, seed) | _budget(trees, samples) | {"seconds": round(time.monotonic() - start, 2)}
    row["correct"] = correct_QS.mean(axis=1).tolist()
    return Outcome(row, correct_QS, trees)


def parse_system(system: str) -> tuple[str, int]:
    """(name, votes) of "single", "vote", ..., "self_consistency@K"; 0 votes: still to be matched.

    Raises ValueError for any other text.
    """
    if system == MATCHED:
        return "self_consistency", 0
    match = re.fullmatch(r"([a-z_]+)(?:@([1-9]\d*))?", system)
    if not match or match[1] not in SYSTEMS or (match[2] and match[1] != "self_consistency"):
        raise ValueError(
            f"unknown system {system!r}; known: {', '.join(SYSTEMS)} (self_consistency@K for K votes, {MATCHED} for "
            "the tokens of designed)"
        )
    return match[1], int(match[2] or 5) if match[1] == "self_consistency" else 1


def match_budget(system: str, rows: Sequence[Mapping[str, Any]], benchmark: str) -> str:
    """`system`, or for "self_consistency@matched" the number of votes whose tokens are nearest to those of "designed".

    `rows` are those of the same policy so far. Raises ValueError when single or designed is not among them.
    """
    if system != MATCHED:
        return system
    tokens = {
        row["system"]: row["prompt_tokens"] + row["response_tokens"] for row in rows if row["benchmark"] == benchmark
    }
    if not {"single", "designed"} <= set(tokens):
        raise ValueError(f"{MATCHED} compares the tokens of single and designed; name both before it")
    return f"self_consistency@{max(1, round(tokens['designed'] / max(tokens['single'], 1)))}"


def left_to_do(
    benchmarks: Iterable[str], systems: Iterable[str], rows: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[str, str]]:
    """(benchmark, system) of each that has no row yet, votes matched; `rows` grow while this is read.

    Raises UserError where there is nothing to match votes to.
    """
    for benchmark, system in itertools.product(benchmarks, systems):
        with user_errors():
            system = match_budget(system, rows, benchmark)
        if not any((row["system"], row["benchmark"]) == (system, benchmark) for row in rows):
            yield benchmark, system


def _chunks(items: Sequence, size: int) -> list[Sequence]:
    return [items[i : i + size] for i in range(0, len(items), size)]


def _majority(executions: Sequence[Execution]) -> Execution:
    """The execution whose answer most others share; the first seen wins ties. Failed ones have no vote."""
    voted = [(extract_answer(e.result.content), e) for e in executions if e.status == "ok"]
    voted = [(answer.strip(), e) for answer, e in voted if answer is not None]
    if not voted:
        return executions[0]
    winner = collections.Counter(answer for answer, _ in voted).most_common(1)[0][0]
    return next(e for answer, e in voted if answer == winner)


def _accuracy(correct_QS: np.ndarray, seed: int) -> dict[str, Any]:
    means_Q = correct_QS.mean(axis=1)
    if np.isin(means_Q, (0, 1)).all():  # also without any spread, where resampling would claim certainty
        interval = wilson(means_Q.sum(), len(means_Q))
    else:
        interval = bootstrap_mean(means_Q, seed)
    return {"accuracy": float(correct_QS.mean()), "ci95": [float(interval[0]), float(interval[1])]}


def wilson(successes: float, n: int) -> tuple[float, float]:
    """95 % Wilson score interval of a proportion."""
    p, z2 = successes / n, Z95**2
    centre, half = p + z2 / (2 * n), Z95 * np.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return max(0.0, (centre - half) / (1 + z2 / n)), min(1.0, (centre + half) / (1 + z2 / n))


def bootstrap_mean(values_Q: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean over questions; of differences, for a paired comparison."""
    picks = np.random.default_rng(seed % 2**64).integers(0, len(values_Q), (BOOTSTRAPS, len(values_Q)))
    low, high = np.percentile(np.asarray(values_Q)[picks].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def _budget(trees: Sequence[QuestionTree], samples: int) -> dict[str, Any]:
    """What an answer cost, and how designs failed: means per question and sample."""
    answers = len(trees) * samples
    designs = [design for tree in trees for design in tree.designs]
    executions = [execution for design in designs for execution in design.executions]
    segments = [s for e in executions for s in e.segments] + [d.segment for d in designs if d.segment is not None]
    failures = collections.Counter(e.status for e in executions if e.status != "ok")
    mean = lambda total: round(total / answers, 2)
    return {
        "valid_design_rate": float(np.mean([not design.error for design in designs])),
        "patterns": pattern_shares(designs),
        "calls": mean(len(segments)),
        "prompt_tokens": mean(sum(len(s.prompt_token_ids) for s in segments)),
        "response_tokens": mean(sum(len(s.token_ids) for s in segments)),
        "failures": dict(failures),
    }


def pattern_shares(designs: Sequence[Any]) -> dict[str, float]:
    """Share of each pattern (`mas.pattern`) among the designs; those that cannot run count as "invalid"."""
    names = collections.Counter("invalid" if d.error else mas.pattern(mas.check(d.source)) for d in designs)
    return {name: count / len(designs) for name, count in names.most_common()}


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as aligned text: system, accuracy with its interval, validity and cost per question."""
    head = ("when", "system", "benchmark", "n", "accuracy", "95 %", "valid", "calls", "tokens in", "tokens out", "s")
    lines = [head] + [
        (
            str(row.get("when", "")), row["system"], row["benchmark"], str(row["n"]), f"{row['accuracy']:.1%}",
            f"{row['ci95'][0]:.1%} - {row['ci95'][1]:.1%}", f"{row['valid_design_rate']:.0%}", f"{row['calls']:.1f}",
            f"{row['prompt_tokens']:.0f}", f"{row['response_tokens']:.0f}", f"{row['seconds']:.0f}",
        )
        for row in rows
    ]  # fmt: skip
    widths = [max(len(line[c]) for line in lines) for c in range(len(head))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)
