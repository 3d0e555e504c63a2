"""Sampling settings that a design asks for, kept within bounds.

The policy's gradient scales with 1/T, and executions of one design that are all sampled greedily are copies of each
other, from which nothing can be learnt; so a design chooses only among settings that can be trained on.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from mxjax.errors import UserError
from mxjax.sampling import SamplingParams

_WHOLE = ("max_tokens", "min_tokens", "top_k")
_TRUNCATION = ("top_k", "top_p", "min_p")


@dataclasses.dataclass(frozen=True)
class DesignSampling:
    """Bounds on the sampling settings of a design.

    A range of temperatures, and whether a design may cut off unlikely tokens. The role's own temperature is always
    within the range.
    """

    temperature: tuple[float, float] = (0.3, 1.5)
    truncation: bool = False

    def __post_init__(self):
        pair = tuple(self.temperature)
        numbers = len(pair) == 2 and all(type(value) in (int, float) and math.isfinite(value) for value in pair)
        if not numbers or not 0 <= pair[0] <= pair[1]:
            raise UserError(
                f"design_sampling.temperature must be two numbers, 0 <= lowest <= highest, got {self.temperature!r}"
            )
        if type(self.truncation) is not bool:
            raise UserError(f"design_sampling.truncation must be True or False, got {self.truncation!r}")
        object.__setattr__(self, "temperature", pair)


def overridden(
    sampling: SamplingParams, overrides: Mapping[str, Any], bounds: DesignSampling
) -> tuple[SamplingParams, bool]:
    """The role's settings with an agent's own applied within bounds.

    Also returns whether the agent's were out of bounds. Raises ValueError, TypeError or OverflowError for values
    without a meaning.
    """
    values = {name: int(value) if name in _WHOLE else float(value) for name, value in overrides.items()}
    values["max_tokens"] = min(values.get("max_tokens", sampling.max_tokens), sampling.max_tokens)
    values["min_tokens"] = min(values.get("min_tokens", sampling.min_tokens), max(values["max_tokens"], 0))
    unbounded = sampling.replace(**values)
    low, high = bounds.temperature
    temperature = min(max(unbounded.temperature, min(low, sampling.temperature)), max(high, sampling.temperature))
    truncation = {} if bounds.truncation else {name: getattr(sampling, name) for name in _TRUNCATION}
    bounded = unbounded.replace(temperature=temperature, **truncation)
    return bounded, bounded != unbounded
