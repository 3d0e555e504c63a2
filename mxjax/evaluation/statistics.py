"""The numbers of a table: intervals over questions, pass@k, majority@k, paired differences."""

from __future__ import annotations

import collections
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Z95 = 1.959963984540054
BOOTSTRAPS = 2000
SUBSETS = 64  # of a question's samples, to estimate the majority of some of them


def interval(means_Q: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """95 % interval of the mean over questions.

    Wilson's where each is 0 or 1, else the bootstrap's. Wilson's also where there is no spread, where resampling would
    claim certainty.
    """
    if np.isin(means_Q, (0, 1)).all() or np.ptp(means_Q) == 0:
        return wilson(float(means_Q.sum()), len(means_Q))
    return bootstrap_mean(means_Q, seed)


def wilson(successes: float, n: int) -> tuple[float, float]:
    """95 % Wilson score interval of a proportion."""
    p, z2 = successes / n, Z95**2
    centre, half = p + z2 / (2 * n), Z95 * np.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    low = 0.0 if successes == 0 else float((centre - half) / (1 + z2 / n))
    return low, 1.0 if successes == n else float((centre + half) / (1 + z2 / n))


def bootstrap_mean(values_Q: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean over questions.

    Of differences, for a paired comparison.
    """
    picks = np.random.default_rng(seed % 2**64).integers(0, len(values_Q), (BOOTSTRAPS, len(values_Q)))
    low, high = np.percentile(np.asarray(values_Q)[picks].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def counts_k(samples: int) -> list[int]:
    """The k of pass@k and majority@k in a table for n samples.

    Powers of two above 1, and n itself.
    """
    return sorted({*(2**i for i in range(1, samples.bit_length()) if 2**i < samples), samples} - {1})


def pass_at_k(samples: int, right: int, k: int) -> float:
    """Unbiased chance that one of k samples is right.

    With c = `right` of n = `samples`: 1 - C(n-c, k) / C(n, k). That of Chen et al., "Evaluating Large Language Models
    Trained on Code" (2021), equation 1. Raises ValueError unless 1 <= k <= samples.
    """
    if not 1 <= k <= samples:
        raise ValueError(f"pass@k needs 1 <= k <= {samples} samples, got k={k}")
    return 1.0 - math.comb(samples - right, k) / math.comb(samples, k)


def majority(votes: Sequence[str | None]) -> int | None:
    """Index of the first sample whose answer most others share.

    The answer first seen wins ties. None has no vote; None if there is no vote at all.
    """
    counted = collections.Counter(vote for vote in votes if vote is not None)
    return votes.index(counted.most_common(1)[0][0]) if counted else None


def majority_at_k(votes: Sequence[str | None], correct: Sequence[float], k: int, seed: int = 0) -> float:
    """Mean correctness of the majority among k of the samples.

    Of all of them, or of 64 seeded subsets.
    """
    rng = np.random.default_rng(seed % 2**64)
    n = len(votes)
    subsets = [range(n)] if k == n else [sorted(rng.choice(n, k, replace=False)) for _ in range(SUBSETS)]
    winners = [(subset, majority([votes[i] for i in subset])) for subset in subsets]
    return float(np.mean([0.0 if winner is None else correct[subset[winner]] for subset, winner in winners]))


def paired_change(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Difference in accuracy of two rows on the same questions.

    In points, with its 95 % bootstrap interval. Without an interval where it is the same on every question, since
    resampling would claim certainty. Empty when the two rows are not of the same questions.
    """
    first, last = before.get("correct") or [], after.get("correct") or []
    same = all(before.get(key) == after.get(key) for key in ("benchmark", "n", "samples"))
    if not same or len(first) != len(last) or not first or not all(map(_finite, [*first, *last])):
        return ""
    difference = np.subtract(last, first)
    points = lambda value: f"{100 * value:+.1f}".replace("-", "−")
    if np.ptp(difference) == 0:
        equal = f"no difference on any of {len(difference)} questions"
        return f"{points(difference[0])} points on each of {len(difference)} questions" if difference[0] else equal
    low, high = bootstrap_mean(difference)
    return f"{points(difference.mean())} points, 95 % {points(low)} to {points(high)}"


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
