"""A request on its way through the engine.

It has the ids, the place, the tokens sampled so far, and the end of the text.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mxjax.errors import UserError
from mxjax.sampling.params import MAX_STOP_IDS, Completion, Request

if TYPE_CHECKING:
    from mxjax.sampling.engine import Engine


@dataclasses.dataclass(eq=False)
class Live:
    """A request from `submit` to its completion.

    `table` has its pages, in order; `slot` is -1 while it has no place.
    """

    id: int
    request: Request
    prompt: np.ndarray
    stop_ids: np.ndarray
    budget: int
    ends_at: float = math.inf  # on the engine's clock
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
    def left(self) -> int:
        """Tokens that may still be sampled in chunks not yet started."""
        return self.budget - len(self.tokens) - self.in_flight

    @property
    def written(self) -> np.ndarray:
        """The ids int32 whose keys and values are in the cache.

        These are all but the last one.
        """
        return np.concatenate([self.prompt, np.array(self.tokens, np.int32)])[:-1]

    def cut_at_stop_string(self, decode, new: int) -> bool:
        """Cut the response where a stop string ends in its last tokens.

        The last `new` tokens are searched; ids after the one that completes the string are dropped. Returns whether one
        was found.
        """
        count = len(self.tokens)
        if not self.request.sampling.stop or self._stop_string_at(decode, count) < 0:
            return False
        end = next(end for end in range(count - new + 1, count + 1) if self._stop_string_at(decode, end) >= 0)
        del self.tokens[end:], self.logprobs[end:], self.model_logprobs[end:]
        return True

    def cut_where_not_finite(self, new: int) -> bool:
        """Cut the response after the first log-probability that is not finite.

        The last `new` tokens are looked at. Returns whether there was one.
        """
        bad = np.flatnonzero(~np.isfinite(self.model_logprobs[len(self.tokens) - new :]))
        if not bad.size:
            return False
        end = len(self.tokens) - new + int(bad[0]) + 1
        del self.tokens[end:], self.logprobs[end:], self.model_logprobs[end:]
        return True

    def _stop_string_at(self, decode, end: int) -> int:
        """Where a stop string begins in the first `end` tokens' text.

        -1 if none does.
        """
        stops, early = self.request.sampling.stop, self.request.sampling.min_tokens
        text = decode(self.tokens[:end])
        done = len(decode(self.tokens[:early])) if early else 0  # no stop string may end by here
        found = [text.find(stop, max(0, done - len(stop) + 1)) for stop in stops]
        return min((start for start in found if start >= 0), default=-1)

    def complete(self, decode, reason: str, error: str | None = None) -> Completion:
        """Make the completion of what was sampled so far.

        It has no text if there was an error.
        """
        text = "" if error else decode(self.tokens)
        if reason == "stop" and self.request.sampling.stop:
            cut = self._stop_string_at(decode, len(self.tokens))
            text = text if cut < 0 else text[:cut]
        self.completion = Completion(
            self.id,
            np.array(self.tokens, np.int32),
            text,
            logprobs=np.array(self.logprobs, np.float32),
            model_logprobs=np.array(self.model_logprobs, np.float32),
            finish_reason=reason,
            error=error,
        )
        return self.completion


class Handle:
    """A submitted request, with `result()` to run it to its end."""

    def __init__(self, engine: Engine, live: Live):
        self._engine, self._live, self.id = engine, live, live.id

    @property
    def done(self) -> bool:
        """Whether the completion is there."""
        return self._live.completion is not None

    def result(self) -> Completion:
        """The completion.

        Steps the engine until it is there. Exceptions of `Engine.step` reach the caller.
        """
        while (completion := self._live.completion) is None:
            self._engine.step()
        return completion

    def cancel(self) -> None:
        """Give slot and pages back.

        The completion then holds what was sampled so far. Does nothing once done.
        """
        if not self.done:
            self._engine._finish(self._live, "cancelled")


def admissible(request: Request, id: int, stop_ids: Sequence[int], vocab_size: int, max_len: int) -> Live:
    """The request as `Live`, if it can run.

    `stop_ids` are the tokenizer's own, `max_len` counts prompt + response.

    Raises ValueError for a request that can never run.
    """
    prompt = request.ids()
    if prompt.min() < 0 or prompt.max() >= vocab_size:
        raise UserError(f"prompt_token_ids must be in [0, {vocab_size}), got {prompt.min()} to {prompt.max()}")
    if prompt.size >= max_len:
        raise UserError(f"a prompt of {prompt.size} tokens leaves no room in max_len={max_len}; shorten it or raise it")
    stops = sorted({*stop_ids, *request.sampling.stop_token_ids})
    if len(stops) > MAX_STOP_IDS:
        raise UserError(f"at most {MAX_STOP_IDS} stop ids, with the tokenizer's own; got {len(stops)}")
    if stops and not 0 <= stops[0] <= stops[-1] < 2**31:
        raise UserError(f"stop ids must be token ids; got {stops}")
    padded = np.full(MAX_STOP_IDS, -1, np.int32)
    padded[: len(stops)] = stops
    return Live(id, request, prompt.astype(np.int32), padded, min(request.sampling.max_tokens, max_len - prompt.size))
