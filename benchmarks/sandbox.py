"""What a job of the sandbox costs at each level here, beside bubblewrap and a cold Python; and its hostile programs.

Command: python benchmarks/sandbox.py [--jobs 100] [--rounds 5] [--workers 2] [--output FILE] [--table FILE]
A job is `print(1)` in a fresh interpreter with walls of its own. The peer is what one would do without a warm process:
`bwrap ... python -I -c 'print(1)'` behind the same mounts and namespaces (without a system call filter). All take turns
round by round, and a row has the medians of the rounds. `--table` runs every program of tests/sandbox/hostile.txt at
levels A and B instead, and writes how each ended; it exits with 1 if one reached what it was after.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "sandbox")]

from mxjax.sandbox import LEVELS, Sandbox, SandboxLimits, SandboxUnavailable, zygotes  # noqa: E402

PROGRAM = "print(1)"
PEER = "bubblewrap and python -I"


def peer_command():
    """Bubblewrap with level A's mounts and namespaces, no capability, a scratch directory, and a cold Python."""
    command = zygotes._bubblewrap()
    keep = [word for place, word in enumerate(command) if "--cap-add" not in (word, command[place - 1])]
    return [*keep[:-3], "--tmpfs", "/tmp", *keep[-3:], zygotes._python(), "-I", "-c", PROGRAM]


def run_peer(command):
    """One job of the peer, with the limits of a job."""
    limits = SandboxLimits()

    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (limits.memory_mb << 20,) * 2)
        resource.setrlimit(resource.RLIMIT_CPU, (int(limits.cpu_s) + 2,) * 2)

    done = subprocess.run(command, env={"PATH": "/usr/bin"}, preexec_fn=limit, capture_output=True, check=True)
    return done.stdout


def timed(run, jobs, workers):
    """(median milliseconds of single jobs, jobs per second of `workers` at once) of `run() -> stdout`."""
    single = []
    for _ in range(max(1, jobs // 4)):
        begun = time.perf_counter()
        assert run() == b"1\n"
        single.append(time.perf_counter() - begun)
    with concurrent.futures.ThreadPoolExecutor(workers) as threads:
        begun = time.perf_counter()
        outputs = list(threads.map(lambda _: run(), range(jobs)))
        seconds = time.perf_counter() - begun
    assert outputs == [b"1\n"] * jobs
    return 1e3 * statistics.median(single), jobs / seconds


def measure(jobs, rounds, workers):
    """One row for each level that is here, and for the peer where bubblewrap is."""
    systems, boxes = {}, []
    for level in LEVELS:
        try:
            boxes.append(Sandbox(level, workers=workers))
        except SandboxUnavailable as error:
            print(f"level {level}: {error}")
            continue
        systems[f"level {level}"] = lambda box=boxes[-1]: box.run(PROGRAM).stdout
    if "level A" in systems:
        command = peer_command()
        systems[PEER] = lambda: run_peer(command)
    found = {name: [] for name in systems}
    for _ in range(rounds):
        for name, run in systems.items():
            found[name].append(timed(run, jobs, workers))
    for box in boxes:
        box.close()
    return [
        {
            "system": name, "median_ms": round(statistics.median(ms for ms, _ in values), 2),
            "jobs_per_s": round(statistics.median(rate for _, rate in values), 1), "best_ms": round(min(values)[0], 2),
            "workers": workers, "rounds": rounds, "load": round(os.getloadavg()[0], 1),
        }
        for name, values in found.items()
    ]  # fmt: skip


def hostile_table():
    """(a Markdown page of how every hostile program ends at levels A and B, how many reached what they were after)."""
    from test_hostile_programs import LIMITS, TABLE

    endings, breaches, levels = {name: [] for name, _, _ in TABLE}, 0, ("A", "B")
    for level in levels:
        with Sandbox(level) as box:
            for name, wanted, source in TABLE:
                limits = LIMITS if "wall" not in wanted else SandboxLimits(cpu_s=0.5, wall_s=0.7, memory_mb=128)
                outcome = box.run(source, b"", limits)
                breach = b"BREACH" in outcome.stdout or ("silent" in wanted and outcome.stdout)
                breaches += bool(breach)
                endings[name].append("**breach**" if breach else outcome.status)
    rows = "\n".join(f"| {name} | {' | '.join(statuses)} |" for name, statuses in endings.items())
    page = f"""# Hostile programs

Written by `python benchmarks/sandbox.py --table docs/hostile_programs.md`. The {len(TABLE)} programs of
`tests/sandbox/hostile.txt` at sandbox levels A and B, with {LIMITS.cpu_s} s of processor time, {LIMITS.memory_mb} MiB
and {LIMITS.disk_mb} MiB of scratch space. {breaches} of {len(levels) * len(TABLE)} runs reached what they were after.
"ok" is a program that found every road closed and ended by itself; "time", "memory" and "output" are limits that ended
one. The tests run them beside siblings whose verdicts must not change.

| program | {" | ".join(f"level {level}" for level in levels)} |
|---|{"---|" * len(levels)}
{rows}
"""
    return page, breaches


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--output")
    parser.add_argument("--table")
    args = parser.parse_args()
    if args.table:
        page, breaches = hostile_table()
        pathlib.Path(args.table).write_text(page)
        return int(breaches > 0)
    rows = measure(args.jobs, args.rounds, args.workers)
    for row in rows:
        print(row)
    if args.output:
        pathlib.Path(args.output).write_text(json.dumps(rows, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
