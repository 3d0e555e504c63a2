"""Pages in the engine: shared prompts, too little room, interrupted requests; never another bit, never a lost page."""

import pathlib

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mxjax.sampling import Engine, Request, SamplingParams, programs
from mxjax.sampling.attention import XlaAttention
from sampling.toys import CONFIG, PROGRAMS, make_policy, response_logprobs, same_bits

SIZE, MAX_LEN = 16, 64
TEXT = np.random.default_rng(0).integers(5, CONFIG.vocab_size, (3, MAX_LEN)).tolist()


@pytest.fixture(scope="module")
def engines():
    """By name: nothing shared and room for all; prompts shared; the same with pages for two requests in full."""
    policy = make_policy(CONFIG.replace(num_hidden_layers=1))
    common = {"slots": 4, "page_size": SIZE, "max_len": MAX_LEN, "decode_steps": 8}
    made = {
        "plain": Engine(policy, prefix_cache="off", **common),
        "shared": Engine(policy, **common),
        "tight": Engine(policy, pages=8, **common),
    }
    for engine in made.values():
        engine.warmup()
    yield made
    for engine in made.values():
        stats = engine.stats()
        assert stats["live"] == stats["waiting"] == stats["pages_held"] == 0 and stats["compiles"] == PROGRAMS
        assert sum(pages.available for pages in engine._pages) == sum(pages.count for pages in engine._pages)


def ask(text, length, seed=0, **sampling):
    return Request(TEXT[text][:length], SamplingParams(**{"seed": seed, "max_tokens": 20, **sampling}))


def assert_same(a, b):
    assert all(same_bits(x, y) for x, y in zip(a, b, strict=True))


def gained(engine, requests):
    before = engine.stats()
    completions = engine.generate(requests)
    after = engine.stats()
    return completions, {name: after[name] - before[name] for name in ("prefill_tokens", "preemptions")}


@pytest.mark.parametrize("length", [1, 2, 16, 17, 18, 33, 40])
def test_identical_prompts_are_prefilled_once(engines, length):
    requests = [ask(0, length, seed) for seed in range(10)]
    want = engines["plain"].generate(requests)
    engines["shared"].update_params(make_policy(CONFIG.replace(num_hidden_layers=1)).params)
    completions, stats = gained(engines["shared"], requests)
    assert_same(want, completions)
    assert stats["prefill_tokens"] == length - 1
    completions, stats = gained(engines["shared"], requests)  # now from pages that nobody holds
    assert_same(want, completions)
    assert stats["prefill_tokens"] == 0


def test_other_prompts_share_whole_pages(engines):
    other = [*TEXT[0][:37], 5, 6, 7]
    requests = [ask(0, 60, max_tokens=4), Request(other, SamplingParams(seed=1)), ask(0, 50), ask(0, 33), ask(0, 32)]
    want = engines["plain"].generate(requests)
    engines["shared"].update_params(make_policy(CONFIG.replace(num_hidden_layers=1)).params)
    completions, stats = gained(engines["shared"], requests)
    assert_same(want, completions)
    # whole: 59 of the first; then what follows the last page in common: 39 - 32, 49 - 48, 32 - 32, 31 - 16
    assert stats["prefill_tokens"] == 59 + 7 + 1 + 0 + 15
    assert engines["shared"].stats()["prefix_hit_rate"] > 0.5


def test_new_parameters_share_nothing_with_the_old(engines):
    engine, old = engines["shared"], make_policy(CONFIG.replace(num_hidden_layers=1))
    new = make_policy(CONFIG.replace(num_hidden_layers=1), seed=1)
    requests = [ask(0, 40)]
    before = engine.generate(requests)
    engine.update_params(new.params)
    changed, stats = gained(engine, requests)
    assert stats["prefill_tokens"] == 39 and not same_bits(before[0], changed[0])
    engine.update_params(old.params)
    assert_same(before, engine.generate(requests))


def test_a_continued_conversation_reuses_its_own_pages_if_asked_to():
    policy = make_policy(CONFIG.replace(num_hidden_layers=1))
    engine = Engine(policy, slots=2, page_size=SIZE, max_len=MAX_LEN, prefix_cache="all")
    first = ask(0, 20, max_tokens=20)
    reply = engine.generate([first])[0]
    ids = [*first.prompt_token_ids, *reply.token_ids.tolist(), 9, 8, 7]
    again = Request(ids, SamplingParams(seed=5, max_tokens=15))
    (completion,), stats = gained(engine, [again])
    assert stats["prefill_tokens"] == len(ids) - 1 - 32  # two pages, of which decode wrote the end
    want = response_logprobs(policy, [(ids, completion.token_ids)], [1.0])[0]
    np.testing.assert_allclose(completion.model_logprobs, want, atol=1e-4)
    repeated, stats = gained(engine, [first])  # the tail of the first prompt is still found
    assert stats["prefill_tokens"] == 0 and np.array_equal(repeated[0].token_ids, reply.token_ids)


def test_who_is_set_aside_goes_on_as_if_nothing_had_been(engines):
    penalties = {"repetition_penalty": 1.4, "frequency_penalty": 0.6, "presence_penalty": 0.1}
    requests = [ask(i % 3, 1 + 7 * i, seed=i, max_tokens=60, **(penalties if i % 2 else {})) for i in range(8)]
    completions, stats = gained(engines["tight"], requests)
    assert_same(engines["plain"].generate(requests), completions)
    assert stats["preemptions"] > 0


@pytest.mark.parametrize("ended", ["cancelled", "deadline"])
def test_requests_set_aside_can_end_and_leave_no_pages_on_the_host(engines, ended):
    engine = engines["tight"]
    handles = [engine.submit(ask(0, 3, seed=i, max_tokens=60)) for i in range(4)]
    before = engine.stats()["preemptions"]
    while engine.stats()["preemptions"] == before:
        engine.step()
    aside = engine._waiting[0]
    sampled = list(aside.tokens)
    assert aside.saved is not None and sampled
    if ended == "cancelled":
        handles[aside.id - handles[0].id].cancel()
    else:
        aside.ends_at = -np.inf
        engine.step()
    assert (aside.completion.finish_reason, aside.completion.token_ids.tolist()) == (ended, sampled)
    assert aside.saved is None
    for handle in handles:
        handle.result()


def test_pages_in_any_order_give_the_same_bits(engines):
    requests = [ask(i % 3, 5 + 6 * i, seed=i, max_tokens=25) for i in range(9)]
    want = engines["plain"].generate(requests)
    rng = np.random.default_rng(1)
    for name in ("plain", "shared", "tight"):
        for pages in engines[name]._pages:
            rng.shuffle(pages._free)
        assert_same(want, engines[name].generate(requests))


@pytest.mark.parametrize("ended", [0, 1])
def test_a_prompt_that_others_count_on_is_filled_though_its_request_ended(engines, ended):
    for name in ("shared", "tight"):
        engine = engines[name]
        text = np.random.default_rng([ended, len(name)]).integers(5, 300, 50).tolist()  # known to nobody
        requests = [Request(text, SamplingParams(seed=seed, max_tokens=9)) for seed in range(2)]
        want = engines["plain"].generate(requests)
        handles = [engine.submit(r) for r in requests]
        engine._admit()
        handles[ended].cancel()
        assert same_bits(want[1 - ended], handles[1 - ended].result())
        both = [engine.submit(Request([*text[:49], 7], r.sampling)) for r in requests]
        engine._admit()
        for handle in both:
            handle.cancel()  # before anything was filled: nothing may be found there
        assert_same(want, engine.generate(requests))


def test_results_are_read_while_the_next_chunk_runs(engines, monkeypatch):
    engine, order = engines["shared"], []
    for name in ("_dispatch", "_collect"):
        plain = getattr(engine, name)
        monkeypatch.setattr(engine, name, lambda *a, plain=plain, name=name: (order.append(name), plain(*a))[1])
    requests = [ask(0, 9, seed=i, max_tokens=40) for i in range(4)]
    completions = engine.generate(requests)
    assert order[:4] == ["_dispatch", "_dispatch", "_collect", "_dispatch"]
    order.clear()
    assert_same(completions, engine.generate([*requests, *requests])[:4])
    assert order[:4] == ["_dispatch", "_collect"] * 2  # others wait for the slots


def test_a_chunk_ends_early_for_those_who_wait(engines):
    engine = engines["shared"]
    requests = [ask(0, 2, seed=i, max_tokens=2) for i in range(12)]
    engine.reset_stats()
    completions = engine.generate(requests)
    assert [len(c.token_ids) for c in completions] == [2] * 12
    assert engine.stats()["occupancy"] == 1.0


def test_long_prompts_do_not_stall_those_who_decode(engines, monkeypatch):
    (want,) = engines["plain"].generate([ask(0, 63, max_tokens=1)])
    monkeypatch.setattr("mxjax.sampling.engine.PREFILL_ROWS", 1)
    monkeypatch.setattr("mxjax.sampling.engine.PREFILL_CALLS", 1)
    policy = make_policy(CONFIG.replace(num_hidden_layers=1))
    engine = Engine(policy, slots=4, page_size=SIZE, max_len=MAX_LEN, decode_steps=2)
    decoding = engine.submit(ask(1, 2, max_tokens=40))
    engine.step()
    engine.step()
    long = engine.submit(ask(0, 63, max_tokens=1))
    sampled = []
    while not long.done:
        engine.step()
        sampled.append(len(decoding._live.tokens))
    assert len(sampled) >= 4 and np.diff(sampled[:3]).tolist() == [2, 2], "a decode chunk after each prompt chunk"
    assert np.array_equal(want.token_ids, long.result().token_ids)
    decoding.result()


any_request = st.builds(
    ask, st.integers(0, 2), st.integers(1, 60), st.integers(0, 3), temperature=st.sampled_from([0.0, 1.0]),
    max_tokens=st.sampled_from([1, 7, 8, 9, 40]), stop_token_ids=st.sampled_from([(), tuple(range(30, 38))]),
    frequency_penalty=st.sampled_from([0.0, 0.0, 0.5]), top_p=st.sampled_from([1.0, 0.8]),
)  # fmt: skip
events = st.lists(
    st.one_of(any_request, any_request, st.just("step"), st.tuples(st.just("cancel"), st.integers(0, 20))), max_size=24
)


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(events, st.sampled_from(["shared", "tight"]))
def test_any_history_gives_each_request_its_own_bits(engines, history, name):
    engine, submitted = engines[name], []
    for event in history:
        if event == "step":
            engine.step()
        elif isinstance(event, Request):
            submitted.append((event, engine.submit(event)))
        elif submitted:
            submitted[event[1] % len(submitted)][1].cancel()
    completions = [handle.result() for _, handle in submitted]
    want = engines["plain"].generate([request for request, _ in submitted])
    for alone, completion in zip(want, completions, strict=True):
        if completion.finish_reason == "cancelled":
            count = len(completion.token_ids)
            assert np.array_equal(alone.token_ids[:count], completion.token_ids)
        else:
            assert same_bits(alone, completion)
    assert engine.stats()["pages_held"] == 0
    if submitted:
        ours = [(r.prompt_token_ids, c.token_ids) for (r, _), c in zip(submitted, completions) if len(c.token_ids)]
        assert all(len(prompt) + len(ids) <= MAX_LEN for prompt, ids in ours)


def test_warming_up_again_forgets_what_the_pages_held(engines):
    engine = engines["shared"]
    (before,) = engine.generate([ask(0, 40)])
    engine.warmup()
    (after,) = engine.generate([ask(0, 40)])
    assert same_bits(before, after) and engine.stats()["prefix_hit_rate"] == 0


def test_parameters_of_another_model_or_dtype_are_refused_and_the_old_ones_stay(engines):
    engine = engines["shared"]
    (before,) = engine.generate([ask(1, 30)])
    right = make_policy(CONFIG.replace(num_hidden_layers=1)).params
    rough = jax.tree.map(lambda leaf: leaf.astype("bfloat16"), right)  # would be compiled for anew
    for wrong in ({}, make_policy(CONFIG).params, rough, {**right, "more": right["embed"]}):
        with pytest.raises(ValueError, match="new Engine"):
            engine.update_params(wrong)
    (after,) = engine.generate([ask(1, 30)])
    assert same_bits(before, after)


def test_who_was_set_aside_comes_back_with_pages_for_its_next_steps():
    policy = make_policy(CONFIG.replace(num_hidden_layers=1))
    engine = Engine(policy, slots=2, pages=5, page_size=SIZE, max_len=MAX_LEN, decode_steps=2, prefix_cache="off")
    engine.generate([ask(0, 30, max_tokens=30), ask(1, 30, seed=1, max_tokens=30)])
    assert engine.stats()["preemptions"] == 1


def random_requests(count, seed=0):
    rng = np.random.default_rng(seed)
    for i in range(count):
        text = TEXT[rng.integers(3)] if rng.random() < 0.7 else rng.integers(5, 300, MAX_LEN).tolist()
        sampling = SamplingParams(
            seed=i, max_tokens=int(rng.geometric(0.15)), temperature=float(rng.choice([0.0, 1.0])),
            top_k=int(rng.choice([0, 0, 5])), presence_penalty=float(rng.choice([0.0, 0.0, 0.0, 1.0])),
        )  # fmt: skip
        yield Request(text[: rng.integers(1, 60)], sampling, deadline_s=0.0 if rng.random() < 0.01 else None)


def anonymous_bytes():
    """Memory of this process that no file backs; 0 where the system does not say."""
    status = pathlib.Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_no_request_starves_and_no_page_leaks(engines, count):
    engine, rng, handles, started = engines["tight"], np.random.default_rng(2), {}, 0
    aside, steps, finished = 0, 0, {}
    source = random_requests(count)
    engine.reset_stats()
    memory = anonymous_bytes()
    while len(finished) < count:
        for request in [r for _, r in zip(range(int(rng.integers(0, 12))), source)] if len(handles) < 40 else ():
            handle = engine.submit(request)
            handles[handle.id] = handle, steps
            started += 1
        if handles and rng.random() < 0.05:
            chosen = list(handles)[rng.integers(len(handles))]
            handles[chosen][0].cancel()
            finished[chosen] = handles.pop(chosen)
        for completion in engine.step():
            _, since = handles.pop(completion.request_id)
            assert steps - since < 400
            finished[completion.request_id] = completion
        steps += 1
        aside = max(aside, sum(live.saved is not None for live in engine._waiting))
        held = {page for live in engine._running if live for page in live.table}
        held |= {page for live in engine._lingering for page in live.table}
        held |= {live.copy_from for live in [*engine._running, *engine._lingering] if live and live.copy_from}
        assert engine.stats()["pages_held"] == len(held)
    stats = engine.stats()
    assert started == count == stats["requests"] and stats["pages_held"] == 0
    assert 0 < aside <= engine.slots and stats["preemptions"] > 0 and stats["prefix_hit_rate"] > 0.1
    assert not engine._lingering and not engine._prompt_chunks
    assert anonymous_bytes() - memory < 25e6  # of which 10,000 completions and their settings are a part


def test_memory_of_decode_does_not_grow_with_the_cache():
    sizes, attention, cfg = {}, XlaAttention(SIZE), CONFIG.replace(num_hidden_layers=1)
    for pages in (8, 800):
        layout = programs.memory_layout(cfg, attention, 4, pages)
        compiled = programs.lowered(cfg, attention, 16, MAX_LEN // SIZE, layout)["decode"].compile()
        sizes[pages] = compiled.memory_analysis().temp_size_in_bytes
    assert sizes[800] - sizes[8] < 4096, "a step copies the cache"


@pytest.mark.parametrize("name", ["prefill", "decode", "mark_seen", "copy_pages", "load_pages", "clear"])
def test_programs_work_in_the_memory_that_they_are_given(engines, name):
    device = engines["plain"]._device
    whole = sum(leaf.nbytes for leaf in jax.tree.leaves(device._memory))
    assert device.programs[name].memory_analysis().alias_size_in_bytes >= whole, "a program makes a second cache"
