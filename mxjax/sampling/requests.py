"""A request on its way through the engine: its ids, its place, what was sampled so far, and where its text ends."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from mxjax.sampling.params import Completion, Request


@dataclasses.dataclass(eq=False)
class Live:
    """A request from `submit` to its completion. `table` are its pages, in order; `slot` -1 while it has no place."""

    id: int
    request: Request
    prompt: np.ndarray
    stop_ids: np.ndarray
    budget: int
    ends_at: float  # on the engine's clock
    slot: int = -1
    group: int = 0
    table: list[int] = dataclasses.field(default_factory=list)
    ready_after: int = 0  # prompt chunks that have to run before it can decode
    copy_from: int | None = None  # a page that holds the tail of an identical prompt
    saved: Any = None  # its pages on the host, after preemption
    decoding: bool = False
    in_flight: int = 0  # decode steps that the device may be running for it
    tokens: list[int] = dataclasses.field(default_factory=list)
    logprobs: list[float] = dataclasses.field(default_factory=list)
    model_logprobs: list[float] = dataclasses.field(default_factory=list)
    completion: Completion | None = None

    @property
    def written(self) -> np.ndarray:
        """The ids int32 whose keys and values are in the cache: all but the last one."""
        return np.concatenate([self.prompt, np.array(self.tokens, np.int32)])[:-1]

    def cut_at_stop_string(self, decode, new: int) -> bool:
        """Whether a stop string appeared in the last `new` tokens; then drops the ids after the one completing it."""
        count = len(self.tokens)
        if not self.request.sampling.stop or self._stop_string_at(decode, count) < 0:
            return False
        end = next(end for end in range(count - new + 1, count + 1) if self._stop_string_at(decode, end) >= 0)
        del self.tokens[end:], self.logprobs[end:], self.model_logprobs[end:]
        return True

    def _stop_string_at(self, decode, end: int) -> int:
        """Where a stop string begins in the text of the first `end` tokens, -1 if none does."""
        stops, early = self.request.sampling.stop, self.request.sampling.min_tokens
        text = decode(self.tokens[:end])
        done = len(decode(self.tokens[:early])) if early else 0  # no stop string may end by here
        found = [text.find(stop, max(0, done - len(stop) + 1)) for stop in stops]
        return min((start for start in found if start >= 0), default=-1)

    def complete(self, decode, reason: str, error: str | None = None) -> Completion:
        """Makes the completion of what was sampled so far; there is no text if there was an error."""
        text = "" if error else decode(self.tokens)
        if self.request.sampling.stop and reason == "stop":
            cut = self._stop_string_at(decode, len(self.tokens))
            text = text if cut < 0 else text[:cut]
        self.completion = Completion(
            self.id, np.array(self.tokens, np.int32), text, np.array(self.logprobs, np.float32),
            np.array(self.model_logprobs, np.float32), reason, error,
        )  # fmt: skip
        return self.completion
