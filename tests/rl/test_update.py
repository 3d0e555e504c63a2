"""The learner against steps written by hand, and what it promises about stages, batching and failure."""

import dataclasses
from copy import copy as shallow_copy

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from rl_support import (
    CFG,
    assert_close,
    assert_same_bits,
    copy,
    params,
    plain_loss,
    plain_step,
    segment_logprobs,
    segments,
    with_old,
)
from support import optimizer_settings

from mxjax import checkpoint, rl
from mxjax.models.params import abstract_params
from mxjax.rl.optimizer import apply_updates, init_optimizer, park, unpark, update_count
from mxjax.rl.programs import Programs
from mxjax.sharding import make_mesh

BOTH = {"designer": 1.0, "executor": 1.0}
DESIGNER = {"designer": 1.0, "executor": 0.0}
EXECUTOR = {"designer": 0.0, "executor": 1.0}
SETTINGS = {"row_length": 24, "microbatch_rows": 2, "minibatch_segments": 8}
FAST = optimizer_settings(learning_rate=1e-2)


@pytest.fixture(scope="module")
def adamw():
    """A learner whose compiled programs the tests of this file share."""
    return rl.Learner(CFG, rl.make_optimizer(FAST), **SETTINGS)


@pytest.fixture(scope="module")
def sgd():
    """A learner that moves the weights by exactly minus the gradient."""
    return rl.Learner(CFG, optax.sgd(1.0), **SETTINGS | {"minibatch_segments": 1000})


def like(learner, **changes):
    """A learner with other settings that do not concern its compiled programs, which it shares."""
    other = shallow_copy(learner)
    other.settings = dataclasses.replace(learner.settings, **changes)
    return other


def state_of(learner, mode="stagewise", policies=None):
    return rl.init_state(policies or {"shared": params()}, learner.optimizer, mode)


def gradient_of(learner, batch, alphas=BOTH, **kwargs):
    """What an SGD learner subtracts from fresh parameters."""
    state, metrics = learner.update(state_of(learner, "coupled"), batch, alphas, **kwargs)
    return jax.tree.map(np.subtract, copy(params()), copy(state.policies["shared"])), metrics


# Against steps written by hand.


def test_coupled_is_one_summed_loss_and_one_adamw_step(adamw):
    batch = segments(8)
    alphas = {"designer": 0.7, "executor": 1.3}
    state, metrics = adamw.update(state_of(adamw, "coupled"), batch, alphas)
    assert metrics["updates"] == 1 and list(state.optimizers) == ["coupled"]
    assert update_count(state.optimizers["coupled"]) == 1
    policy = params()
    expected, moments = plain_step(policy, adamw.optimizer.init(policy), adamw.optimizer, batch, alphas)
    assert_close(state.policies["shared"], expected, rtol=1e-3, atol=1e-5)
    assert_close(state.optimizers["coupled"], moments, rtol=1e-3, atol=1e-6)
    losses = [metrics[f"{role}/loss"] * alpha for role, alpha in alphas.items()]
    np.testing.assert_allclose(sum(losses), plain_loss(policy, batch, alphas)[0], rtol=1e-4)


@pytest.mark.parametrize("alphas", [BOTH, DESIGNER, {"designer": 0.25, "executor": 2.0}])
def test_gradient_equals_one_segment_at_a_time(sgd, alphas):
    batch = segments(10, seed=1)
    found, metrics = gradient_of(sgd, batch, alphas)
    _, expected = plain_loss(params(), batch, alphas)
    assert_close(found, expected)
    np.testing.assert_allclose(metrics["grad_norm"], optax.tree.norm(expected), rtol=1e-4)


def test_mini_batches_are_optimiser_steps_in_seeded_order(adamw):
    batch = segments(20, seed=2, roles=["executor"])
    state, metrics = adamw.update(state_of(adamw), batch, EXECUTOR, seed=3)
    assert metrics["updates"] == 3 and metrics["segments"] == 20
    assert update_count(state.optimizers["executor"]) == 3
    again, _ = adamw.update(state_of(adamw), batch, EXECUTOR, seed=3)
    assert_same_bits(state, again)
    other, _ = adamw.update(state_of(adamw), batch, EXECUTOR, seed=4)
    assert not np.array_equal(other.policies["shared"]["embed"], state.policies["shared"]["embed"])
    later, _ = adamw.update(state_of(adamw).replace(step=1), batch, EXECUTOR, seed=3)
    assert not np.array_equal(later.policies["shared"]["embed"], state.policies["shared"]["embed"])


def test_epochs_use_every_segment_again(adamw):
    learner = like(adamw, epochs=2)
    _, metrics = learner.update(state_of(learner), segments(9, roles=["designer"]), DESIGNER)
    assert metrics["updates"] == 4 and metrics["segments"] == 18


def test_roles_may_have_mini_batches_of_their_own(adamw):
    learner = like(adamw, minibatch_segments={"designer": 2, "executor": 5})
    batch = segments(10, roles=["designer"]) + segments(10, roles=["executor"])
    for alphas, updates in ((DESIGNER, 5), (EXECUTOR, 2)):
        assert learner.update(state_of(learner), batch, alphas)[1]["updates"] == updates
    with pytest.raises(ValueError, match="the same minibatch_segments"):
        learner.update(state_of(learner, "coupled"), batch, BOTH)
    with pytest.raises(ValueError, match="at least 1"):
        like(adamw, minibatch_segments={"designer": 0, "executor": 5})


# Stages.


def test_the_inactive_role_changes_nothing_also_after_a_switch(adamw):
    """With and without the idle role's segments: the same bits in weights, moments and counts, at every step."""
    with_both, without = state_of(adamw), state_of(adamw)
    for step in range(4):
        alphas = rl.role_weights(step, "stagewise", stage_length=2)
        switched = rl.stage_switched(step, "stagewise", stage_length=2)
        batch = segments(12, seed=step)
        active = [s for s in batch if alphas[s.role]]
        idle = "designer" if alphas["executor"] else "executor"
        before = copy(with_both.optimizers[idle])
        with_both, _ = adamw.update(with_both, batch, alphas, seed=7, switched=switched)
        without, _ = adamw.update(without, active, alphas, seed=7, switched=switched)
        assert_same_bits(with_both, without)
        assert_same_bits(with_both.optimizers[idle], before)
    assert [update_count(with_both.optimizers[role]) for role in ("designer", "executor")] == [2, 2]


def test_without_active_segments_there_is_no_update(adamw):
    state = state_of(adamw)
    before = copy(state)
    state, metrics = adamw.update(state, segments(4, roles=["executor"]), DESIGNER)
    assert metrics["updates"] == 0 and metrics["designer/segments"] == 0
    assert_same_bits(state.policies, before.policies)
    assert_same_bits(state.optimizers, before.optimizers)
    assert state.step == 1
    weightless = [dataclasses.replace(s, weights=0 * s.weights) for s in segments(4)]
    assert adamw.update(state, weightless, DESIGNER)[1]["updates"] == 0


def test_zero_advantages_still_decay_the_weights_but_not_the_norms(adamw):
    batch = [dataclasses.replace(s, advantages=0 * s.advantages) for s in segments(4)]
    state, metrics = adamw.update(state_of(adamw), batch, DESIGNER)
    policy = copy(params())
    assert metrics["updates"] == 1 and metrics["grad_norm"] == 0
    np.testing.assert_allclose(state.policies["shared"]["embed"], policy["embed"] * (1 - 1e-2 * 0.01), rtol=1e-6)
    for name in ("attn_norm", "mlp_norm", "q_norm", "k_norm"):
        np.testing.assert_array_equal(state.policies["shared"]["layers"][name], policy["layers"][name])
    np.testing.assert_array_equal(state.policies["shared"]["final_norm"], policy["final_norm"])


@pytest.mark.parametrize("how", ["keep", "reset_mu", "reset"])
def test_moments_at_a_stage_switch(adamw, how):
    learner = like(adamw, on_stage_switch=how)
    state, _ = learner.update(state_of(learner), segments(16), DESIGNER)
    policy, moments = copy(state.policies["shared"]), copy(state.optimizers["designer"])
    fresh = learner.optimizer.init(policy)
    batch = segments(8, seed=9, roles=["designer"])
    if how == "reset_mu":
        moments = optax.tree.set(moments, mu=optax.tree.get(fresh, "mu"))
    start = fresh if how == "reset" else moments
    expected, _ = plain_step(policy, start, learner.optimizer, batch, DESIGNER)
    state, _ = learner.update(state, batch, DESIGNER, switched=True)
    assert_close(state.policies["shared"], expected, rtol=1e-3, atol=2e-5)
    assert update_count(state.optimizers["designer"]) == (1 if how == "reset" else 2)


def test_split_policies_learn_apart(adamw):
    start = params()
    state = state_of(adamw, "coupled", {"designer": start, "executor": start})
    batch = segments(16, seed=5)
    state, metrics = adamw.update(state, batch, BOTH)
    assert metrics["updates"] == 2 and set(state.optimizers) == {"designer", "executor"}
    for role in ("designer", "executor"):
        alone = state_of(adamw, f"{role}_only")
        alone, _ = adamw.update(alone, batch, {role: 1.0})
        assert_same_bits(state.policies[role], alone.policies["shared"])
        assert_same_bits(state.optimizers[role], alone.optimizers[role])
    before = copy(state)
    state, _ = adamw.update(state, batch, EXECUTOR)
    assert_same_bits(state.policies["designer"], before.policies["designer"])
    assert_same_bits(state.optimizers["designer"], before.optimizers["designer"])
    assert not np.array_equal(state.policies["executor"]["embed"], before.policies["executor"]["embed"])


def test_idle_states_wait_in_host_memory_where_there_is_some(adamw):
    kinds = {memory.kind for memory in jax.devices()[0].addressable_memories()}
    learner = like(adamw, park=True)
    parked, kept = state_of(learner), state_of(adamw)
    for step, alphas in enumerate([EXECUTOR, DESIGNER, EXECUTOR]):
        batch = segments(8, seed=step)
        parked, _ = learner.update(parked, batch, alphas)
        kept, _ = adamw.update(kept, batch, alphas)
        assert_same_bits(parked, kept)
        idle = parked.optimizers["designer" if alphas["executor"] else "executor"]
        if "pinned_host" in kinds:
            assert {x.sharding.memory_kind for x in jax.tree.leaves(idle)} == {"pinned_host"}
    moved = unpark(park(copy_to_device(kept.policies)))
    assert {x.sharding.memory_kind for x in jax.tree.leaves(moved)} == {jax.devices()[0].default_memory().kind}


def copy_to_device(tree):
    return jax.device_put(copy(tree))


# Batching never changes the gradient.


@pytest.mark.parametrize(
    "settings",
    [
        {"row_length": 19, "microbatch_rows": 1},
        {"row_length": 200, "microbatch_rows": 3},
    ],
)
def test_micro_batches_packing_and_padding_do_not_change_the_gradient(sgd, settings):
    batch = segments(14, seed=6)
    expected, metrics = gradient_of(sgd, batch)
    learner = rl.Learner(CFG, optax.sgd(1.0), minibatch_segments=1000, **settings)
    found, others = gradient_of(learner, batch)
    assert_close(found, expected)
    for name in set(metrics) - {"rows", "row_fill"}:
        np.testing.assert_allclose(others[name], metrics[name], rtol=1e-4, atol=1e-5, err_msg=name)


def test_order_of_segments_does_not_change_the_gradient(sgd):
    batch = segments(14, seed=6)
    expected, _ = gradient_of(sgd, batch)
    for seed in (1, 2):
        assert_close(gradient_of(sgd, batch[::-1], seed=seed)[0], expected)


def conversation(turns=4, seed=0):
    """Calls of one executor conversation, each prompt the ids so far and some new ones."""
    rng = np.random.default_rng(seed)
    history, calls = np.zeros(0, np.int32), []
    for _ in range(turns):
        sent, sampled = np.append(history, rng.integers(0, 64, 3)), rng.integers(0, 64, 3)
        old = -4 + 0.3 * rng.normal(size=3)
        calls.append(rl.training_segment("executor", sent, sampled, advantage=rng.normal(), old_logprobs=old))
        history = np.append(sent, sampled)
    return calls


def test_merging_turns_does_not_change_the_gradient(sgd):
    apart = like(sgd, merge=False)
    batch = conversation() + segments(4)
    (merged, fewer), (separate, more) = gradient_of(sgd, batch), gradient_of(apart, batch)
    assert_close(merged, separate)
    assert_close(merged, plain_loss(params(), batch, BOTH)[1])
    assert fewer["rows"] < more["rows"] and fewer["tokens"] == more["tokens"]


def test_few_programs_whatever_arrives(adamw, sgd):
    state = state_of(adamw)
    for step, alphas in enumerate([EXECUTOR, DESIGNER, EXECUTOR]):
        state, _ = adamw.update(state, segments(3 + 9 * step, seed=step), alphas)
        assert adamw.compiles == 3, "zeros, accumulate, apply"
    sgd.score(params(), segments(5))
    sgd.score(params(), segments(30))
    gradient_of(sgd, segments(30))
    assert sgd.compiles == 4, "zeros, accumulate, apply, score"


@pytest.mark.parametrize("devices", [1, 8])
def test_sums_and_states_are_updated_in_place(adamw, devices):
    size = lambda tree: sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree)) / devices
    mesh = None if devices == 1 else make_mesh({"fsdp": devices})
    programs = Programs(CFG, adamw.optimizer, rl.make_policy_loss(), ("designer",), (devices, 8), mesh)
    weights, state = programs.abstract_params, programs.abstract_optimizer_state
    in_place = {"accumulate": size(weights), "apply": size(weights) + size(state)}
    for kind, least in in_place.items():
        assert programs.lower(kind).compile().memory_analysis().alias_size_in_bytes >= least, kind


# Old log-probabilities.


def test_ratio_is_one_at_the_first_step(sgd):
    batch = segments(10, seed=8)
    batch = with_old(batch, sgd.score(params(), batch))
    found, metrics = gradient_of(sgd, batch)
    np.testing.assert_allclose([metrics["designer/ratio_max"], metrics["executor/ratio_max"]], 1.0, atol=1e-5)
    assert metrics["designer/clip_fraction"] == metrics["executor/clip_fraction"] == 0
    assert metrics["designer/engine_difference_max"] < 1e-5
    np.testing.assert_allclose(metrics["designer/kl"], 0, atol=1e-6)
    unclipped = [dataclasses.replace(s, old_logprobs=s.old_logprobs + 1e-3) for s in batch]
    assert_close(found, gradient_of(sgd, unclipped)[0], rtol=1e-2, atol=1e-4)


def test_recomputed_old_logprobs(sgd):
    learner = like(sgd, old_logprobs="recompute")
    batch = segments(10, seed=8)
    found, metrics = gradient_of(learner, batch)
    rescored = with_old(batch, sgd.score(params(), batch))
    assert_same_bits(found, gradient_of(sgd, rescored)[0])
    gaps = np.concatenate([
        np.abs(a.old_logprobs - b.old_logprobs)[a.weights > 0]
        for a, b in zip(batch, rescored) if a.role == "designer"
    ])  # fmt: skip
    np.testing.assert_allclose(metrics["designer/engine_difference"], gaps.mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["designer/engine_difference_max"], gaps.max(), rtol=1e-5)


def test_scores_are_those_of_each_segment_alone(sgd):
    batch = segments(7, seed=11)
    for s, scored in zip(batch, sgd.score(params(), batch), strict=True):
        np.testing.assert_allclose(scored, segment_logprobs(params(), s), atol=1e-5)
    assert sgd.score(params(), []) == []


# Other losses, failure, and mistakes.


def test_supervised_fine_tuning_with_the_same_learner():
    learner = rl.Learner(CFG, optax.sgd(1.0), loss=rl.sft_loss, roles=("sft",), row_length=32, minibatch_segments=100)
    rng = np.random.default_rng(0)
    batch = [
        rl.TrainingSegment("sft", rng.integers(0, 64, n), np.append(0.0, rng.integers(0, 2, n - 1)))
        for n in (5, 9, 20, 32)
    ]

    weight = sum(s.weights.sum() for s in batch)
    loss = -sum((s.weights * segment_logprobs(params(), s)).sum() for s in batch) / weight
    state, metrics = learner.update(state_of(learner, "sft"), batch, {"sft": 1.0})
    assert list(state.optimizers) == ["sft"]
    np.testing.assert_allclose(metrics["sft/loss"], loss, rtol=1e-5)
    # At ratio 1, advantage 1 and no clipping, the policy gradient is that of the likelihood.
    as_policy = [
        dataclasses.replace(s, role="designer", advantages=np.ones(len(s)), old_logprobs=segment_logprobs(params(), s))
        for s in batch
    ]
    _, gradient = plain_loss(params(), as_policy, DESIGNER)
    assert_close(state.policies["shared"], jax.tree.map(np.subtract, copy(params()), gradient))


@pytest.mark.parametrize("where", ["advantages", "old_logprobs", "weights"])
def test_a_batch_that_is_not_finite_is_skipped_and_handed_over(adamw, where):
    good, bad = segments(8, roles=["designer"]), segments(8, seed=1, roles=["designer"])
    getattr(bad[3], where)[-1] = np.nan
    state, batches = state_of(adamw), []
    before = copy(state)
    state, metrics = adamw.update(state, bad, DESIGNER, skipped=batches.append)
    assert metrics["skipped"] == 1 and metrics["updates"] == 0
    assert_same_bits(state.policies, before.policies)
    assert_same_bits(state.optimizers, before.optimizers)
    (batch,) = batches
    assert (batch.owner, batch.index) == ("designer", 0) and np.isnan(getattr(batch.rows, f"{where}_BT")).any()
    packed = batch.rows.tokens_BT[batch.rows.segment_ids_BT > 0]
    assert sorted(packed) == sorted(np.concatenate([s.tokens for s in bad]))
    state, metrics = adamw.update(state, good + bad, DESIGNER)
    assert metrics["skipped"] == 1 and metrics["updates"] == 1
    assert all(np.isfinite(value) for value in metrics.values())
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(copy(state.policies)))


@pytest.mark.parametrize("spoil", ["loss", "parameter", "moment"])
def test_nothing_that_is_not_finite_is_taken(spoil):
    """A sound gradient is not enough: the loss, and what the step would make of weights and moments, must be finite."""
    step = lambda scale: optax.GradientTransformation(
        lambda params: {"mu": jnp.zeros(3)},
        lambda g, state, params: (jax.tree.map(lambda x: scale * x, g), {"mu": state["mu"] + bad_moment}),
    )
    bad_moment = jnp.inf if spoil == "moment" else 1.0
    programs = Programs(CFG, step(3e38 if spoil == "parameter" else 1.0), rl.make_policy_loss(), ("designer",), (1, 8))
    gradients, stats = programs.run("zeros")
    gradients["embed"] = gradients["embed"].at[0, 0].set(10.0)
    if spoil == "loss":
        stats["designer"].sums["loss"] = (jnp.float32(np.inf), jnp.float32(1.0))
    before = params()
    kept, state, norm, ok = programs.run("apply", params(), {"mu": jnp.zeros(3)}, gradients, stats, np.uint32(0))
    assert not ok and norm == 10
    assert_same_bits(kept, before)
    assert not state["mu"].any()


def test_mistakes_are_one_sentence(adamw):
    with pytest.raises(ValueError, match="unknown role 'critic'"):
        adamw.update(state_of(adamw), [], {"critic": 1.0})
    with pytest.raises(ValueError, match="does not fit the optimiser states designer, executor"):
        adamw.update(state_of(adamw), segments(4), BOTH)
    state = state_of(adamw)
    with pytest.raises(ValueError, match=r"raise rl\.row_length"):
        too_long = rl.training_segment("designer", [1] * 20, [2] * 20)
        adamw.update(state, [*segments(20, roles=["designer"]), too_long], DESIGNER)
    copy(state)  # a mistake is found before anything is donated
    for setting in ({"old_logprobs": "guess"}, {"on_stage_switch": "drop"}, {"epochs": 0}):
        with pytest.raises(ValueError, match=f"rl.{next(iter(setting))}"):
            rl.LearnerSettings(row_length=8, **setting)
    with pytest.raises(ValueError, match="stagewise, coupled"):
        rl.init_state({"shared": params()}, adamw.optimizer, "both")
    with pytest.raises(ValueError, match="policies must be named"):
        rl.init_state({"policy": params()}, adamw.optimizer)


# The optimiser.


def test_optimizer_equals_optax_adamw():
    settings = optimizer_settings(learning_rate=1e-3, weight_decay=0.1, clip_norm=0.5)
    ours = rl.make_optimizer(settings)
    theirs = optax.chain(
        optax.clip_by_global_norm(0.5),
        optax.adamw(1e-3, b1=0.9, b2=0.999, eps=1e-8, weight_decay=0.1, mask={"w": True, "norm": False}),
    )
    policy = {"w": np.ones((2, 3), np.float32), "norm": np.ones(3, np.float32)}
    states = [ours.init(policy), theirs.init(policy)]
    for seed in range(3):
        rng = np.random.default_rng(seed)
        gradient = {name: rng.normal(size=p.shape).astype(np.float32) for name, p in policy.items()}
        (a, states[0]), (b, states[1]) = (o.update(gradient, s, policy) for o, s in zip((ours, theirs), states))
        assert_close(a, b, rtol=1e-6, atol=0)


def test_learning_rate_schedules():
    warm = rl.learning_rate_schedule(optimizer_settings(learning_rate=2.0, warmup_steps=4))
    np.testing.assert_allclose([warm(n) for n in range(6)], [0.5, 1.0, 1.5, 2.0, 2.0, 2.0])
    shape = optimizer_settings(learning_rate=2.0, total_steps=10)
    linear = rl.learning_rate_schedule(shape | {"schedule": "linear"})
    np.testing.assert_allclose([linear(n) for n in (0, 5, 10, 99)], [2.0, 1.0, 0.0, 0.0], rtol=1e-6)
    cosine = rl.learning_rate_schedule(shape | {"schedule": "cosine"})
    np.testing.assert_allclose([cosine(n) for n in (0, 5, 10, 99)], [2.0, 1.0, 0.0, 0.0], rtol=1e-6, atol=1e-6)
    assert rl.learning_rate_schedule(optimizer_settings())(0) == pytest.approx(5e-6)
    with pytest.raises(ValueError, match="constant, cosine, linear"):
        rl.make_optimizer(optimizer_settings(schedule="step"))
    with pytest.raises(ValueError, match="unknown optimizer settings lr"):
        rl.make_optimizer(optimizer_settings(lr=1.0))
    with pytest.raises(ValueError, match="total_steps"):
        rl.make_optimizer(optimizer_settings(schedule="cosine"))
    with pytest.raises(ValueError, match="needs settings of b1, b2"):
        rl.make_optimizer({"learning_rate": 1.0})


def test_policies_that_share_arrays_are_separated():
    start = params()
    state = rl.init_state({"designer": start, "executor": start}, optax.sgd(1.0))
    assert state.policies["designer"]["embed"] is not state.policies["executor"]["embed"]
    assert_same_bits(state.policies["designer"], state.policies["executor"])
    assert_same_bits(init_optimizer(optax.sgd(1.0), start), optax.sgd(1.0).init(start))


# Weights in bfloat16.


def test_bfloat16_sums_are_rounded_to_a_neighbour_with_their_mean_kept():
    """An eighth of the last bit moves one weight in eight; what is representable and what is float32 is exact."""
    ones = jnp.ones(1 << 16, jnp.bfloat16)  # the next number above is 1 + 2 ** -7
    policy = {"moved": ones, "resting": -3 * ones, "float32": jnp.full(3, 0.1)}
    updates = {"moved": jnp.full(1 << 16, 2.0**-10), "resting": jnp.zeros(1 << 16), "float32": jnp.full(3, 1e-9)}
    first, second = (apply_updates(policy, updates, jnp.uint32(seed)) for seed in (1, 2))
    found, counts = np.unique(np.asarray(first["moved"], np.float32), return_counts=True)
    np.testing.assert_array_equal(found, [1, 1 + 2**-7])
    assert counts[1] / (1 << 16) == pytest.approx(1 / 8, abs=0.01)
    assert_same_bits(first["resting"], policy["resting"])
    assert_same_bits(first["float32"], optax.apply_updates(policy, updates)["float32"])
    assert (first["moved"] != second["moved"]).mean() == pytest.approx(2 * 7 / 64, abs=0.02)


def test_bfloat16_weights_are_rounded_anew_at_every_step_also_without_a_gradient():
    """Only momentum moves them: with one seed for all steps the same weights would move each time."""
    cfg, optimizer = CFG.replace(param_dtype="bfloat16"), rl.make_optimizer(FAST | {"learning_rate": 1e-3})
    programs = Programs(cfg, optimizer, rl.make_policy_loss(), ("designer",), (1, 8))
    moved = []
    for seed in (1, 2):
        weights = jax.tree.map(lambda p: jnp.ones(p.shape, jnp.bfloat16), programs.abstract_params)
        state = init_optimizer(optimizer, weights)
        zero, stats = programs.run("zeros")
        first = jax.tree.map(lambda p: jnp.full(p.shape, 1e-3, jnp.float32), weights)
        weights, state, *_ = programs.run("apply", weights, state, first, stats, np.uint32(0))
        start = np.asarray(weights["embed"], np.float32)
        weights, *_ = programs.run("apply", weights, state, zero, stats, np.uint32(seed))
        moved.append(np.asarray(weights["embed"], np.float32) != start)
    assert 0 < moved[0].mean() < 1 and (moved[0] != moved[1]).mean() > 0.01


@pytest.mark.slow
def test_bfloat16_weights_learn_like_float32_ones_and_resume(adamw, tmp_path):
    """Moments are those of float32 weights with the same values, weights the same to their last bit (but where a
    gradient is all rounding error: AdamW's first step goes by its sign). What a checkpoint restores goes on alike."""
    rough = rl.Learner(CFG.replace(param_dtype="bfloat16"), adamw.optimizer, **SETTINGS)
    rounded = jax.tree.map(lambda p: p.astype(jnp.bfloat16), params())
    exact = jax.tree.map(lambda p: p.astype(jnp.float32), rounded)
    batch = segments(8)
    expected, _ = adamw.update(state_of(adamw, "coupled", {"shared": exact}), batch, BOTH)
    state, metrics = rough.update(state_of(rough, "coupled", {"shared": rounded}), batch, BOTH)
    assert metrics["updates"] == 1 and {p.dtype for p in jax.tree.leaves(state.policies)} == {jnp.dtype("bfloat16")}
    flat = lambda tree: np.concatenate([np.ravel(leaf).astype(np.float32) for leaf in jax.tree.leaves(copy(tree))])
    weights, right = flat(state.policies), flat(expected.policies)
    assert np.isclose(weights, right, rtol=2**-7, atol=1e-4).mean() > 0.99
    for moment in ("mu", "nu"):
        found, right = (optax.tree.get(s.optimizers["coupled"], moment) for s in (state, expected))
        assert {m.dtype for m in jax.tree.leaves(found)} == {jnp.dtype("float32")}
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=0.02 * np.abs(b).max()), found, right)

    checkpoint.save(tmp_path, {"params": state.policies, "opt": state.optimizers}, 1)
    like = rl.init_state({"shared": abstract_params(CFG.replace(param_dtype="bfloat16"))}, rough.optimizer, "coupled")
    saved = checkpoint.restore(tmp_path, {"params": like.policies, "opt": like.optimizers})
    resumed = state.replace(policies=saved["params"], optimizers=saved["opt"])
    ends = [rough.update(s, segments(8, seed=1), BOTH)[0] for s in (state, resumed)]
    assert_same_bits(ends[0].policies, ends[1].policies)
    assert_same_bits(ends[0].optimizers, ends[1].optimizers)
    assert rough.compiles == 3
