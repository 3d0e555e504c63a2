"""The sampling engine: requests in, completions out, every slot refilled while the others still run.

The host owns admission and bookkeeping in NumPy; two compiled programs (`programs.py`) own the device. A request's
output is a function of its ids, settings, seed and the parameters alone: not of slot, batch mates or arrival.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import math
import time
from collections.abc import Mapping, Sequence

import jax
import numpy as np

from mxjax.sampling import programs
from mxjax.sampling.params import MAX_STOP_IDS, Completion, Request, SamplingParams
from mxjax.sampling.programs import PREFILL_ROWS


class Handle:
    """A submitted request. `result()` drives the engine until this request is done."""

    def __init__(self, engine: Engine, request_id: int):
        self._engine, self.id = engine, request_id
        self._completion: Completion | None = None

    @property
    def done(self) -> bool:
        """Whether the completion is there."""
        return self._completion is not None

    def result(self) -> Completion:
        """The completion; steps the engine until it is there. What `Engine.step` raises reaches the caller."""
        while self._completion is None:
            self._engine.step()
        return self._completion

    def cancel(self) -> None:
        """Gives the slot back; the completion then holds what was sampled so far. Does nothing once done."""
        self._engine._cancel(self.id)


@dataclasses.dataclass(eq=False)
class _Live:
    """A request on its way: its ids, its slot once admitted, and what was sampled so far."""

    handle: Handle
    request: Request
    prompt: np.ndarray
    stop_ids: np.ndarray
    budget: int
    ends_at: float  # on the engine's clock
    slot: int = -1
    tokens: list = dataclasses.field(default_factory=list)
    logprobs: list = dataclasses.field(default_factory=list)
    model_logprobs: list = dataclasses.field(default_factory=list)


class Engine:
    """Continuously batched sampling over one policy.

    Args:
      policy: `Policy` (params, config, tokenizer). The engine samples from its own per-layer copy of the parameters.
      slots: requests decoded at once. All of them run at every step, whatever is live.
      pages, page_size: attention reads the cache in blocks of `page_size` tokens; `pages` bounds the cache, in pages:
        there are at most pages * page_size / max_len slots.
      max_len: longest prompt + response in tokens, rounded up to pages, but never over the model's positions.
      mesh: mesh of the parameters, if they are sharded.
      decode_steps: most tokens per request between two looks of the host.
    """

    def __init__(self, policy, slots=64, pages=None, page_size=64, max_len=None, mesh=None, decode_steps=16):
        cfg = policy.config
        wanted = cfg.max_position_embeddings if max_len is None else max_len
        if not 2 <= wanted <= cfg.max_position_embeddings:
            raise ValueError(
                f"max_len={wanted} must be at least 2 and at most the model's {cfg.max_position_embeddings} positions"
            )
        length = -(-wanted // page_size) * page_size
        self.max_len = min(length, cfg.max_position_embeddings)
        if pages is not None:
            if pages * page_size < length:
                raise ValueError(f"pages={pages} of {page_size} tokens hold no request of max_len={length} tokens")
            slots = min(slots, pages * page_size // length)
        if slots < 1:
            raise ValueError(f"slots={slots} must be at least 1")
        self.config, self.tokenizer, self.slots = cfg, policy.tokenizer, slots
        self._chunk = page_size
        self._mesh = mesh
        sizes = (cfg, slots, length // page_size, page_size, mesh)
        self._empty_memory = lambda: programs.empty_memory(*sizes)
        self._memory = self._empty_memory()
        self._jitted = programs.jitted(cfg, decode_steps, programs.memory_layout(*sizes))
        self._programs: dict[str, jax.stages.Compiled] = {}
        self._compile_s: dict[str, float] = {}
        self._params = programs.split_layers(policy.params, cfg, mesh)
        devices = len(self._params["embed"].sharding.device_set)
        if mesh is None and devices > 1:
            raise ValueError(f"the parameters lie on {devices} devices; pass the mesh they were made for as mesh=")
        self._lives: dict[int, _Live] = {}
        self._waiting: collections.deque[_Live] = collections.deque()
        self._running: list[_Live | None] = [None] * slots
        self._next_id = 0
        self._state = programs.idle_slots(slots)
        self._counters = collections.Counter()
        self._clock = time.monotonic
        self._stood_since: float | None = None  # when the device last ran out of work that was there to do

    # Requests

    def submit(self, request: Request) -> Handle:
        """Queues a request. Raises ValueError, in one sentence, for one that can never run."""
        prompt = self._checked_prompt(request.prompt_token_ids)
        stops = sorted({*self.tokenizer.stop_ids, *request.sampling.stop_token_ids})
        if len(stops) > MAX_STOP_IDS:
            raise ValueError(f"at most {MAX_STOP_IDS} stop ids, with the tokenizer's own; got {len(stops)}")
        if stops and not 0 <= stops[0] <= stops[-1] < 2**31:
            raise ValueError(f"stop ids must be token ids; got {stops}")
        padded = np.full(MAX_STOP_IDS, -1, np.int32)
        padded[: len(stops)] = stops
        live = _Live(
            Handle(self, self._next_id), request, prompt, padded,
            min(request.sampling.max_tokens, self.max_len - prompt.size),
            math.inf if request.deadline_s is None else self._clock() + request.deadline_s,
        )  # fmt: skip
        self._next_id += 1
        self._lives[live.handle.id] = live
        self._waiting.append(live)
        return live.handle

    def _checked_prompt(self, ids: Sequence[int]) -> np.ndarray:
        prompt, vocab = np.asarray(ids), self.config.vocab_size
        if prompt.ndim != 1 or prompt.size == 0 or prompt.dtype.kind not in "iu":
            raise ValueError("prompt_token_ids must be a non-empty list of ids")
        if prompt.min() < 0 or prompt.max() >= vocab:
            raise ValueError(f"prompt_token_ids must be in [0, {vocab}), got {prompt.min()} to {prompt.max()}")
        if prompt.size >= self.max_len:
            raise ValueError(
                f"a prompt of {prompt.size} tokens leaves no room in max_len={self.max_len}; shorten it or raise it"
            )
        return prompt.astype(np.int32)

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """Completions of all requests, in their order. If one is refused or a step fails, none stays behind."""
        handles = []
        try:
            for request in requests:
                handles.append(self.submit(request))
            return [handle.result() for handle in handles]
        finally:
            for handle in handles:
                handle.cancel()

    def chat(self, messages: Sequence[Mapping[str, str]], **sampling) -> str:
        """The reply to a list of {"role", "content"}; keyword arguments are `SamplingParams`."""
        request = Request(self.tokenizer.chat_ids(messages), SamplingParams(**sampling))
        return self.submit(request).result().text

    def _cancel(self, request_id: int) -> None:
        live = self._lives.get(request_id)
        if live is not None:
            self._end(live, "cancelled")

    def _end(self, live: _Live, reason: str) -> Completion:
        """Ends a request wherever it is, with what was sampled so far."""
        if live.slot < 0:
            self._waiting.remove(live)
        return self._finish(live, reason)

    # Device programs

    def _run(self, name: str, *args):
        """Runs a program, compiling it the first time. Afterwards any other shape would be an error, not a compile."""
        if name not in self._programs:
            start = time.perf_counter()
            self._programs[name] = self._jitted[name].lower(self._params, self._memory, *args).compile()
            self._compile_s[name] = time.perf_counter() - start
        start = time.perf_counter()
        if self._stood_since is not None:
            self._counters["stood_s"] += start - self._stood_since
        memory, self._memory = self._memory, None  # donated: an exception from here on leaves none
        out = jax.block_until_ready(self._programs[name](self._params, memory, *args))
        self._stood_since = time.perf_counter()
        self._counters[name + "_s"] += self._stood_since - start
        self._counters[name + "_calls"] += 1
        return out

    def warmup(self) -> dict[str, float]:
        """Compiles every program by running it once on idle slots; returns compile seconds by program."""
        if self._lives:
            raise RuntimeError("warmup() with live requests; call it before submitting")
        with self._aborting():
            self._prefill_chunk(0, [])
            self._mark_seen(0, np.zeros(1, np.int32))
            self._memory, *_ = self._run("decode", self._state)
        self._counters.clear()
        self._stood_since = None
        return dict(self._compile_s)

    def update_params(self, params: dict, abort: bool = False) -> None:
        """Samples from a copy of `params` from now on. `abort` cancels live requests; else they raise RuntimeError.

        The cache starts anew: nothing that the old parameters computed, be it NaN, reaches the new ones' samples.
        """
        if self._lives and not abort:
            raise RuntimeError("update_params() with live requests; let them finish, or cancel them with abort=True")
        for live in list(self._lives.values()):
            self._end(live, "cancelled")
        self._params = self._memory = None  # room for the new before the old is gone would be twice the memory
        self._params = programs.split_layers(params, self.config, self._mesh)
        self._memory = self._empty_memory()

    def _prefill(self, admitted: list[_Live]) -> None:
        """Fills the cache with all but the last token of each prompt, PREFILL_ROWS chunks at a time."""
        longest = max(live.prompt.size for live in admitted)
        for start in range(0, longest - 1, self._chunk):
            reach = [live for live in admitted if live.prompt.size - 1 > start]
            for first in range(0, len(reach), PREFILL_ROWS):
                self._prefill_chunk(start, reach[first : first + PREFILL_ROWS])

    def _prefill_chunk(self, start: int, group: list[_Live]) -> None:
        tokens = np.zeros((PREFILL_ROWS, self._chunk), np.int32)
        slots = np.zeros(PREFILL_ROWS, np.int32)
        for r in range(PREFILL_ROWS if group else 0):
            live = group[r] if r < len(group) else group[0]  # unused rows repeat the first
            piece = live.prompt[start : min(start + self._chunk, live.prompt.size - 1)]
            tokens[r, : piece.size], slots[r] = piece, live.slot
            self._counters["prefill_tokens"] += piece.size if r < len(group) else 0
        self._memory = self._run("prefill", tokens, slots, np.int32(start))

    def _mark_seen(self, slot: int, prompt: np.ndarray) -> None:
        ids = np.zeros(self.max_len, np.int32)
        ids[: prompt.size] = prompt
        self._memory = self._run("mark_seen", np.int32(slot), ids, np.int32(prompt.size), np.int32(prompt.size))

    def step(self) -> list[Completion]:
        """Admits what fits, runs one chunk of decode steps for all slots, returns the requests that finished.

        An exception (of the device, of the tokenizer, an interrupt) reaches the caller; every request then ends with
        "error" and the engine is idle and usable.
        """
        with self._aborting():
            finished = self._expire()
            self._admit()
            if any(self._running):
                self._memory, *out = self._run("decode", self._state)
                finished += self._collect(*jax.device_get(out))
            if not self._lives:
                self._stood_since = None
            return finished

    def _expire(self) -> list[Completion]:
        """Ends the requests whose deadline has passed."""
        now = self._clock()
        return [self._end(live, "deadline") for live in list(self._lives.values()) if live.ends_at <= now]

    @contextlib.contextmanager
    def _aborting(self):
        """On an exception ends every request and replaces the cache, which a failed program may have taken along."""
        try:
            yield
        except BaseException as error:
            self._waiting.clear()
            for live in list(self._lives.values()):
                self._finish(live, "error", f"{type(error).__name__}: {error}")
            self._memory = self._stood_since = None
            self._memory = self._empty_memory()
            raise

    def _collect(self, tokens, logprobs, model_logprobs, counts, stopped) -> list[Completion]:
        """Books what a decode chunk sampled; the completions of those that finished with it."""
        finished = []
        self._counters["slot_steps"] += self.slots * int(counts.max(initial=0))
        for live in [live for live in self._running if live is not None]:
            s, n = live.slot, int(counts[live.slot])
            live.tokens.extend(tokens[s, :n].tolist())
            live.logprobs.extend(logprobs[s, :n])
            live.model_logprobs.extend(model_logprobs[s, :n])
            self._counters["decode_tokens"] += n
            self._state.token[s] = live.tokens[-1]
            self._state.position[s] += n
            self._state.index[s] += n
            if self._cut_at_stop_string(live, n) or stopped[s]:
                finished.append(self._finish(live, "stop"))
            elif len(live.tokens) >= live.budget:
                finished.append(self._finish(live, "length"))
        return finished

    def _admit(self) -> None:
        admitted = []
        for slot in range(self.slots):
            if self._running[slot] is None and self._waiting:
                live = self._waiting.popleft()
                live.slot = slot
                self._running[slot] = live
                admitted.append(live)
                p, state = live.request.sampling, self._state
                seed = int(live.handle.id if p.seed is None else p.seed)
                state.token[slot], state.position[slot] = live.prompt[-1], live.prompt.size - 1
                state.index[slot], state.max_tokens[slot] = 0, live.budget
                state.min_tokens[slot] = min(p.min_tokens, live.budget)
                state.seed[slot] = (seed >> 32) & 0xFFFFFFFF, seed & 0xFFFFFFFF
                state.temperature[slot] = p.temperature
                state.top_k[slot] = min(max(p.top_k, 0), self.config.vocab_size)
                state.top_p[slot], state.min_p[slot] = p.top_p, p.min_p
                state.repetition_penalty[slot] = p.repetition_penalty
                state.presence_penalty[slot] = p.presence_penalty
                state.frequency_penalty[slot] = p.frequency_penalty
                state.stop_ids[slot], state.live[slot] = live.stop_ids, True
                if p.penalised:
                    self._mark_seen(slot, live.prompt)
        if admitted:
            self._prefill(admitted)

    def _stop_string_at(self, live: _Live, end: int) -> int:
        """Where a stop string begins in the text of the first `end` tokens, -1 if none does."""
        stops, early = live.request.sampling.stop, live.request.sampling.min_tokens
        text = self.tokenizer.decode(live.tokens[:end])
        done = len(self.tokenizer.decode(live.tokens[:early])) if early else 0  # no stop string may end by here
        found = [text.find(stop, max(0, done - len(stop) + 1)) for stop in stops]
        return min((start for start in found if start >= 0), default=-1)

    def _cut_at_stop_string(self, live: _Live, new: int) -> bool:
        """Whether a stop string has appeared; then drops the ids sampled after the one that completed it."""
        count = len(live.tokens)
        if not live.request.sampling.stop or self._stop_string_at(live, count) < 0:
            return False
        end = next(end for end in range(count - new + 1, count + 1) if self._stop_string_at(live, end) >= 0)
        del live.tokens[end:], live.logprobs[end:], live.model_logprobs[end:]
        return True

    def _finish(self, live: _Live, reason: str, error: str | None = None) -> Completion:
        if live.slot >= 0:
            self._running[live.slot] = None
            self._state.live[live.slot] = False
            self._state.repetition_penalty[live.slot] = 1.0
            self._state.presence_penalty[live.slot] = self._state.frequency_penalty[live.slot] = 0.0
        text = "" if error else self.tokenizer.decode(live.tokens)
        if live.request.sampling.stop and reason == "stop":
            cut = self._stop_string_at(live, len(live.tokens))
            text = text if cut < 0 else text[:cut]
        completion = Completion(
            live.handle.id, np.array(live.tokens, np.int32), text, np.array(live.logprobs, np.float32),
            np.array(live.model_logprobs, np.float32), reason, error,
        )  # fmt: skip
        self._counters["requests"] += 1
        live.handle._completion = completion
        del self._lives[live.handle.id]
        return completion

    def reset_stats(self) -> None:
        """Starts the counters of `stats` anew; compiles are kept."""
        self._counters.clear()

    def stats(self) -> dict[str, float]:
        """Since warm-up or `reset_stats`: requests, tokens, device seconds and tokens/s by phase; all compiles.

        `occupancy` is the share of slots that sampled a token, over all decode steps; `host_share` the share of time in
        which the device stood still though requests were there.
        """
        c = self._counters
        device_s = c["prefill_s"] + c["mark_seen_s"] + c["decode_s"]
        return {
            "requests": c["requests"],
            "prefill_tokens": c["prefill_tokens"],
            "decode_tokens": c["decode_tokens"],
            "prefill_s": c["prefill_s"],
            "decode_s": c["decode_s"],
            "device_s": device_s,
            "host_share": c["stood_s"] / (device_s + c["stood_s"]) if device_s else 0.0,
            "prefill_tokens_per_s": c["prefill_tokens"] / c["prefill_s"] if c["prefill_s"] else 0.0,
            "decode_tokens_per_s": c["decode_tokens"] / c["decode_s"] if c["decode_s"] else 0.0,
            "occupancy": c["decode_tokens"] / c["slot_steps"] if c["slot_steps"] else 0.0,
            "waiting": len(self._waiting),
            "live": sum(live is not None for live in self._running),
            "compiles": len(self._programs),
            "compile_s": sum(self._compile_s.values()),
        }
