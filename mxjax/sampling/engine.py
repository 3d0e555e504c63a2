"""The sampling engine: requests in, completions out, every slot refilled while the others still run.

The host owns admission, pages and bookkeeping in NumPy; a few compiled programs (`programs.py`) own the device. A
request's output is a function of its ids, settings, seed and the parameters alone: not of slot, pages, batch mates or
arrival.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import math
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np

from mxjax.errors import UserError
from mxjax.models.config import ModelConfig
from mxjax.sampling import attention as backends
from mxjax.sampling import programs
from mxjax.sampling.device import Device
from mxjax.sampling.pages import Pages
from mxjax.sampling.params import Completion, Request, SamplingParams, unseeded
from mxjax.sampling.programs import IDLE, PREFILL_ROWS
from mxjax.sampling.requests import Live, admissible

PREFILL_CALLS = 4  # between two decode chunks, so that long prompts do not stall those who decode
_log = logging.getLogger(__name__)
PREFIX_CACHES = ("off", "prompts", "all")
NOT_FINITE = "the model's log-probabilities are not finite"


class Handle:
    """A submitted request. `result()` drives the engine until this request is done."""

    def __init__(self, engine: Engine, live: Live):
        self._engine, self._live, self.id = engine, live, live.id

    @property
    def done(self) -> bool:
        """Whether the completion is there."""
        return self._live.completion is not None

    def result(self) -> Completion:
        """The completion; steps the engine until it is there. What `Engine.step` raises reaches the caller."""
        while (completion := self._live.completion) is None:
            self._engine.step()
        return completion

    def cancel(self) -> None:
        """Gives slot and pages back; the completion then holds what was sampled so far. Does nothing once done."""
        if not self.done:
            self._engine._finish(self._live, "cancelled")


class _PromptChunk(NamedTuple):
    """The part of a prompt that fills page `page` of its table. Chunks are prefilled in the order of their numbers."""

    number: int
    live: Live
    page: int


class _DecodeChunk(NamedTuple):
    """Decode steps that the device runs or has run: who was in which slot, and the arrays of results."""

    rows: list[tuple[int, Live]]
    results: list[jax.Array]
    started: float


class Layout(NamedTuple):
    """How an engine divides its memory: blocks of a slot, longest request, groups of slots, pages of each, kernel."""

    blocks: int
    max_len: int
    groups: int
    group_pages: int
    attention: str
    why_attention: str


def engine_layout(
    cfg: ModelConfig, slots=64, pages=None, page_size=64, max_len=None, mesh=None, decode_steps=16,
    prefix_cache="prompts", attention="auto",
) -> Layout:  # fmt: skip
    """The layout of an engine of these settings for such a model; takes no memory.

    Raises ValueError, in one sentence, for settings that no engine can have.
    """
    wanted = cfg.max_position_embeddings if max_len is None else max_len
    if not 2 <= wanted <= cfg.max_position_embeddings:
        raise UserError(
            f"max_len={wanted} must be at least 2 and at most the model's {cfg.max_position_embeddings} positions"
        )
    for name, value in (("slots", slots), ("page_size", page_size), ("decode_steps", decode_steps)):
        if value < 1:
            raise UserError(f"{name}={value} must be at least 1")
    if prefix_cache not in PREFIX_CACHES:
        raise UserError(f"prefix_cache must be one of {', '.join(PREFIX_CACHES)}; got {prefix_cache!r}")
    blocks = -(-wanted // page_size)
    groups = programs.slot_groups(slots, mesh)
    group_pages = programs.group_pages(pages, slots, blocks, groups)
    chosen = backends.choose(attention, cfg, page_size, mesh, slots=slots // groups, blocks=blocks)
    return Layout(blocks, min(blocks * page_size, cfg.max_position_embeddings), groups, group_pages, *chosen)


class Engine:
    """Continuously batched sampling over one policy.

    Args:
      policy: `Policy` (params, config, tokenizer). The engine samples from its own per-layer copy of the parameters.
      slots: requests decoded at once. All of them run at every step, whatever is live.
      pages, page_size: the cache is `pages` pages of `page_size` tokens, by default enough for every slot at `max_len`.
        With fewer, requests wait, or the youngest are set aside on the host, while there is no page for them.
      max_len: longest prompt + response in tokens, rounded up to pages, but never over the model's positions.
      mesh: mesh of the parameters, if they are sharded.
      decode_steps: most tokens per request between two looks of the host.
      prefix_cache: "prompts" shares the pages of prompts that begin with the same ids, which changes no bit of any
        output; "all" also those of responses, which decode computed: equal within rounding; "off" shares nothing.
      attention: "xla", "tpu", "tpu_narrow" or "gpu"; "auto" takes the kernel of this machine that fits the model, else
        xla.
    """

    def __init__(
        self, policy, slots=64, pages=None, page_size=64, max_len=None, mesh=None, decode_steps=16,
        prefix_cache="prompts", attention="auto",
    ):  # fmt: skip
        cfg = policy.config
        layout = engine_layout(cfg, slots, pages, page_size, max_len, mesh, decode_steps, prefix_cache, attention)
        self._blocks, self.max_len, self._groups, self._group_pages, self.attention, self.why_attention = layout
        self.config, self.tokenizer, self.slots = cfg, policy.tokenizer, slots
        self._size, self._steps, self.prefix_cache = page_size, decode_steps, prefix_cache
        devices = len(policy.params["embed"].sharding.device_set)
        if mesh is None and devices > 1:
            raise ValueError(f"the parameters lie on {devices} devices; pass the mesh they were made for as mesh=")
        backend, pages = (
            backends.BACKENDS[self.attention](page_size, mesh, self._groups),
            self._groups * self._group_pages,
        )
        self._device = Device(policy.params, cfg, backend, slots, self._blocks, pages, decode_steps, mesh)
        self._lives: dict[int, Live] = {}
        self._next_id = self._next_chunk = 0
        self._counters: collections.Counter[str] = collections.Counter()
        self._clock = time.monotonic
        self._reset()

    def _reset(self) -> None:
        """Empty slots, pages and queues. What was there is dropped, whoever wants it."""
        S, total = self.slots, self._group_pages + 1  # and the first, which is nobody's
        self._pages = [Pages(range(g * total + 1, (g + 1) * total), self._size) for g in range(self._groups)]
        self._nobodys = [g * total for g in range(self._groups)]
        self._waiting: collections.deque[Live] = collections.deque()
        self._running: list[Live | None] = [None] * S
        self._prompt_chunks: collections.deque[_PromptChunk] = collections.deque()
        self._lingering: list[Live] = []  # ended, but others count on prompt chunks of theirs
        self._in_flight: _DecodeChunk | None = None
        self._state = programs.idle_slots(S, self._blocks)

    # Requests

    def submit(self, request: Request) -> Handle:
        """Queues a request. Raises ValueError, in one sentence, for one that can never run."""
        if not isinstance(request, Request):
            raise UserError(f"the engine takes a Request(prompt_token_ids, SamplingParams(...)); got {request!r:.80}")
        live = admissible(request, self._next_id, self.tokenizer.stop_ids, self.config.vocab_size, self.max_len)
        if request.deadline_s is not None:
            live.ends_at = self._clock() + request.deadline_s
        self._next_id += 1
        self._lives[live.id] = live
        self._waiting.append(live)
        return Handle(self, live)

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """Completions of all requests, in their order; one that `submit` refuses ends with "error", the others run.

        If a step fails none stays behind.
        """
        handles: list[Handle | Completion] = []
        try:
            for request in requests:
                try:
                    handles.append(self.submit(request))
                except UserError as error:
                    handles.append(self._refused(str(error)))
            return [handle if isinstance(handle, Completion) else handle.result() for handle in handles]
        finally:
            for handle in handles:
                if isinstance(handle, Handle):
                    handle.cancel()

    def _refused(self, error: str) -> Completion:
        """The completion of a request that can never run."""
        self._next_id += 1
        nothing = np.zeros(0, np.float32)
        return Completion(self._next_id - 1, np.zeros(0, np.int32), "", nothing, nothing, "error", error)

    def chat(self, messages: Sequence[Mapping[str, str]], **sampling) -> str:
        """The reply to a list of {"role", "content"}; keyword arguments are `SamplingParams`."""
        request = Request(self.tokenizer.chat_ids(messages), SamplingParams(**sampling))
        return self.submit(request).result().text

    # Parameters and programs

    def warmup(self) -> dict[str, float]:
        """Compiles every program by running it once on idle slots; returns, and logs, compile seconds by program."""
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

    def update_params(self, params: dict, abort: bool = False) -> None:
        """Samples from a copy of `params` from now on. `abort` cancels live requests; else they raise RuntimeError.

        The cache starts anew: nothing that the old parameters computed, be it NaN, reaches the new ones' samples.
        Raises ValueError for parameters of another shape or dtype; the old ones then stay. If the copy itself fails
        these are gone, and requests fail in one sentence until another call succeeds.
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
        """Admits what fits, starts a chunk of decode steps for all slots, returns the requests that finished.

        While nobody waits for a slot, the results of a chunk are looked at while the next one runs. An exception (of
        the device, of the tokenizer, an interrupt) reaches the caller; every request then ends with "error" and the
        engine is idle and usable.
        """
        with self._aborting():
            finished = self._expire()
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
            if self._waiting or self._prompt_chunks:
                finished += self._collect_in_flight()
            if self._in_flight is not None and all(live.completion for _, live in self._in_flight.rows):
                finished += self._collect_in_flight()
            if not self._lives:
                self._device.idle()
            return finished

    @contextlib.contextmanager
    def _aborting(self):
        """On an exception ends every request and starts anew: a failed program may have taken the memory along."""
        try:
            yield
        except BaseException as error:
            for live in list(self._lives.values()):
                self._book(live, "error", f"{type(error).__name__}: {error}")
            self._reset()
            self._device.reset()
            raise

    def _expire(self) -> list[Completion]:
        """Ends the requests whose deadline has passed."""
        now = self._clock()
        return [self._finish(live, "deadline") for live in list(self._lives.values()) if live.ends_at <= now]

    # Admission and prefill

    def _admit(self) -> None:
        """Gives slots and pages to those who wait, in order; nobody overtakes, so nobody starves."""
        while self._waiting:
            first = self._waiting[0]
            if not any(self._seat(first, group) for group in self._groups_for(first)):
                return
            self._waiting.popleft()

    def _slots_of(self, group: int) -> range:
        size = self.slots // self._groups
        return range(group * size, (group + 1) * size)

    def _groups_for(self, live: Live) -> list[int]:
        """Groups with a free slot: first those that know most of the prompt, then those with most pages."""
        free = [g for g in range(self._groups) if any(self._running[s] is None for s in self._slots_of(g))]
        if len(free) < 2:
            return free
        ids = live.prompt[:-1]
        return sorted(free, key=lambda g: (-len(self._pages[g].match(ids)), -self._pages[g].available))

    def _seat(self, live: Live, group: int) -> bool:
        """Whether there are pages for a request in this group; then it has them, and a slot."""
        pages = self._pages[group]
        if live.saved is None:
            if not self._map_prompt(live, pages):
                return False
        else:
            end = live.prompt.size - 1 + len(live.tokens) + min(self._steps, self._left(live))
            table = pages.take(-(-end // self._size))  # also for its next steps, else it is set aside again at once
            if table is None:
                return False
            live.table = table
        live.group, live.slot = group, next(s for s in self._slots_of(group) if self._running[s] is None)
        self._running[live.slot] = live
        p = live.request.sampling
        seed = unseeded(live.id) if p.seed is None else p.seed
        self._set_slot(
            live.slot, max_tokens=live.budget, min_tokens=min(p.min_tokens, live.budget),
            seed=((seed >> 32) & 0xFFFFFFFF, seed & 0xFFFFFFFF), temperature=p.temperature,
            top_k=min(max(p.top_k, 0), self.config.vocab_size), top_p=p.top_p, min_p=p.min_p,
            repetition_penalty=p.repetition_penalty, presence_penalty=p.presence_penalty,
            frequency_penalty=p.frequency_penalty, stop_ids=live.stop_ids,
        )  # fmt: skip
        return True

    def _set_slot(self, slot: int, **settings) -> None:
        for name, value in settings.items():
            getattr(self._state, name)[slot] = value

    def _map_prompt(self, live: Live, pages: Pages) -> bool:
        """Whether there are pages for a prompt: known ones where its ids are known, and fresh ones to be prefilled.

        All but the last token are prefilled. The tail, less than a page, is copied from that of an identical prompt,
        since decode goes on writing behind it.
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
        """Runs prompt chunks, PREFILL_ROWS at a time; starts the requests whose prompts are complete."""
        calls = PREFILL_CALLS if any(live and live.decoding for live in self._running) else math.inf
        while self._prompt_chunks and calls:
            count = min(PREFILL_ROWS, len(self._prompt_chunks))
            self._prefill_group([self._prompt_chunks.popleft() for _ in range(count)])
            calls -= 1
        left = self._prompt_chunks[0].number if self._prompt_chunks else math.inf
        complete = lambda live: live.ready_after <= left
        for live in [live for live in self._lingering if complete(live)]:
            self._lingering.remove(live)
            self._release(live)
        self._begin([live for live in self._running if live and not live.decoding and complete(live)])

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
        """Lets requests decode whose pages hold their prompt, or are about to from what was saved."""
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
        """Who decodes next, each with pages for the steps to come; the oldest are served first.

        If pages are missing, the youngest of the group is set aside on the host. That needs to know how far it is: None
        while a chunk is in flight.
        """
        going = [live for live in self._running if live and live.decoding]
        if not any(self._left(live) > 0 for live in going):
            return []
        for live in sorted(going, key=lambda live: live.id):
            end = live.prompt.size - 1 + len(live.tokens) + live.in_flight + min(self._steps, self._left(live))
            while live.decoding:
                missing = -(-end // self._size) - len(live.table)
                fresh = self._pages[live.group].take(max(missing, 0))
                if fresh is not None:
                    live.table += fresh
                    break
                if self._in_flight is not None:
                    return None
                mates = [mate for mate in self._running if mate and mate.decoding and mate.group == live.group]
                self._preempt(max(mates, key=lambda mate: mate.id))
        return [live for live in going if live.decoding]

    def _left(self, live: Live) -> int:
        """How many tokens a request may still sample in chunks that are not yet started."""
        return live.budget - len(live.tokens) - live.in_flight

    def _preempt(self, live: Live) -> None:
        """Moves a request's pages to the host; it will go on from there, before all who never ran."""
        written = -(-live.written.size // self._size)
        live.saved = self._device.save(live.table[:written])
        self._leave(live)
        live.decoding = False
        self._waiting.appendleft(live)
        self._counters["preemptions"] += 1

    def _dispatch(self, rows: list[Live]) -> _DecodeChunk:
        """Starts a chunk of decode steps. While others wait, it ends as soon as some slots are free for them."""
        state = self._state
        for slot, live in enumerate(self._running):
            state.table[slot] = self._nobodys[slot // (self.slots // self._groups)]
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
        """Books what a decode chunk sampled; the completions of those that finished with it."""
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
        """Ends a request wherever it is, with what was sampled so far."""
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
        live.saved = None  # whoever keeps the handle shall not keep the pages
        try:
            return live.complete(self.tokenizer.decode, reason, error)
        except BaseException as failure:
            live.complete(self.tokenizer.decode, "error", f"{type(failure).__name__}: {failure}")
            raise

    def _leave(self, live: Live) -> None:
        """Gives back slot and pages; pages whose filling others count on are given back after that."""
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
        """Starts the counters of `stats` anew; compiles are kept."""
        self._counters.clear()
        self._device.seconds.clear()
        self._device.idle()

    def stats(self) -> dict[str, float]:
        """Since warm-up or `reset_stats`: requests, tokens, device seconds and tokens/s by phase; all compiles.

        `occupancy` is the share of slots that sampled a token, over all decode steps; `prefix_hit_rate` that of prompt
        tokens that were not prefilled since their pages were known; `host_share` the share of time, at most, in which
        the device stood still though requests were there. `pages_held` are those of live requests.
        """
        c, seconds = self._counters, self._device.seconds
        ratio = lambda part, whole: part / whole if whole else 0.0
        with_work, stood = sum(seconds.values()), seconds.get("stood", 0)
        device_s, prefill_s, decode_s = with_work - stood, seconds.get("prefill", 0), seconds.get("decode", 0)
        return {
            "requests": c["requests"],
            "prompt_tokens": c["prompt_tokens"],
            "prefix_tokens": c["prefix_tokens"],
            "prefill_tokens": c["prefill_tokens"],
            "decode_tokens": c["decode_tokens"],
            "slot_steps": c["slot_steps"],
            "prefill_s": prefill_s,
            "decode_s": decode_s,
            "device_s": device_s,
            "stood_s": stood,
            "host_share": ratio(stood, with_work),
            "prefill_tokens_per_s": ratio(c["prefill_tokens"], prefill_s),
            "decode_tokens_per_s": ratio(c["decode_tokens"], decode_s),
            "occupancy": ratio(c["decode_tokens"], c["slot_steps"]),
            "prefix_hit_rate": ratio(c["prefix_tokens"], c["prompt_tokens"]),
            "preemptions": c["preemptions"],
            "pages_held": sum(pages.held for pages in self._pages),
            "waiting": len(self._waiting),
            "live": sum(live is not None for live in self._running),
            "compiles": len(self._device.programs),
            "compile_s": sum(self._device.compile_s.values()),
        }
