"""Random programs: sound ones print what CPython prints, broken ones end in one of the outcomes that are defined."""

import collections
import gc
import multiprocessing
import os
import random
import time
import tracemalloc
from concurrent.futures import ProcessPoolExecutor

import pytest
from programs import Grammar, mutate
from scripts import HEAD, cpython, machine
from test_execution import TREE
from test_hostile import LIMITED, REFUSED, ended
from test_language import SNIPPETS
from test_library import REFLECT

from mxjax import mas
from mxjax.mas.execution import INTERNAL
from mxjax.script import lexer

CAPTURED = ("v", "w", "rest")  # of `match`, whose failed patterns may have bound them


def on_all_cores(function, parts):
    """The results of a function for each tuple of arguments; the first that fails ends it."""
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(function, *zip(*parts)))


def as_cpython_reads(source):
    """A program after the lexer, which keeps the backslashes of LaTeX, as source that CPython can read."""
    lexed = lexer.rewrite(source)
    return lexer.HOISTED.sub(lambda match: lexed.hoisted[int(match[1])], lexed.text)


def compare(seeds):
    """Runs the programs of `seeds` in both; returns how many ended at a limit here."""
    limited = 0
    for seed in seeds:
        source = Grammar(seed).program()
        try:
            got = machine(source, final=True, apart=CAPTURED)
        except mas.DesignError as error:
            assert error.kind == "syntax", f"seed {seed}: {error}\n{source}"
            with pytest.raises(SyntaxError):
                compile(as_cpython_reads(source), "<program>", "exec")
            continue
        if "\nlimit: " in got:
            limited += 1
            continue
        expected = cpython(as_cpython_reads(source), final=True, apart=CAPTURED)
        lines = zip([*got.splitlines(), "(end)"], [*expected.splitlines(), "(end)"])
        first = next((pair for pair in lines if pair[0] != pair[1]), None)
        assert first is None, f"seed {seed}: {first[0]!r}, but CPython says {first[1]!r}\n{source}"
    return limited


def test_programs_of_the_grammar_print_what_cpython_prints():
    assert compare(range(150)) <= 3


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_twenty_thousand_programs_print_what_cpython_prints():
    assert sum(on_all_cores(compare, [(range(at, at + 500),) for at in range(1000, 21_000, 500)])) <= 400


CORPUS = [*SNIPPETS.values(), TREE, REFLECT, *(source for source, _ in LIMITED.values()),
          *(source for source, _ in REFUSED.values() if len(source) < 2000)]  # fmt: skip
FLOWS = [
    HEAD + """a = AgentNode('A', 'x')
b = AgentNode('B', 'y')
print(Workflow().add_nodes([a, b]).run(question).content)
""",
    HEAD + """e = EnsembleNode('E', [AgentNode(n, 'x') for n in 'abc'], 'consensus', AgentNode('J', 'j'))
w = LoopWorkflow(max_iterations=3)
w.add_node(e)
w.set_loop_condition(lambda c: len(c.messages) < 3)
w.run(question)
""",
    HEAD + """g = AgentGraph('g')
g.add_node('a', AgentNode('A', 'x')).add_node('b', AgentNode('B', 'x'))
g.add_conditional_edges('a', lambda c: 'b' if len(c.messages) < 4 else None)
g.add_edge('b', 'a')
g.set_entry_point('a')
print(g.run(question).content)
""",
]  # fmt: skip
SMALL = mas.Limits(fuel=30_000, live_bytes=2_000_000, agent_calls=12, printed_chars=20_000, string_chars=200_000)
REPLIES = ["\\boxed{1}", "VERDICT: CORRECT", "{0.__class__}", "", "```python\n1\n```", "x" * 5000, "\ud800"]


def run_mutant(source, rng):
    """Checks one script, shows its shape and runs it to its end, whatever it is; its outcome in a word."""
    began = time.process_time()
    fuel = 0
    try:
        checked = mas.check(source, SMALL)
    except mas.DesignError as error:
        assert error.line >= 1 and error.column >= 1 and error.reason
        outcome = "design error"
    else:
        assert mas.describe(checked).startswith("pattern: ")
        run = mas.start(checked, "q", tools={"python_execute": mas.Tool()})
        for _ in range(200):
            if run.result is not None:
                break
            run.advance({call.id: rng.choice(REPLIES) for call in run.pending})
        assert run.result is not None
        assert INTERNAL not in run.result.reason, run.result
        assert (run.result.content == "") if run.result.status != "ok" else run.result.reason == ""
        assert run.result.fuel <= SMALL.fuel or run.result.reason == "fuel"
        fuel = min(run.result.fuel, SMALL.fuel)
        outcome = run.result.status
    assert time.process_time() - began < 3 + fuel * 1e-4
    return outcome


def run_measured(source, rng):
    """`run_mutant`, with the bytes that Python holds at most: beside twice the limit, what its parser takes."""
    tracemalloc.start()
    try:
        outcome = run_mutant(source, rng)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= 2 * SMALL.live_bytes + 1_000_000 + 1000 * len(source), peak
    return outcome


def run_mutants(count, seed):
    """Runs mutated scripts, every fourth with its memory measured; how many end in each way."""
    rng = random.Random(seed)
    others = CORPUS + FLOWS
    outcomes = {}
    for index in range(count):
        source = mutate(rng.choice(FLOWS if rng.random() < 0.3 else others), others, rng)
        try:
            outcome = run_measured(source, rng) if index % 4 == 0 else run_mutant(source, rng)
        except BaseException as error:
            raise AssertionError(f"{type(error).__name__}: {error}\n{source!r}") from error
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    return outcomes


def test_mutated_scripts_end_in_defined_outcomes():
    outcomes = run_mutants(500, seed=1)
    assert set(outcomes) == {"design error", "ok", "error", "limit"}


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_a_hundred_thousand_mutated_scripts_end_in_defined_outcomes():
    outcomes = collections.Counter()
    for part in on_all_cores(run_mutants, [(2500, seed) for seed in range(100, 140)]):
        outcomes.update(part)
    assert outcomes.total() == 100_000 and set(outcomes) == {"design error", "ok", "error", "limit"}


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, (_, limits) in LIMITED.items() if "live_bytes" in limits])
def test_memory_stays_within_twice_the_limit(name):
    checked = mas.check(LIMITED[name][0])
    mas.start(mas.check("x = 1"), "q")
    gc.collect()
    tracemalloc.start()
    try:
        result = ended(checked).result
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert result.status == "limit" and peak <= 2 * mas.Limits().live_bytes
