"""Jobs per second of the sandbox, and what one costs, at each level that passes its self-test here.

Command: python benchmarks/sandbox.py [--jobs 200] [--workers 1,2] [--output FILE]
A job is `print(int(input()) + 1)`: the figure is the cost of isolation, since the program does next to nothing.
"""

import argparse
import json
import os
import time

from mxjax.sandbox import LEVELS, Sandbox, SandboxUnavailable

PROGRAM = "print(int(input()) + 1)"


def measure(level: str, jobs: int, workers: int) -> dict:
    """One row: start of the pool, latency of single jobs, throughput of `workers` at once."""
    start = time.perf_counter()
    with Sandbox(level, workers=workers) as sandbox:
        ready = time.perf_counter()
        single = []
        for _ in range(max(1, jobs // 4)):
            begun = time.perf_counter()
            assert sandbox.run(PROGRAM, b"1").stdout == b"2\n"
            single.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        futures = [sandbox.submit(PROGRAM, b"1") for _ in range(jobs)]
        assert all(future.result().stdout == b"2\n" for future in futures)
        seconds = time.perf_counter() - begun
    single.sort()
    return {
        "level": level, "workers": workers, "start_s": round(ready - start, 2),
        "median_ms": round(1e3 * single[len(single) // 2], 2), "jobs_per_s": round(jobs / seconds, 1),
        "load": round(os.getloadavg()[0], 1),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--workers", default="1,2")
    parser.add_argument("--output")
    args = parser.parse_args()
    rows = []
    for level in LEVELS:
        for workers in map(int, args.workers.split(",")):
            try:
                rows.append(measure(level, args.jobs, workers))
                print(rows[-1])
            except SandboxUnavailable as error:
                print(f"level {level}: {error}")
                break
    if args.output:
        with open(args.output, "w") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()
