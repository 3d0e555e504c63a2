"""Eight simulated devices take the same optimiser step as one, under every kind of mesh."""

import jax
import numpy as np
import pytest
from rl_support import CFG, assert_close, copy, params, plain_loss, segments
from support import optimizer_settings

from mxjax import rl
from mxjax.models.params import param_shardings
from mxjax.rl.optimizer import park, unpark
from mxjax.sharding import make_mesh

ALPHAS = {"designer": 0.5, "executor": 1.0}
MESHES = [{"fsdp": 8}, {"tensor": 2, "fsdp": 4}, {"data": 2, "fsdp": 2, "tensor": 2}]
OPTIMIZER = optimizer_settings(
    learning_rate=1e-2, b2=0.9, eps=1e-3
)  # eps keeps the step a smooth function of the gradient


def two_updates(mesh):
    """State and metrics after two coupled updates."""
    learner = rl.Learner(CFG, rl.make_optimizer(OPTIMIZER), mesh, row_length=24, minibatch_segments=100)
    state = rl.init_state({"shared": params(mesh)}, learner.optimizer, "coupled")
    for step in range(2):
        state, metrics = learner.update(state, segments(12, seed=step), ALPHAS)
    assert learner.compiles == 3
    return state, metrics


@pytest.fixture(scope="module")
def single():
    state, metrics = two_updates(None)
    return copy(state), metrics


@pytest.mark.parametrize("shape", MESHES, ids=lambda shape: "-".join(f"{k}{v}" for k, v in shape.items()))
def test_same_update_as_on_one_device(single, shape):
    mesh = make_mesh(shape)
    state, metrics = two_updates(mesh)
    assert_close(state.policies, single[0].policies, rtol=1e-3, atol=1e-5)
    assert_close(state.optimizers, single[0].optimizers, rtol=1e-3, atol=1e-6)
    for name in set(metrics) - {"rows", "row_fill"}:
        np.testing.assert_allclose(metrics[name], single[1][name], rtol=1e-3, atol=1e-5, err_msg=name)

    expected = param_shardings(CFG, mesh)
    found = jax.tree.map(lambda x: x.sharding, state.policies["shared"])
    assert found == expected
    moments = state.optimizers["coupled"][1]
    assert jax.tree.map(lambda x: x.sharding, moments.mu) == expected
    assert jax.tree.map(lambda x: x.sharding, moments.nu) == expected
    host = unpark(park(state.optimizers))
    assert jax.tree.map(lambda x: x.sharding, host) == jax.tree.map(lambda x: x.sharding, state.optimizers)


def test_gradient_on_a_mesh_equals_one_segment_at_a_time():
    """The accumulated gradient itself, through rows spread over data × fsdp with heads over tensor."""
    mesh = make_mesh({"data": 2, "fsdp": 2, "tensor": 2})
    learner = rl.Learner(CFG, rl.make_optimizer(OPTIMIZER), mesh, row_length=24, minibatch_segments=100)
    batch = segments(9, seed=4)
    alphas = {"designer": 1.0, "executor": 1.0}
    rows, _ = learner._prepared(batch, alphas)
    assert len(rows) % 4 == 0
    gradients, stats = learner.programs.run("zeros")
    for micro in rows.micro_batches(4):
        micro = learner._on_device(micro)
        gradients, stats = learner.programs.run("accumulate", params(mesh), gradients, stats, micro)
    loss, expected = plain_loss(params(), batch, alphas)
    assert_close(gradients, expected)
    np.testing.assert_allclose(sum(float(stats[r].sums["loss"][0]) for r in stats), loss, rtol=1e-4)
    for kind in ("zeros", "accumulate", "apply", "score"):
        assert learner.programs.lower(kind).as_text().startswith("module")
    scored = learner.score(params(mesh), batch)
    alone = rl.Learner(CFG, learner.optimizer, row_length=24).score(params(), batch)
    for a, b in zip(scored, alone, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
