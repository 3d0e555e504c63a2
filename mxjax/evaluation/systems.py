"""The systems that answer questions, with one rollout and one grader.

| system | what answers a question |
|---|---|
| `single` | one agent |
| `self_consistency@K` | the same agent asked K times (default 5), with a majority over its answers |
| `vote@K` | an ensemble of K agents (default 3) |
| `reflection`, `debate` | one agent with one critique; two agents in two rounds |
| `random_design` | a valid design drawn at random for each question and sample |
| `best_fixed` | one design for all questions, the best of several on validation questions |
| `designed` | designs by the designer |
| `frozen_executor` | designs by the designer, their calls answered by another policy (`--executor`) |

`@matched` in place of K: as many as make the tokens of an answer those of `designed`.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from mxjax.errors import UserError

SOLVER_TEXT = "You are a careful solver. Work step by step."

_SCRIPT = """from workflow import Workflow, AgentNode, EnsembleNode, ReflectionNode, DebateNode
workflow = Workflow()
{nodes}
workflow.run(question)
"""
FIXED = ("single", "vote", "reflection", "debate")
DESIGNED, FROZEN_EXECUTOR = "designed", "frozen_executor"
RANDOM, BEST_FIXED, CONSISTENT = "random_design", "best_fixed", "self_consistency"
SYSTEMS = (*FIXED, CONSISTENT, RANDOM, BEST_FIXED, DESIGNED, FROZEN_EXECUTOR)
SIZES = {CONSISTENT: 5, "vote": 3}  # systems that take @K, with the default K
MATCHED = f"{CONSISTENT}@matched"
ALL = "all"
_UNMATCHED = "{} compares the tokens of single and designed; name both before it"

ROLE_TEXTS = (
    "Work step by step.",
    "Answer briefly.",
    "Make a plan, then carry it out.",
    "Check every step before you answer.",
    "Solve it in two ways and compare.",
    "Correct the work so far, then answer.",
)
"""What the agents of random designs are told."""


def expand(systems: Sequence[str], has_executor: bool) -> list[str]:
    """`systems` with "all" written out.

    `frozen_executor` is part of it where there is another executor.
    """
    every = [name for name in SYSTEMS if name != CONSISTENT and (has_executor or name != FROZEN_EXECUTOR)]
    return list(dict.fromkeys(itertools.chain(*([*every, MATCHED] if name == ALL else [name] for name in systems))))


def parse_system(system: str) -> tuple[str, int]:
    """(name, size) of "single", "vote@3", ...; size 0: still to be matched.

    Raises ValueError for any other text.
    """
    match = re.fullmatch(r"([a-z_]+)(?:@([1-9]\d{0,3}|matched))?", system)
    if not match or match[1] not in SYSTEMS or (match[2] and match[1] not in SIZES):
        raise UserError(
            f"unknown system {system!r}; known: {', '.join(SYSTEMS)}, all ({' and '.join(SIZES)} take @K, or @matched "
            f"for the tokens of {DESIGNED})"
        )
    if match[2] == "matched":
        return match[1], 0
    return match[1], int(match[2] or SIZES.get(match[1], 1))


def check_systems(systems: Sequence[str], have: Iterable[str] = ()) -> None:
    """Raise ValueError for an unknown or unmatched system.

    "...@matched" needs single and designed before it. `have` are systems that have been evaluated already.
    """
    before = set(have)
    for system in systems:
        if not parse_system(system)[1] and not {"single", DESIGNED} <= before:
            raise UserError(_UNMATCHED.format(system))
        before.add(system)


def check_run_systems(systems: Sequence[str]) -> None:
    """`check_systems` for a training run.

    Raises ValueError also for systems that only `mxjax evaluate` can run.
    """
    for system in systems:
        if system in (BEST_FIXED, FROZEN_EXECUTOR, ALL):
            raise UserError(f"eval.systems cannot have {system}: take it out, and ask mxjax evaluate --system for it")
    check_systems(systems)


def fixed_script(system: str, text: str = SOLVER_TEXT, size: int = 3) -> str:
    """The script of "single", "vote", "reflection" or "debate".

    The agents are told `text`; a vote has `size` of them.
    """
    agents = [_agent(f"solver{n}", text) for n in range(max(size, 2))]
    nodes = {
        "single": agents[0],
        "vote": f'EnsembleNode("vote", [{", ".join(agents[:size])}], "majority_vote")',
        "reflection": f'ReflectionNode("reflection", {agents[0]}, num_iterations=1)',
        "debate": f'DebateNode("debate", [{", ".join(agents[:2])}], num_rounds=2)',
    }
    return _script(nodes[system])


def random_script(seed: int) -> str:
    """A valid design drawn at random.

    One to three nodes in a row, each an agent or a small group of agents.
    """
    rng = random.Random(seed)
    names = (f"agent{n}" for n in itertools.count())

    def agent() -> str:
        return _agent(next(names), rng.choice(ROLE_TEXTS))

    def group(low: int, high: int) -> str:
        return ", ".join(agent() for _ in range(rng.randint(low, high)))

    def node(n: int, kind: str) -> str:
        if kind == "vote":
            return f'EnsembleNode("vote{n}", [{group(2, 4)}], "majority_vote")'
        if kind == "reflection":
            return f'ReflectionNode("review{n}", {agent()}, num_iterations={rng.randint(1, 2)})'
        if kind == "debate":
            return f'DebateNode("debate{n}", [{group(2, 3)}], num_rounds={rng.randint(1, 2)})'
        return agent()

    kinds = ("agent", "vote", "reflection", "debate")
    return _script(*(node(n, rng.choice(kinds)) for n in range(rng.choice((1, 1, 2, 3)))))


def _agent(name: str, text: str) -> str:
    return f'AgentNode("{name}", {text!r})'


def _script(*nodes: str) -> str:
    return _SCRIPT.format(nodes="\n".join(f"workflow.add_node({node})" for node in nodes))


def tokens_of(row: Mapping[str, Any]) -> float:
    """Tokens of an answer, prompts and responses together."""
    return row["prompt_tokens"] + row["response_tokens"]


def match_budget(system: str, rows: Sequence[Mapping[str, Any]], benchmark: str) -> str:
    """`system`, with the size of "...@matched" filled in.

    The size whose tokens are nearest to those of "designed". `rows` are those of the same policy so far. Raises
    ValueError when single or designed is not among them.
    """
    name, size = parse_system(system)
    if size:
        return system
    tokens = {row["system"]: tokens_of(row) for row in rows if row["benchmark"] == benchmark}
    if not {"single", DESIGNED} <= set(tokens):
        raise UserError(_UNMATCHED.format(system))
    return f"{name}@{max(1, round(tokens[DESIGNED] / max(tokens['single'], 1)))}"


def left_to_do(
    benchmarks: Iterable[str], systems: Iterable[str], rows: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[str, str]]:
    """(benchmark, system) of each that has no row yet, sizes matched.

    `rows` grow while this is read.

    Raises UserError where there is nothing to match a size to.
    """
    for benchmark, system in itertools.product(benchmarks, systems):
        system = match_budget(system, rows, benchmark)
        if not any((row["system"], row["benchmark"]) == (system, benchmark) for row in rows):
            yield benchmark, system
