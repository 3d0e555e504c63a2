"""The sampling engine: continuous batching of requests.

The host owns admission, pages and bookkeeping in NumPy; a few compiled programs (`programs.py`) own the device. A
request's output is a function of its ids, settings, seed and the parameters alone, whatever runs beside it.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import logging
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from mxjax.errors import UserError
from mxjax.models import Policy
from mxjax.models.config import ModelConfig
from mxjax.sampling import attention as backends
from mxjax.sampling import programs
from mxjax.sampling.device import Device
from mxjax.sampling.pages import Pages
from mxjax.sampling.params import Completion, Request, SamplingParams, unseeded
from mxjax.sampling.programs import IDLE, PREFILL_ROWS
from mxjax.sampling.requests import Handle, Live, admissible

PREFILL_CALLS = 4  # between two decode chunks, so that long prompts do not stall decoding requests
_log = logging.getLogger(__name__)
COUNTED = ("requests", "prompt_tokens", "prefix_tokens", "prefill_tokens", "decode_tokens", "slot_steps")
PREFIX_CACHES = ("off", "prompts", "all")
# Settings of a request that its slot has unchanged.
AS_GIVEN = ("temperature", "top_p", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty")
NOT_FINITE = "the model's log-probabilities are not finite"


class _PromptChunk(NamedTuple):
    """The part of a prompt that fills page `page` of its table."""

    number: int
    live: Live
    page: int


class _DecodeChunk(NamedTuple):
    """A chunk of decode steps: the request of each slot, arrays of results."""

    rows: list[tuple[int, Live]]
    results: list[jax.Array]
    started: float


@dataclasses.dataclass(frozen=True)
class EngineSettings:
    """Sizes of an engine, and how it shares pages.

    Attributes:
      slots: requests decoded at once. All of them run at every step, whatever is live.
      pages, page_size: the cache is `pages` pages of `page_size` tokens, by default enough for every slot at `max_len`.
        With fewer, requests wait, or the youngest are set aside on the host, while there is no page for them.
      max_len: longest prompt + response in tokens, rounded up to pages, but never over the model's positions.
      decode_steps: most tokens per request between two looks of the host.
      prefix_cache: "prompts" shares the pages of prompts that begin with the same ids, which changes no bit of any
        output; "all" also those of responses, which decode computed: equal within rounding; "off" shares nothing.
      attention: "xla", "tpu", "tpu_narrow" or "gpu"; "auto" takes the kernel of this machine that fits the model, else
        xla.
    """

    slots: int = 64
    pages: int | None = None
    page_size: int = 64
    max_len: int | None = None
    decode_steps: int = 16
    prefix_cache: str = "prompts"
    attention: str = "auto"


class Layout(NamedTuple):
    """Division of an engine's memory into groups, slots, blocks and pages."""

    blocks: int
    max_len: int
    groups: int
    group_pages: int
    attention: str
    why_attention: str


def engine_layout(cfg: ModelConfig, settings: EngineSettings, mesh: jax.sharding.Mesh | None = None) -> Layout:
    """The memory layout of an engine with these settings for a model.

    It allocates no memory. Raises ValueError for settings that no engine can have.
    """
    positions, slots, page_size = cfg.max_position_embeddings, settings.slots, settings.page_size
    max_len = positions if settings.max_len is None else settings.max_len
    if not 2 <= max_len <= positions:
        raise UserError(f"max_len={max_len} must be at least 2 and at most the model's {positions} positions")
    for name in ("slots", "page_size", "decode_steps"):
        if getattr(settings, name) < 1:
            raise UserError(f"{name}={getattr(settings, name)} must be at least 1")
    if settings.prefix_cache not in PREFIX_CACHES:
        raise UserError(f"prefix_cache must be one of {', '.join(PREFIX_CACHES)}; got {settings.prefix_cache!r}")
    blocks = -(-max_len // page_size)
    groups = programs.slot_groups(slots, mesh)
    group_pages = programs.group_pages(settings.pages, slots, blocks, groups)
    kernel, why = backends.choose(settings.attention, cfg, page_size, mesh, slots=slots // groups, blocks=blocks)
    return Layout(blocks, min(blocks * page_size, positions), groups, group_pages, attention=kernel, why_attention=why)


class Engine:
    """Continuously batched sampling over one policy.

    Args:
      policy: `Policy` (params, config, tokenizer). The engine samples from its own per-layer copy of the parameters.
      mesh: mesh of the parameters, if they are sharded.
      **settings: fields of `EngineSettings`.
    """

    def __init__(self, policy: Policy, mesh: jax.sharding.Mesh | None = None, **settings):
        self.config, self.tokenizer = policy.config, policy.tokenizer
        s = EngineSettings(**settings)
        self.slots, self._size, self._steps, self.prefix_cache = s.slots, s.page_size, s.decode_steps, s.prefix_cache
        layout = engine_layout(self.config, s, mesh)
        self._blocks, self.max_len, self._groups, self._group_pages, self.attention, self.why_attention = layout
        devices = len(policy.params["embed"].sharding.device_set)
        if mesh is None and devices > 1:
            raise ValueError(f"the parameters lie on {devices} devices; pass the mesh they were made for as mesh=")
        backend = backends.BACKENDS[self.attention](self._size, mesh, self._groups)
        shape = self.slots, self._blocks, self._groups * self._group_pages
        self._device = Device(policy.params, self.config, backend, shape, decode_steps=self._steps, mesh=mesh)
        self._lives: dict[int, Live] = {}
        self._next_id = self._next_chunk = 0
        self._counters: collections.Counter[str] = collections.Counter()
        self._clock = time.monotonic
        self._reset()

    def _reset(self) -> None:
        """Empty slots, pages and queues, and drop all that was there."""
        S, total = self.slots, self._group_pages + 1  # and the first, the null page
        self._pages = [Pages(range(g * total + 1, (g + 1) * total), self._size) for g in range(self._groups)]
        self._null_pages = [g * total for g in range(self._groups)]
        self._waiting: collections.deque[Live] = collections.deque()
        self._running: list[Live | None] = [None] * S
        self._prompt_chunks: collections.deque[_PromptChunk] = collections.deque()
        self._lingering: list[Live] = []  # ended, but others count on prompt chunks of theirs
        self._in_flight: _DecodeChunk | None = None
        self._state = programs.idle_slots(S, self._blocks)

    # Requests

    def submit(self, request: Request) -> Handle:
        """Queue a request; raise ValueError if it can never run."""
        if not isinstance(request, Request):
            raise UserError(f"the engine takes a Request(prompt_token_ids, SamplingParams(...)); got {request!r:.80}")
        live = admissible(request, self._next_id, self.tokenizer.stop_ids, self.config.vocab_size, self.max_len)
        live.ends_at = math.inf if request.deadline_s is None else self._clock() + request.deadline_s
        self._next_id += 1
        self._lives[live.id] = live
        self._waiting.append(live)
        return Handle(self, live)

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """Completions of all requests, in their order.

        A request that `submit` refuses ends with "error"; the others run. If a step fails, none stays in the engine.
        """
        handles: list[Handle] = []
        try:
            for request in requests:
                try:
                    handles.append(self.submit(request))
                except UserError as error:
                    handles.append(self._refuse(request, str(error)))
            return [handle.result() for handle in handles]
        finally:
            for handle in handles:
                handle.cancel()

    def _refuse(self, request: Request, error: str) -> Handle:
        """A finished handle for a request that can never run."""
        live = Live(self._next_id, request, np.zeros(0, np.int32), np.zeros(0, np.int32), 0)
        live.complete(self.tokenizer.decode, "error", error)
        self._next_id += 1
        return Handle(self, live)

    def chat(self, messages: Sequence[Mapping[str, str]], **sampling) -> str:
        """The reply to a list of {"role", "content"}; keyword arguments are `SamplingParams`."""
        return self.submit(Request(self.tokenizer.chat_ids(messages), SamplingParams(**sampling))).result().text

    # Parameters and programs

    def warmup(self) -> dict[str, float]:
        """Compile and run every program once; return compile seconds by program."""
        if self._lives:
            raise RuntimeError("warmup() with live requests; call it before submitting")
        with self._aborting():
            self._prefill_group([])
            self._device.mark_seen(0, np.zeros(1, np.int32), 1)
            self._device.copy([])
            self._device.load([0], self._device.save([0]))
            self._collect(self._dispatch([]))
            self._device.clear()
            self._reset()  # what the pages held is gone
        self.reset_stats()
        seconds = dict(self._device.compile_s)
        _log.info("compiled %s", ", ".join(f"{name} in {s:.1f} s" for name, s in seconds.items()))
        return seconds

    def update_params(self, params: Mapping[str, Any], abort: bool = False) -> None:
        """Sample from a copy of `params` from now on.

        `abort` cancels live requests; without it they raise RuntimeError. The cache starts anew: nothing that the old
        parameters computed, be it NaN, reaches the new ones' samples. Raises ValueError for parameters of another shape
        or dtype; the old ones then stay. If the copy itself fails these are gone, and requests fail until another call
        succeeds.
        """
        if self._lives and not abort:
            raise RuntimeError("update_params() with live requests; let them finish, or cancel them with abort=True")
        for live in list(self._lives.values()):
            self._finish(live, "cancelled")
        with self._aborting():
            self._device.set_params(params)
            self._reset()

    # One step

    def step(self) -> list[Completion]:
        """Admit requests, start a decode chunk, and return the finished requests.

        While no request waits for a slot, the results of a chunk are read while the next one runs. An exception (of the
        device, of the tokenizer, an interrupt) reaches the caller; every request then ends with "error" and the engine
        is idle and usable.
        """
        with self._aborting():
            now = self._clock()
            finished = [self._finish(live, "deadline") for live in list(self._lives.values()) if live.ends_at <= now]
            if self._waiting or self._prompt_chunks:
                finished += self._collect_in_flight()
            self._admit()
            self._prefill()
            rows = self._rows_with_pages()
            if rows is None:
                finished += self._collect_in_flight()
                rows = self._rows_with_pages()
            previous, self._in_flight = self._in_flight, self._dispatch(rows) if rows else None
            if previous is not None:
                finished += self._collect(previous)
            all_ended = self._in_flight is not None and all(live.completion for _, live in self._in_flight.rows)
            if self._waiting or self._prompt_chunks or all_ended:
                finished += self._collect_in_flight()
            if not self._lives:
                self._device.idle()
            return finished

    @contextlib.contextmanager
    def _aborting(self):
        """On an exception, end every request and start with fresh memory."""
        try:
            yield
        except BaseException as error:
            for live in list(self._lives.values()):
                self._book(live, "error", f"{type(error).__name__}: {error}")
            self._reset()
            self._device.reset()
            raise

    # Admission and prefill

    def _admit(self) -> None:
        """Give slots and pages to waiting requests, in order of arrival."""
        while self._waiting and any(self._seat(self._waiting[0], g) for g in self._groups_for(self._waiting[0])):
            self._waiting.popleft()

    def _slots_of(self, group: int) -> range:
        size = self.slots // self._groups
        return range(group * size, (group + 1) * size)

    def _groups_for(self, live: Live) -> list[int]:
        """Groups with a free slot, by known part of the prompt, then pages."""
        free = [g for g in range(self._groups) if any(self._running[s] is None for s in self._slots_of(g))]
        if len(free) < 2:
            return free
        ids = live.prompt[:-1]
        return sorted(free, key=lambda g: (-len(self._pages[g].match(ids)), -self._pages[g].available))

    def _seat(self, live: Live, group: int) -> bool:
        """Give a request pages and a slot here; return whether that fits."""
        pages = self._pages[group]
        if live.saved is None:
            if not self._map_prompt(live, pages):
                return False
        else:
            end = live.prompt.size - 1 + len(live.tokens) + min(self._steps, live.left)
            table = pages.take(-(-end // self._size))  # also for its next steps, else it is set aside again at once
            if table is None:
                return False
            live.table = table
        live.group, live.slot = group, next(s for s in self._slots_of(group) if self._running[s] is None)
        self._running[live.slot] = live
        p = live.request.sampling
        seed = unseeded(live.id) if p.seed is None else p.seed
        self._set_slot(
            live.slot,
            max_tokens=live.budget,
            min_tokens=min(p.min_tokens, live.budget),
            seed=((seed >> 32) & 0xFFFFFFFF, seed & 0xFFFFFFFF),
            top_k=min(max(p.top_k, 0), self.config.vocab_size),
            stop_ids=live.stop_ids,
            **{name: getattr(p, name) for name in AS_GIVEN},
        )
        return True

    def _set_slot(self, slot: int, **settings) -> None:
        for name, value in settings.items():
            getattr(self._state, name)[slot] = value

    def _map_prompt(self, live: Live, pages: Pages) -> bool:
        """Give a prompt its pages, if there are enough; return whether so.

        Pages of known ids are shared; the others are fresh, to be prefilled. All but the last token are prefilled. The
        tail, less than a page, is copied from that of an identical prompt, since decode goes on writing behind it.
        """
        ids = live.prompt[:-1]
        full, tail = divmod(ids.size, self._size)
        known = [] if self.prefix_cache == "off" else pages.match(ids)
        pages.hold(known)
        fresh = pages.take(full + 1 - len(known[:full]))
        if fresh is None and len(known) > full:  # the page to copy from may be the one that is missing
            pages.release([known.pop()])
            fresh = pages.take(1)
        if fresh is None:
            pages.release(known)
            return False
        live.table = known[:full] + fresh
        live.copy_from = known[full] if len(known) > full else None
        for index in range(len(known), full + (tail > 0)):
            self._prompt_chunks.append(_PromptChunk(self._next_chunk, live, index))
            self._next_chunk += 1
        live.ready_after = self._next_chunk  # also after those whose pages it shares
        if self.prefix_cache != "off":
            pages.publish(ids, live.table)
        self._counters["prompt_tokens"] += ids.size
        self._counters["prefix_tokens"] += min(len(known) * self._size, ids.size)
        return True

    def _prefill(self) -> None:
        """Run prompt chunks, then start the requests with complete prompts."""
        calls = PREFILL_CALLS if any(live and live.decoding for live in self._running) else math.inf
        while self._prompt_chunks and calls:
            count = min(PREFILL_ROWS, len(self._prompt_chunks))
            self._prefill_group([self._prompt_chunks.popleft() for _ in range(count)])
            calls -= 1
        next_chunk = self._prompt_chunks[0].number if self._prompt_chunks else math.inf
        for live in [live for live in self._lingering if live.ready_after <= next_chunk]:
            self._lingering.remove(live)
            self._release(live)
        self._begin([live for live in self._running if live and not live.decoding and live.ready_after <= next_chunk])

    def _prefill_group(self, chunks: list[_PromptChunk]) -> None:
        tokens = np.zeros((PREFILL_ROWS, self._size), np.int32)
        table = np.zeros((PREFILL_ROWS, self._blocks), np.int32)
        start = np.zeros(PREFILL_ROWS, np.int32)
        for r, (_, live, index) in enumerate(chunks):
            start[r] = index * self._size
            piece = live.prompt[:-1][start[r] : start[r] + self._size]
            tokens[r, : piece.size], table[r, : len(live.table)] = piece, live.table
            self._counters["prefill_tokens"] += piece.size
        self._device.prefill(tokens, table, start)

    def _begin(self, lives: list[Live]) -> None:
        """Let requests decode, after copying or restoring what they lack."""
        copies = [(live, live.copy_from) for live in lives if live.copy_from is not None]
        if copies:
            self._device.copy([(source, live.table[-1]) for live, source in copies])
            for live, source in copies:
                self._pages[live.group].release([source])
                live.copy_from = None
        for live in lives:
            if live.saved is not None:
                self._device.load(live.table[: len(live.saved[0][0])], live.saved)
                live.saved = None
            ids = np.concatenate([live.prompt, np.array(live.tokens, np.int32)])
            if live.request.sampling.penalised:
                self._device.mark_seen(live.slot, ids, live.prompt.size)
            for field, value in zip(self._state.begin, (ids[-1], ids.size - 1, len(live.tokens), True), strict=True):
                field[live.slot] = value
            self._state.fresh[live.slot] = self._state.live[live.slot] = live.decoding = True

    # Decode

    def _rows_with_pages(self) -> list[Live] | None:
        """The requests that decode next, with pages for the coming steps.

        The oldest are served first. If pages are missing, the youngest of the group is set aside on the host. That
        needs to know how far it is: None while a chunk is in flight.
        """
        going = [live for live in self._running if live and live.decoding]
        if not any(live.left > 0 for live in going):
            return []
        for live in sorted(going, key=lambda live: live.id):
            end = live.prompt.size - 1 + len(live.tokens) + live.in_flight + min(self._steps, live.left)
            while live.decoding:
                fresh = self._pages[live.group].take(max(-(-end // self._size) - len(live.table), 0))
                if fresh is not None:
                    live.table += fresh
                    break
                if self._in_flight is not None:
                    return None
                mates = [mate for mate in self._running if mate and mate.decoding and mate.group == live.group]
                self._preempt(max(mates, key=lambda mate: mate.id))
        return [live for live in going if live.decoding]

    def _preempt(self, live: Live) -> None:
        """Move a request's pages to the host, and the request to the front."""
        written = -(-live.written.size // self._size)
        live.saved = self._device.save(live.table[:written])
        self._leave(live)
        live.decoding = False
        self._waiting.appendleft(live)
        self._counters["preemptions"] += 1

    def _dispatch(self, rows: list[Live]) -> _DecodeChunk:
        """Start a chunk, which ends early once waiting requests would fit."""
        state = self._state
        for slot, live in enumerate(self._running):
            state.table[slot] = self._null_pages[slot // (self.slots // self._groups)]
            if live:
                state.table[slot, : len(live.table)] = live.table
        enough = max(1, self.slots // 8) if self._waiting else self.slots + 1
        results, start = self._device.decode(state, enough)
        state.fresh[:] = False
        for live in rows:
            live.in_flight += self._steps
        return _DecodeChunk([(live.slot, live) for live in rows], results, start)

    def _collect_in_flight(self) -> list[Completion]:
        chunk, self._in_flight = self._in_flight, None
        return [] if chunk is None else self._collect(chunk)

    def _collect(self, chunk: _DecodeChunk) -> list[Completion]:
        """Record the tokens of a chunk; return completions of finished requests."""
        tokens, logprobs, model_logprobs, counts, stopped = self._device.collect(chunk.results, chunk.started)
        self._counters["slot_steps"] += self.slots * int(counts.max(initial=0))
        finished = []
        for slot, live in chunk.rows:
            live.in_flight -= self._steps
            if live.completion is not None:  # ended meanwhile
                continue
            n = int(counts[slot])
            live.tokens.extend(tokens[slot, :n].tolist())
            live.logprobs.extend(logprobs[slot, :n])
            live.model_logprobs.extend(model_logprobs[slot, :n])
            self._counters["decode_tokens"] += n
            if live.cut_where_not_finite(n):
                finished.append(self._finish(live, "error", NOT_FINITE))
            elif live.cut_at_stop_string(self.tokenizer.decode, n) or stopped[slot]:
                finished.append(self._finish(live, "stop"))
            elif len(live.tokens) >= live.budget:
                finished.append(self._finish(live, "length"))
        return finished

    # Ends

    def _finish(self, live: Live, reason: str, error: str | None = None) -> Completion:
        """End a request wherever it is, with what was sampled so far."""
        if live.slot < 0:
            self._waiting.remove(live)
        elif self.prefix_cache == "all" and live.decoding and error is None:
            whole = live.written.size // self._size * self._size
            self._pages[live.group].publish(live.written[:whole], live.table)
        self._leave(live)
        return self._book(live, reason, error)

    def _book(self, live: Live, reason: str, error: str | None = None) -> Completion:
        self._counters["requests"] += 1
        del self._lives[live.id]
        live.saved = None  # keeping the handle must not keep the pages
        try:
            return live.complete(self.tokenizer.decode, reason, error)
        except BaseException as failure:
            live.complete(self.tokenizer.decode, "error", f"{type(failure).__name__}: {failure}")
            raise

    def _leave(self, live: Live) -> None:
        """Give back slot and pages, those that others wait for once filled."""
        if live.slot < 0:
            return
        self._running[live.slot] = None
        self._state.live[live.slot] = self._state.fresh[live.slot] = False
        self._set_slot(live.slot, **{name: value for name, (value, _) in IDLE.items()})
        live.slot = -1
        to_fill = [chunk.page for chunk in self._prompt_chunks if chunk.live is live]
        pages = self._pages[live.group]
        if to_fill and pages.holders(live.table[to_fill[0]]) > 1:
            self._lingering.append(live)
            return
        if to_fill:
            self._prompt_chunks = collections.deque(chunk for chunk in self._prompt_chunks if chunk.live is not live)
            pages.unpublish(live.table[to_fill[0] :])
        self._release(live)

    def _release(self, live: Live) -> None:
        pages = self._pages[live.group]
        if live.copy_from is not None:
            pages.release([live.copy_from])
        pages.release(live.table)
        live.table, live.copy_from = [], None

    # Statistics

    def reset_stats(self) -> None:
        """Reset the counters of `stats`; compiles are kept."""
        self._counters.clear()
        self._device.seconds.clear()
        self._device.idle()

    def stats(self) -> dict[str, float]:
        """Counts and rates since warm-up or `reset_stats`.

        Requests, tokens, device seconds and tokens/s by phase; compiles are all there were. `occupancy` is the share of
        slots that sampled a token, over all decode steps; `prefix_hit_rate` that of prompt tokens that were not
        prefilled since their pages were known; `host_share` the share of time, at most, in which the device was idle
        though requests were there. `pages_held` are those of live requests.
        """
        c, seconds = self._counters, collections.defaultdict(int, self._device.seconds)
        ratio = lambda part, whole: part / whole if whole else 0.0
        with_work = sum(seconds.values())
        device_s = with_work - seconds["idle"]
        return {
            **{name: c[name] for name in COUNTED},
            "prefill_s": seconds["prefill"],
            "decode_s": seconds["decode"],
            "device_s": device_s,
            "idle_s": seconds["idle"],
            "host_share": ratio(seconds["idle"], with_work),
            "prefill_tokens_per_s": ratio(c["prefill_tokens"], seconds["prefill"]),
            "decode_tokens_per_s": ratio(c["decode_tokens"], seconds["decode"]),
            "occupancy": ratio(c["decode_tokens"], c["slot_steps"]),
            "prefix_hit_rate": ratio(c["prefix_tokens"], c["prompt_tokens"]),
            "preemptions": c["preemptions"],
            "pages_held": sum(pages.held for pages in self._pages),
            "waiting": len(self._waiting),
            "live": sum(live is not None for live in self._running),
            "compiles": len(self._device.programs),
            "compile_s": sum(self._device.compile_s.values()),
        }
