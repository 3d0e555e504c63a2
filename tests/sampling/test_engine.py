"""The engine's promises: what a request gets, whoever else is there, and what happens when things go wrong."""

import collections
import dataclasses
import logging
import types

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mxjax.sampling import Engine, Request, SamplingParams, programs
from mxjax.sampling.params import unseeded
from mxjax.sharding import make_mesh
from sampling import toys
from sampling.toys import CONFIG, make_policy, response_logits, response_logprobs, same_bits

MAX_LEN = 64


def prompt(length, seed=0):
    return np.random.default_rng([seed, length]).integers(5, CONFIG.vocab_size, length).tolist()


def request(length, seed=0, **sampling):
    return Request(prompt(length, seed), SamplingParams(**{"seed": seed, "max_tokens": 20, **sampling}))


def pairs(requests, completions):
    return [(r.prompt_token_ids, c.token_ids) for r, c in zip(requests, completions, strict=True)]


def drain(engine):
    """Steps until nothing is live; the completions in the order in which they came."""
    done = []
    while engine.stats()["live"] or engine.stats()["waiting"]:
        done += engine.step()
    return done


# Log-probabilities

SETTINGS = [
    {}, {"temperature": 0.0}, {"temperature": 0.6}, {"temperature": 2.5}, {"top_k": 5}, {"top_p": 0.6},
    {"min_p": 0.3}, {"temperature": 0.8, "top_k": 40, "top_p": 0.9, "min_p": 0.02},
    {"min_tokens": 10, "stop_token_ids": list(range(10, 17))}, {"temperature": 0.0, "min_tokens": 20},
    {"min_tokens": 5, "top_k": 3, "temperature": 1.5},
]  # fmt: skip


def test_log_probabilities_are_those_of_the_training_pass(policy, engine):
    requests = [request(3 + i, seed=i, **SETTINGS[i % len(SETTINGS)]) for i in range(3 * len(SETTINGS))]
    completions = engine.generate(requests)
    temperatures = [r.sampling.temperature or 1.0 for r in requests]
    want = response_logprobs(policy, pairs(requests, completions), temperatures)
    for completion, logprobs in zip(completions, want, strict=True):
        np.testing.assert_allclose(completion.model_logprobs, logprobs, atol=1e-4)


def test_logprobs_are_those_of_the_distribution_sampled_from(policy, engine):
    requests = [request(4, seed=i, **SETTINGS[i % len(SETTINGS)]) for i in range(2 * len(SETTINGS))]
    completions = engine.generate(requests)
    for r, c, logits in zip(requests, completions, response_logits(policy, pairs(requests, completions)), strict=True):
        p = r.sampling
        if p.temperature == 0:
            assert (c.logprobs == 0).all()
            continue
        for index, (token, row) in enumerate(zip(c.token_ids, logits, strict=True)):
            if index < p.min_tokens:
                row = row.copy()
                row[[*engine.tokenizer.stop_ids, *p.stop_token_ids]] = -np.inf
            # at the edge of a nucleus the last bits of the logits decide: either reading will do
            distributions = [
                toys.truncated_softmax(row, p.temperature, top_k=p.top_k, top_p=top_p, min_p=p.min_p)
                for top_p in {p.top_p, min(p.top_p + 1e-5, 1.0), max(p.top_p - 1e-5, 1e-9) if p.top_p < 1 else 1.0}
            ]
            assert min(abs(np.log(max(probs[token], 1e-30)) - c.logprobs[index]) for probs in distributions) < 1e-4


PENALTIES = [
    {"repetition_penalty": 1.8}, {"repetition_penalty": 0.6, "top_k": 20}, {"presence_penalty": 1.5},
    {"frequency_penalty": 0.7, "temperature": 0.6}, {"frequency_penalty": -1.0, "top_p": 0.9}, {},
    {"repetition_penalty": 1.3, "presence_penalty": -0.5, "frequency_penalty": 0.4, "min_p": 0.05},
    {"temperature": 0.0, "repetition_penalty": 3.0, "frequency_penalty": 2.0},
]  # fmt: skip


def test_penalties_count_the_prompt_and_what_was_sampled(policy, engine):
    requests = [request(12, seed=i, max_tokens=30, **PENALTIES[i % len(PENALTIES)]) for i in range(3 * len(PENALTIES))]
    completions = engine.generate(requests)
    for r, c, logits in zip(requests, completions, response_logits(policy, pairs(requests, completions)), strict=True):
        p, response = r.sampling, c.token_ids.tolist()
        for index, row in enumerate(logits):
            shaped = toys.penalised(
                row, r.prompt_token_ids, response[:index], p.repetition_penalty, p.presence_penalty, p.frequency_penalty
            )
            if p.temperature == 0:
                assert shaped[response[index]] > shaped.max() - 1e-4
                continue
            probs = toys.truncated_softmax(shaped, p.temperature, top_k=p.top_k, top_p=p.top_p, min_p=p.min_p)
            assert probs[response[index]] > 0 or p.top_p < 1  # the last bits decide at the edge of a nucleus
            assert p.top_p < 1 or abs(np.log(probs[response[index]]) - c.logprobs[index]) < 1e-4
        want = response_logprobs(policy, [(r.prompt_token_ids, c.token_ids)], [p.temperature or 1.0])[0]
        np.testing.assert_allclose(c.model_logprobs, want, atol=1e-4)


def test_a_penalised_mate_changes_nothing(engine):
    plain = [request(9, seed=i) for i in range(3)]
    alone = engine.generate(plain)
    mixed = engine.generate([request(9, seed=7, repetition_penalty=1.7, frequency_penalty=1.0), *plain])
    assert all(same_bits(a, b) for a, b in zip(alone, mixed[1:], strict=True))
    assert all(same_bits(a, b) for a, b in zip(alone, engine.generate(plain), strict=True))


def test_samples_follow_the_penalised_model(policy, engine):
    ids = prompt(5) * 3
    chosen = {"repetition_penalty": 0.5, "top_k": 60}
    requests = [Request(ids, SamplingParams(max_tokens=1, seed=i, **chosen)) for i in range(2000)]
    drawn = np.concatenate([c.token_ids for c in engine.generate(requests)])
    logits = response_logits(policy, [(ids, drawn[:1])])[0][0]
    toys.assert_drawn_from(drawn, toys.truncated_softmax(toys.penalised(logits, ids, [], 0.5), top_k=60))


@pytest.mark.parametrize("name", ["presence", "frequency"])
def test_samples_follow_what_was_sampled_before(policy, engine, name):
    """The third token of those requests whose first two are one id, which a negative penalty makes likely."""
    ids, chosen = prompt(5), {f"{name}_penalty": -2.0}
    requests = [Request(ids, SamplingParams(max_tokens=3, top_k=8, seed=i, **chosen)) for i in range(1500)]
    drawn = np.stack([c.token_ids for c in engine.generate(requests)])
    twice = drawn[drawn[:, 0] == drawn[:, 1]]
    token = int(np.bincount(twice[:, 0]).argmax())
    third = twice[twice[:, 0] == token, 2]
    assert len(third) > 100
    logits = response_logits(policy, [(ids, [token, token, third[0]])])[0][2]
    shaped = toys.penalised(logits, ids, [token, token], **{name: -2.0})
    toys.assert_drawn_from(third, toys.truncated_softmax(shaped, top_k=8))


def test_samples_follow_the_model_without_the_stops_that_are_held_back(policy, engine):
    ids = prompt(5)
    logits = response_logits(policy, [(ids, [0])])[0][0]
    likely = np.argsort(logits)[-8:]
    sampling = SamplingParams(max_tokens=1, min_tokens=1, top_k=60, stop_token_ids=likely.tolist())
    requests = [Request(ids, sampling.replace(seed=i)) for i in range(2000)]
    drawn = np.concatenate([c.token_ids for c in engine.generate(requests)])
    left = np.where(np.isin(np.arange(logits.size), likely), -np.inf, logits)
    toys.assert_drawn_from(drawn, toys.truncated_softmax(left, top_k=60))


def test_samples_follow_the_model(policy, engine):
    ids = prompt(5)
    requests = [Request(ids, SamplingParams(max_tokens=1, top_k=60, seed=i)) for i in range(3000)]
    drawn = np.concatenate([c.token_ids for c in engine.generate(requests)])
    logits = response_logits(policy, [(ids, drawn[:1])])[0][0]
    toys.assert_drawn_from(drawn, toys.truncated_softmax(logits, top_k=60))


def test_greedy_is_the_argmax_of_forward(policy, engine):
    requests = [request(length, temperature=0.0, max_tokens=40) for length in (1, 7, 16, 20)]
    completions = engine.generate(requests)
    for completion, logits in zip(completions, response_logits(policy, pairs(requests, completions)), strict=True):
        assert np.array_equal(completion.token_ids, logits.argmax(-1))


def test_bfloat16():
    policy = make_policy(CONFIG.replace(dtype="bfloat16", num_hidden_layers=1))
    engine = Engine(policy, slots=2, page_size=16, max_len=MAX_LEN)
    requests = [request(n, seed=n, max_tokens=12) for n in (2, 17, 30)]
    completions = engine.generate(requests)
    want = response_logprobs(policy, pairs(requests, completions), np.ones(3))
    for completion, logprobs in zip(completions, want, strict=True):
        assert len(completion.token_ids) == 12
        np.testing.assert_allclose(completion.model_logprobs, logprobs, atol=0.1)


@pytest.mark.parametrize("length", [1, 2, 15, 16, 17, 32, 33, 48, 49, 62, 63])
def test_prompts_at_page_boundaries_up_to_a_full_cache(policy, engine, length):
    asked = [request(length, max_tokens=1000)]
    completion = engine.generate(asked)[0]
    assert len(completion.token_ids) == MAX_LEN - length and completion.finish_reason == "length"
    want = response_logprobs(policy, pairs(asked, [completion]), [1.0])[0]
    np.testing.assert_allclose(completion.model_logprobs, want, atol=1e-4)


# Independence

sampling_params = st.builds(
    SamplingParams,
    temperature=st.sampled_from([0.0, 0.7, 1.0, 2.0]),
    top_k=st.sampled_from([0, 3, 50]),
    top_p=st.sampled_from([0.5, 0.9, 1.0]),
    min_p=st.sampled_from([0.0, 0.1]),
    max_tokens=st.sampled_from([1, 2, 8, 9, 30]),
    min_tokens=st.sampled_from([0, 1]),
    stop_token_ids=st.sampled_from([(), (7, 8, 9), (11,)]),
    seed=st.integers(0, 2**40),
)
any_request = st.builds(
    lambda n, seed, p: Request(prompt(n, seed), p), st.integers(1, 60), st.integers(0, 99), sampling_params
)


@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(
    target=any_request,
    others=st.lists(any_request, min_size=1, max_size=9),
    place=st.integers(0, 9),
    steps_before=st.integers(0, 4),
    cancelled=st.booleans(),
)
def test_a_request_gets_the_same_bits_whoever_else_is_there(
    warm_engine, target, others, place, steps_before, cancelled
):
    alone = warm_engine.generate([target])[0]
    crowd = [*others[:place], target, *others[place:]]
    assert same_bits(alone, warm_engine.generate(crowd)[crowd.index(target)])
    assert same_bits(alone, warm_engine.generate(crowd[::-1])[crowd[::-1].index(target)])
    running = [warm_engine.submit(r) for r in others]
    for _ in range(steps_before):
        warm_engine.step()
    late = warm_engine.submit(target)
    if cancelled:
        running[0].cancel()
    assert same_bits(alone, late.result())
    drain(warm_engine)


def test_every_slot_gives_the_same_bits(engine):
    asked = request(20, seed=3, max_tokens=25)
    copies = engine.generate([asked] * 9)
    assert all(same_bits(copies[0], c) for c in copies)


def test_a_seed_of_its_own_is_the_next_one(engine):
    first, second = engine.generate([Request(prompt(4), SamplingParams(max_tokens=20))] * 2)
    assert not np.array_equal(first.token_ids, second.token_ids)
    again = engine.generate([Request(prompt(4), SamplingParams(max_tokens=20, seed=unseeded(second.request_id)))])[0]
    assert np.array_equal(second.token_ids, again.token_ids)


def test_requests_without_a_seed_share_no_noise_with_those_of_small_seeds(policy):
    """A fresh engine numbers its requests from 0, as people number their seeds."""
    engine = Engine(policy, slots=4, page_size=16, max_len=MAX_LEN)
    settings = [SamplingParams(max_tokens=20, seed=seed) for seed in (None, None, None, 0, 1, 2, 3, 4, 5)]
    texts = [tuple(c.token_ids) for c in engine.generate([Request(prompt(4), s) for s in settings])]
    assert len(set(texts)) == len(texts)
    assert len({unseeded(n) for n in range(1000)} | set(range(2**16))) == 1000 + 2**16


@pytest.mark.parametrize("seed", [-1, 2**63, np.int64(7), np.int32(7), 2**32 + 7])
def test_any_integer_is_a_seed(engine, seed):
    a, b = engine.generate([Request(prompt(3), SamplingParams(max_tokens=4, seed=seed))] * 2)
    assert same_bits(a, b)


# Slots and compiles


def test_nothing_compiles_after_warmup(engine):
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, _, **__: compiled.append(event) if event.endswith("backend_compile_duration") else None
    )
    before = engine.stats()["compiles"]
    rng = np.random.default_rng(0)
    requests = [
        request(int(rng.integers(1, 63)), seed=i, max_tokens=int(rng.integers(1, 70)), **SETTINGS[i % 4])
        for i in range(12)
    ]
    engine.generate(requests)
    engine.submit(requests[0]).cancel()
    assert engine.stats()["compiles"] == before == toys.PROGRAMS
    assert not compiled
    jax.jit(lambda x: x * 3.5)(2.0)
    assert compiled, "the listener hears nothing"


def test_slots_are_refilled_while_others_run(engine):
    long = [engine.submit(request(2, seed=i, max_tokens=60)) for i in range(2)]
    short = [engine.submit(request(2, seed=i, max_tokens=3)) for i in range(10)]
    done = [c.request_id for c in drain(engine)]
    assert sorted(done) == sorted(h.id for h in [*long, *short])
    assert done[-2:] == [h.id for h in long]


def test_fewer_tokens_than_a_chunk_and_more(engine):
    lengths = [1, 2, 7, 8, 9, 15, 16, 17, 50]
    completions = engine.generate([request(3, seed=n, max_tokens=n) for n in lengths])
    assert [len(c.token_ids) for c in completions] == lengths
    assert {c.finish_reason for c in completions} == {"length"}
    assert all(len(c.logprobs) == len(c.model_logprobs) == len(c.token_ids) for c in completions)


def test_generate_keeps_the_order(engine):
    requests = [request(1 + i, seed=i, max_tokens=1 + 7 * (i % 3)) for i in range(11)]
    completions = engine.generate(requests)
    assert [len(c.token_ids) for c in completions] == [r.sampling.max_tokens for r in requests]
    assert engine.generate([]) == []


def test_stats_count_what_ran(engine):
    before = engine.stats()
    engine.generate([request(17, max_tokens=5), request(1, max_tokens=4)])
    after = engine.stats()
    gained = {name: after[name] - before[name] for name in after}
    assert (gained["requests"], gained["prefill_tokens"], gained["decode_tokens"]) == (2, 16, 9)
    assert gained["device_s"] > 0 and after["decode_tokens_per_s"] > 0 and after["prefill_tokens_per_s"] > 0
    assert 0 < after["occupancy"] <= 1 and 0 <= after["host_share"] < 1


def test_warming_up_lists_every_program_with_its_seconds(engine, caplog):
    with caplog.at_level(logging.INFO, logger="mxjax.sampling.engine"):
        seconds = engine.warmup()
    assert set(seconds) == {"prefill", "decode", "mark_seen", "copy_pages", "save_pages", "load_pages", "clear"}
    assert all(value > 0 for value in seconds.values()) and len(seconds) == toys.PROGRAMS
    (message,) = caplog.messages
    assert all(f"{name} in {value:.1f} s" in message for name, value in seconds.items())
    engine.generate([request(17, max_tokens=5)])
    assert engine.stats()["compile_s"] == pytest.approx(sum(seconds.values()))


class Result:
    """What a decode chunk leaves on the device, ready at a time on the test's clock."""

    def __init__(self, clock, ready):
        self.is_ready = lambda: clock[0] >= ready


def test_the_share_in_which_the_device_waits_for_the_host(engine, monkeypatch):
    """Three chunks of 10 s, each started while another runs: what passes after the last is the host's time.

    That one is only collected when a fourth was started; it does not count from then back as time of the device.
    """
    device, clock = engine._device, [0.0]
    monkeypatch.setattr("mxjax.sampling.device.time", types.SimpleNamespace(perf_counter=lambda: clock[0]))
    for name, value in (("seconds", collections.Counter()), ("_started", None), ("_seen", None)):
        monkeypatch.setattr(device, name, value)
    ends = iter([10.0, 20.0, 30.0, 60.0, 110.0])
    run = lambda params, memory, *args: (memory, Result(clock, next(ends)))
    monkeypatch.setitem(device.programs, "decode", run)

    def start(now):
        clock[0] = now
        return device.decode(engine._state, 1)

    def collect(now, chunk):
        clock[0] = now
        device.collect(*chunk)

    first, second = start(0.0), start(4.0)
    collect(10.0, first)
    third = start(14.0)
    collect(20.0, second)
    assert (engine.stats()["decode_s"], engine.stats()["host_share"]) == (20, 0)
    fourth = start(50.0)  # the host was busy elsewhere: the third chunk has ended long ago
    collect(50.0, third)
    collect(60.0, fourth)
    stats = engine.stats()
    assert (stats["decode_s"], stats["device_s"], stats["idle_s"], stats["host_share"]) == (30, 30, 30, 0.5)
    device.idle()
    start(100.0)  # without anything to do the device did not wait
    assert engine.stats()["idle_s"] == 30


# Ends


def test_a_stop_id_ends_and_is_kept(engine):
    free = engine.generate([request(6, seed=1, max_tokens=30)])[0]
    stop = int(free.token_ids[10])
    first = free.token_ids.tolist().index(stop)
    ended = engine.generate([request(6, seed=1, max_tokens=30, stop_token_ids=[stop])])[0]
    assert ended.finish_reason == "stop"
    assert np.array_equal(ended.token_ids, free.token_ids[: first + 1])
    assert np.array_equal(ended.model_logprobs, free.model_logprobs[: first + 1])


def test_the_tokenizers_stop_ids_are_always_there(engine, monkeypatch):
    monkeypatch.setattr(engine, "tokenizer", dataclasses.replace(toys.ENDLESS, stop_ids=(5, 70, 71, 72, 73, 74)))
    completions = engine.generate([request(6, seed=i, max_tokens=60, stop_token_ids=[80]) for i in range(30)])
    stops = {80, *engine.tokenizer.stop_ids}
    assert len({c.token_ids[-1] for c in completions} & stops) > 1
    for completion in completions:
        assert not stops & set(completion.token_ids[:-1].tolist())
        assert (completion.finish_reason == "stop") == (completion.token_ids[-1] in stops)


def test_min_tokens_holds_stop_ids_back(engine):
    everything = list(range(5, 12))
    completions = engine.generate(
        [request(4, seed=i, top_k=0, min_tokens=12, max_tokens=14, stop_token_ids=everything) for i in range(40)]
    )
    for completion in completions:
        assert len(completion.token_ids) >= 12
        assert not set(completion.token_ids[:12].tolist()) & {*everything, *engine.tokenizer.stop_ids}


def test_a_stop_string_cuts_the_text_and_ends_at_the_token_that_completes_it(engine):
    for seed in range(6):
        free = engine.generate([request(6, seed=seed, max_tokens=40)])[0]
        for start, size in ((0, 1), (3, 2), (9, 4)):
            stop = free.text[start : start + size]
            if "\ufffd" in stop:
                continue
            ended = engine.generate([request(6, seed=seed, max_tokens=40, stop=["never there", stop])])[0]
            count = len(ended.token_ids)
            assert ended.finish_reason == "stop"
            assert ended.text == free.text[: free.text.index(stop)]
            assert np.array_equal(ended.token_ids, free.token_ids[:count])
            assert stop in engine.tokenizer.decode(ended.token_ids)
            assert stop not in engine.tokenizer.decode(ended.token_ids[:-1])
            assert len(ended.logprobs) == len(ended.model_logprobs) == count


def test_the_earliest_stop_string_cuts(engine):
    free = engine.generate([request(6, seed=1, max_tokens=40)])[0]
    a, b = free.text[2:4], free.text[1:4]  # completed by one token; the second begins earlier
    ended = engine.generate([request(6, seed=1, max_tokens=40, stop=[a, b])])[0]
    assert ended.text == free.text[: min(free.text.index(a), free.text.index(b))]


def test_min_tokens_holds_stop_strings_back(engine):
    free = engine.generate([request(6, seed=1, max_tokens=40, min_tokens=10)])[0]
    early = engine.tokenizer.decode(free.token_ids[:10])
    stop = early[0]
    ended = engine.generate([request(6, seed=1, max_tokens=40, min_tokens=10, stop=stop)])[0]
    again = free.text.find(stop, len(early))
    assert len(ended.token_ids) > 10
    assert ended.text == (free.text if again < 0 else free.text[:again])


def test_cancel_while_queued_running_and_done(engine):
    handles = [engine.submit(request(3, seed=i, max_tokens=50)) for i in range(6)]
    engine.step()
    handles[0].cancel()
    handles[5].cancel()
    running, queued = handles[0].result(), handles[5].result()
    assert (running.finish_reason, len(running.token_ids)) == ("cancelled", 8)
    assert (queued.finish_reason, len(queued.token_ids), queued.text) == ("cancelled", 0, "")
    rest = [handle.result() for handle in handles[1:5]]
    assert [c.finish_reason for c in rest] == ["length"] * 4
    whole = engine.generate([request(3, seed=0, max_tokens=50)])[0]
    assert np.array_equal(whole.token_ids[:8], running.token_ids)
    handles[1].cancel()
    handles[0].cancel()
    assert handles[1].result() is rest[0] and handles[0].result() is running


def test_a_deadline_ends_a_request_with_what_it_has(engine, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(engine, "_clock", lambda: now[0])
    timed = lambda i, seconds: dataclasses.replace(request(3, seed=i, max_tokens=50), deadline_s=seconds)
    running, *others = [engine.submit(timed(i, 5.0 if i in (0, 5) else None)) for i in range(6)]
    queued = others.pop()
    assert engine.step() == []
    now[0] = 104.9
    engine.step()
    assert not running.done
    now[0] = 105.0
    assert {c.request_id for c in engine.step()} == {running.id, queued.id}
    ended = running.result()
    assert (ended.finish_reason, len(ended.token_ids), queued.result().finish_reason) == ("deadline", 16, "deadline")
    whole = engine.generate([request(3, seed=0, max_tokens=50)])[0]
    assert np.array_equal(whole.token_ids[:16], ended.token_ids)
    assert [handle.result().finish_reason for handle in others] == ["length"] * 4
    assert engine.generate([timed(0, 0.0)])[0].finish_reason == "deadline"


def test_result_drives_the_engine(engine):
    first, second = (engine.submit(request(3, seed=i, max_tokens=9 + 20 * i)) for i in range(2))
    assert not first.done
    assert first.result().request_id == first.id and first.done
    assert not second.done
    assert len(second.result().token_ids) == 29


def test_chat_returns_the_reply(engine, monkeypatch):
    monkeypatch.setattr(engine, "tokenizer", toys.CHAT)
    messages = [{"role": "user", "content": "Hello"}]
    reply = engine.chat(messages, max_tokens=10, seed=4)
    asked = Request(engine.tokenizer.chat_ids(messages), SamplingParams(max_tokens=10, seed=4))
    assert reply == engine.generate([asked])[0].text


@pytest.mark.parametrize(
    "ids, reason",
    [
        ([], "non-empty"), ([[1, 2]], "non-empty"), ([1.5], "ids"), ([-1, 3], r"\[0, 300\)"), ([300], r"\[0, 300\)"),
        ([2**40], r"\[0, 300\)"), ([3] * 64, "no room in max_len=64"), ([3] * 99, "no room"),
    ],
)  # fmt: skip
def test_a_prompt_that_cannot_run_is_refused(engine, ids, reason):
    with pytest.raises(ValueError, match=reason) as error:
        engine.submit(Request(ids))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("stops", [list(range(10, 19)), [-3], [2**31]])
def test_stop_ids_that_cannot_be_are_refused(engine, stops):
    with pytest.raises(ValueError, match="stop ids"):
        engine.submit(request(3, stop_token_ids=stops))


def test_settings_beyond_the_vocabulary_and_the_cache_are_harmless(engine):
    plain = engine.generate([request(3, max_tokens=61)])[0]
    large = request(3, max_tokens=10**12, top_k=10**12, stop_token_ids=[5_000])
    assert same_bits(plain, engine.generate([large])[0])
    engine.generate([request(3, max_tokens=10**12, min_tokens=10**11)])


def test_a_refused_request_ends_alone(engine):
    asked = [
        request(3),
        Request([300]),
        request(4),
        Request([3] * 64),
        request(5, stop_token_ids=[2**31]),
        {"ids": [3]},
    ]
    completions = engine.generate(asked)
    reasons = [completion.finish_reason for completion in completions]
    assert [reason == "error" for reason in reasons] == [False, True, False, True, True, True]
    says = [r"must be in [0, 300)", "no room in max_len=64", "stop ids must be token ids", "takes a Request"]
    assert all(text in completions[i].error for text, i in zip(says, (1, 3, 4, 5), strict=True))
    assert all(c.token_ids.size == c.logprobs.size == 0 and c.text == "" for c in completions if c.error)
    assert len({completion.request_id for completion in completions}) == 6
    assert all(same_bits(a, b) for a, b in zip(engine.generate([asked[0], asked[2]]), completions[0:3:2], strict=True))
    assert engine.stats()["waiting"] == engine.stats()["live"] == 0


# Parameters


def test_new_parameters_are_used_and_neither_copy_is_lost(policy, engine):
    new = make_policy(seed=1)
    asked = [request(9, temperature=0.0, max_tokens=30)]
    old_output = engine.generate(asked)[0]
    engine.update_params(new.params)
    try:
        output = engine.generate(asked)[0]
        logits = response_logits(new, pairs(asked, [output]))[0]
        assert np.array_equal(output.token_ids, logits.argmax(-1))
        assert not np.array_equal(output.token_ids, old_output.token_ids)
        jax.tree.map(lambda leaf: leaf.delete(), new.params)  # as a trainer does that donates them
        assert same_bits(output, engine.generate(asked)[0])
    finally:
        engine.update_params(policy.params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(policy.params))
    assert same_bits(old_output, engine.generate(asked)[0])


def test_parameters_and_programs_wait_for_live_requests(policy, engine):
    queued = engine.submit(request(3))
    for call in (lambda: engine.update_params(policy.params), engine.warmup):
        with pytest.raises(RuntimeError, match="live requests"):
            call()
    engine.step()
    engine.step()  # the results of the first chunk are read while the second runs
    with pytest.raises(RuntimeError, match="live requests"):
        engine.update_params(policy.params)
    waiting = [engine.submit(request(3, seed=i)) for i in range(6)]
    engine.update_params(policy.params, abort=True)
    assert [handle.result().finish_reason for handle in (queued, *waiting)] == ["cancelled"] * 7
    assert len(queued.result().token_ids) == 8


def test_parameters_that_cannot_be_copied_are_asked_for_again(policy, engine, monkeypatch):
    asked = [request(9, max_tokens=12)]
    before = engine.generate(asked)
    with monkeypatch.context() as patch:
        patch.setattr(programs, "split_layers", lambda *_: (_ for _ in ()).throw(MemoryError("no room")))
        with pytest.raises(MemoryError, match="no room"):
            engine.update_params(policy.params)
    handle = engine.submit(asked[0])
    with pytest.raises(RuntimeError, match=r"no parameters.*update_params\(\) failed; call it again"):
        handle.result()
    assert handle.result().finish_reason == "error"
    engine.update_params(policy.params)
    assert same_bits(before[0], engine.generate(asked)[0])


# Layout


def test_limits_of_an_engine(policy):
    def limits(**sizes):
        engine = Engine(policy, **sizes)
        return engine.slots, engine.max_len

    assert limits(slots=2, page_size=16, max_len=50) == (2, 64)  # whole pages
    assert limits(slots=2, page_size=48) == (2, 128)  # but no more than the model's positions
    assert limits(slots=3, pages=4, page_size=16, max_len=64) == (3, 64)
    for sizes, reason in (
        ({"max_len": 129}, "max_len=129"), ({"max_len": 1}, "max_len=1"), ({"slots": 0}, "slots=0"),
        ({"pages": 3, "page_size": 16, "max_len": 64}, "pages=3"), ({"prefix_cache": "some"}, "prefix_cache"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=reason):
            Engine(policy, **sizes)


def test_a_mesh_gives_the_tokens_of_one_device(engine):
    mesh = make_mesh({"data": 2, "fsdp": 2, "tensor": 2})
    sharded = make_policy(mesh=mesh)
    spread = Engine(sharded, slots=4, page_size=16, max_len=MAX_LEN, mesh=mesh)
    requests = [request(n, seed=n, temperature=0.0, max_tokens=12) for n in (1, 5, 17, 34, 40)]
    requests += [request(n, seed=n, max_tokens=12) for n in (2, 33)]
    requests += [request(34, max_tokens=12, temperature=0.0, frequency_penalty=0.5)] * 3
    want = engine.generate(requests)
    for _ in range(2):
        for a, b in zip(want, spread.generate(requests), strict=True):
            assert np.array_equal(a.token_ids, b.token_ids)
            np.testing.assert_allclose(a.model_logprobs, b.model_logprobs, atol=1e-4)
        spread.update_params(sharded.params)
    assert spread.stats()["compiles"] <= toys.PROGRAMS
    with pytest.raises(ValueError, match="8 devices"):
        Engine(sharded, slots=4, page_size=16, max_len=MAX_LEN)


# Failures


def breaking(monkeypatch, engine, name, after_donation):
    """Makes a device program fail, before or after it has taken the cache."""
    compiled = engine._device.programs[name]

    def fail(params, cache, *args):
        if after_donation:
            compiled(params, cache, *args)
        raise RuntimeError("device lost")

    monkeypatch.setitem(engine._device.programs, name, fail)


@pytest.mark.parametrize("name", ["prefill", "decode"])
@pytest.mark.parametrize("after_donation", [False, True])
def test_a_device_failure_reaches_everyone_and_the_engine_recovers(policy, engine, monkeypatch, name, after_donation):
    asked = [request(20, seed=i, max_tokens=30) for i in range(6)]
    healthy = engine.generate(asked)
    engine.update_params(policy.params)  # so that the prompts are no longer known
    handles = [engine.submit(r) for r in asked]
    with monkeypatch.context() as patch:
        breaking(patch, engine, name, after_donation)
        with pytest.raises(RuntimeError, match="device lost"):
            handles[2].result()
        with pytest.raises(RuntimeError, match="device lost"):
            engine.generate(asked)
    for handle in handles:
        completion = handle.result()
        assert (completion.finish_reason, completion.error) == ("error", "RuntimeError: device lost")
    assert engine.stats()["live"] == engine.stats()["waiting"] == 0
    assert all(same_bits(a, b) for a, b in zip(healthy, engine.generate(asked), strict=True))


def test_logits_that_are_not_finite_end_their_request_with_an_error(policy, engine):
    """Neither a hang nor a reply: the first such token is the last, and good parameters are served again afterwards."""
    asked = [request(20, seed=1, max_tokens=30), request(7, seed=2, temperature=0.0, max_tokens=30)]
    healthy = engine.generate(asked)
    engine.update_params(jax.tree.map(lambda leaf: leaf * np.nan, policy.params))
    for broken in engine.generate(asked):
        assert (broken.finish_reason, broken.text, len(broken.token_ids)) == ("error", "", 1)
        assert "not finite" in broken.error and np.isnan(broken.model_logprobs).all()
    engine.update_params(policy.params)
    assert all(same_bits(a, b) for a, b in zip(healthy, engine.generate(asked), strict=True))


def test_an_interrupt_leaves_a_usable_engine(engine, monkeypatch):
    asked = request(20, max_tokens=30)
    healthy = engine.generate([asked])[0]
    handle = engine.submit(asked)
    with monkeypatch.context() as patch:
        patch.setattr(engine, "_collect", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            handle.result()
    assert handle.result().error.startswith("KeyboardInterrupt")
    assert same_bits(healthy, engine.generate([asked])[0])


@pytest.mark.parametrize("call", ["result", "cancel"])
def test_a_failing_tokenizer_reaches_the_caller(engine, monkeypatch, call):
    def fail(ids):
        raise LookupError("no such piece")

    handle = engine.submit(request(3))
    with monkeypatch.context() as patch:
        patch.setattr(engine, "tokenizer", types.SimpleNamespace(decode=fail, stop_ids=()))
        with pytest.raises(LookupError):
            getattr(handle, call)()
    assert (handle.result().finish_reason, handle.result().error) == ("error", "LookupError: no such piece")
