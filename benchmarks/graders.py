"""Answers per second of the math grader on number golds: integers, decimals, fractions, percent, thousands.

Command: python benchmarks/graders.py [--answers 20000] [--rounds 5]
Golds and messages are drawn with a seed and none is graded twice, so that nothing comes out of a cache; every verdict
is checked. Prints one row with the median of the rounds.
"""

import argparse
import fractions
import os
import random
import statistics
import time

from mxjax.rewards import grade_math


def draw(random_, number):
    """(gold, right message, wrong message), of a shape by turns."""
    whole = random_.randrange(-(10**6), 10**6)
    bottom = random_.randrange(3, 10**3)
    part = fractions.Fraction(bottom * random_.randrange(100) + 1, bottom)
    gold, other, wrong = [
        (f"{whole}", f"{whole}.0", f"{whole + 1}"),
        (f"{whole / 64:.6f}", f"{whole / 64:.7f}", f"{whole / 64 + 1:.6f}"),
        (str(part), rf"\frac{{{part.numerator}}}{{{part.denominator}}}", str(part + 1)),
        (rf"{abs(whole)}\%", f"{abs(whole)}%", f"{abs(whole) + 1}%"),
        (f"{whole:,}", f"{whole}", f"{whole + 1:,}"),
    ][number % 5]
    wrap = lambda text: f"<delivery>So it is {number}.</delivery>\nFINAL ANSWER: \\boxed{{{text}}}"
    return gold, wrap(other), wrap(wrong)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--answers", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    random_, rates = random.Random(0), []
    for _ in range(args.rounds):
        drawn = [draw(random_, number) for number in range(args.answers // 2)]
        started = time.perf_counter()
        verdicts = [(grade_math(gold, right), grade_math(gold, wrong)) for gold, right, wrong in drawn]
        rates.append(2 * len(drawn) / (time.perf_counter() - started))
        odd = [case for case, (right, wrong) in zip(drawn, verdicts, strict=True) if not right or wrong]
        assert not odd, odd[:3]
    print({
        "answers_per_s": round(statistics.median(rates)), "least": round(min(rates)), "rounds": args.rounds,
        "load": round(os.getloadavg()[0], 1),
    })  # fmt: skip


if __name__ == "__main__":
    main()
