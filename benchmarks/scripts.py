"""The script interpreter beside CPython in a thread and pydantic-monty: a 49-line design with four calls (P4).

Command: python benchmarks/scripts.py [--rounds 7] [--alive 10000] [--output scripts.json]
The three run the same lines, alternating, median of the rounds after a warm-up; compiling is reported apart, except
for monty, which parses at each run. CPython has no limits and no isolation: it is the speed of the language itself.
In CPython and monty the library is a stub whose `ask` blocks or suspends, so they do less work than a design here
does. Memory: growth of a fresh process that holds `--alive` suspended executions of the design, at their second call.
Wants pydantic-monty (pip install pydantic-monty); without it those cells are absent.
"""

import argparse
import contextlib
import json
import os
import queue
import resource
import statistics
import subprocess
import sys
import threading
import time

from mxjax import mas

BODY = """
import re

NAMES = ["Planner", "Solver", "Checker", "Judge"]
PROMPTS = {
    "Planner": "Plan the steps, do not solve.",
    "Solver": "Solve the problem by the plan.",
    "Checker": "Check every step of the solution.",
    "Judge": "Give the final answer.",
}


def number_in(text):
    found = re.findall(r"-?[0-9]+", text)
    return int(found[-1]) if found else 0


def summary(answers):
    lines = []
    for index, (name, text) in enumerate(answers):
        lines.append(f"{index + 1}. {name}: {text[:40]}")
    return "; ".join(lines)


def tally(numbers):
    counts = {}
    for value in numbers:
        counts[value] = counts.get(value, 0) + 1
    best = None
    for value, count in counts.items():
        if best is None or count > best[1]:
            best = (value, count)
    return best[0]


answers = []
numbers = []
for name in NAMES:
    prompt = PROMPTS[name]
    if answers:
        prompt += " Before you: " + summary(answers)
    reply = ask(name, prompt)
    answers.append((name, reply))
    numbers.append(number_in(reply))
total = sum(n * n for n in numbers) % 1009
result = f"{tally(numbers)} from {len(answers)} agents, check {total}"
"""
HEAD = """from workflow import *
def ask(name, prompt):
    return AgentNode(name, prompt)(Context(messages=[Message(question, MessageType.USER_INPUT)])).content
"""
TAIL = """
class Last(WorkflowNode):
    def process(self, context):
        return Message(result, MessageType.AGENT_RESPONSE)
Workflow().add_node(Last("last")).run(question)
"""
DESIGN = HEAD + BODY + TAIL
REPLY = "It is 42"


def ours(checked):
    """One run; seconds, and seconds per suspend and resume."""
    start = time.perf_counter()
    run = mas.start(checked, "What is 6 * 7?")
    while run.result is None:
        run.advance({call.id: REPLY for call in run.pending})
    assert run.result.content == "42 from 4 agents, check 1002", run.result
    return time.perf_counter() - start


def ours_resume(turns=1000):
    """Seconds per suspend and resume of a host tool: a loop of `turns` calls less one of half as many."""

    def timed(count):
        source = f"from workflow import python_execute\nfor i in range({count}):\n    python_execute('x')\n"
        run = mas.start(mas.check(source), "q", tools={"python_execute": mas.Tool()}, limits=LOOSE)
        start = time.perf_counter()
        while run.result is None:
            run.advance({run.pending[0].id: REPLY})
        return time.perf_counter() - start

    return (timed(turns) - timed(turns // 2)) / (turns - turns // 2)


LOOSE = mas.Limits(tool_calls=10_000)


def cpython(code):
    """One run by `exec` in a thread of its own that waits for each reply."""
    asked, replies = queue.Queue(), queue.Queue()

    def ask(name, prompt):
        asked.put((name, prompt))
        return replies.get()

    names = {"ask": ask}

    def work():
        exec(code, names)
        asked.put(None)

    start = time.perf_counter()
    thread = threading.Thread(target=work)
    thread.start()
    while asked.get() is not None:
        replies.put(REPLY)
    thread.join()
    assert names["result"] == "42 from 4 agents, check 1002"
    return time.perf_counter() - start


def monty_run(monty, pool):
    """One run in pydantic-monty, whose worker process parses the text and suspends at each call of `ask`."""
    with pool.checkout() as session:
        start = time.perf_counter()
        progress = session.feed_start(BODY + "\nresult")
        while not isinstance(progress, monty.MontyComplete):
            progress = progress.resume({"return_value": REPLY})
        seconds = time.perf_counter() - start
    assert progress.output == "42 from 4 agents, check 1002"
    return seconds


def suspended_bytes(alive):
    """Growth of a fresh process per suspended execution."""
    command = [sys.executable, os.path.abspath(__file__), "--hold", str(alive)]
    out = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(out.stdout) / alive


def hold(alive):
    """Prints by how many bytes the process grows with `alive` executions at their second call."""
    checked = mas.check(DESIGN)
    ours(checked)
    before = _resident()
    runs = [mas.start(checked, "What is 6 * 7?", seed=index) for index in range(alive)]
    for run in runs:
        run.advance({run.pending[0].id: REPLY})
    print(_resident() - before)


def _resident():
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def medians(rounds, runs, inner=50):
    """Median seconds per call of each function; they take turns, after one round that does not count."""
    seen = {name: [] for name in runs}
    for turn in range(rounds + 1):
        for name, run in runs.items():
            seconds = statistics.fmean(run() for _ in range(inner))
            if turn:
                seen[name].append(seconds)
    return {name: statistics.median(values) for name, values in seen.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--alive", type=int, default=10_000)
    parser.add_argument("--output", default="")
    parser.add_argument("--hold", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.hold:
        hold(args.hold)
        return
    checked, code = mas.check(DESIGN), compile(BODY, "<design>", "exec")
    runs = {"mxjax": lambda: ours(checked), "CPython thread": lambda: cpython(code)}
    counter = iter(range(10**9))
    compiles = {
        "mxjax": lambda: _timed(lambda: mas.check(f"{DESIGN}# {next(counter)}")),
        "CPython thread": lambda: _timed(lambda: compile(BODY, "<design>", "exec")),
    }
    with contextlib.ExitStack() as stack:
        try:
            import pydantic_monty as monty

            pool = stack.enter_context(monty.Monty())
            monty_run(monty, pool)
        except (ImportError, AttributeError, TypeError) as error:  # absent, or another version of its interface
            print(f"pydantic-monty does not run here: {type(error).__name__}: {error}", file=sys.stderr)
        else:
            runs["pydantic-monty"] = lambda: monty_run(monty, pool)
        run_s, compile_s = medians(args.rounds, runs), medians(args.rounds, compiles, inner=10)
    resume_s = statistics.median(ours_resume() for _ in range(args.rounds))
    kept = suspended_bytes(args.alive)
    print(f"{'':<16}{'compile ms':>12}{'run ms':>10}")
    for name in runs:
        print(f"{name:<16}{_ms(compile_s.get(name)):>12}{_ms(run_s[name]):>10}")
    print(f"mxjax: {resume_s * 1e6:.1f} us a suspend and resume; {kept / 1024:.1f} KB a suspended execution")
    rows = {"run_s": run_s, "compile_s": compile_s, "resume_s": resume_s, "suspended_bytes": kept, "alive": args.alive}
    if args.output:
        with open(args.output, "w") as file:
            json.dump(rows, file, indent=1)


def _ms(seconds):
    return "" if seconds is None else f"{seconds * 1e3:.3f}"


def _timed(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
