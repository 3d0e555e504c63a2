"""Every family on every kind of mesh: eight simulated devices take the step of one, and send what the layout demands.

`PYTHONPATH=.:tests:tests/rl python tests/rl/test_programs_sharded.py` prints what each sends as a table.
"""

import functools
import logging

import jax
import numpy as np
import pytest
from rl_support import segments
from support import optimizer_settings

from mxjax import rl
from mxjax.models import ModelConfig, attention, transformer
from mxjax.models.config import FAMILY_TRAITS, RopeScaling, gemma_layer_types
from mxjax.models.params import abstract_params, param_shardings
from mxjax.plan.hlo import Traffic, program_cost
from mxjax.rl.programs import Programs
from mxjax.sharding import _warn_replicated, make_mesh

ROWS, TOKENS, LAYERS = 8, 32, 6
BASE = {
    "vocab_size": 64, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": LAYERS,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
}  # fmt: skip
GEMMA = {
    "layer_types": gemma_layer_types(LAYERS, 3), "sliding_window": 5, "query_pre_attn_scalar": 8,
    "rope_scaling": RopeScaling("linear", 8.0),
}  # fmt: skip
FAMILIES = {
    "llama": ModelConfig(**BASE, **FAMILY_TRAITS["llama"], rope_scaling=RopeScaling("llama3", 8.0)),
    "qwen2": ModelConfig(**BASE, **FAMILY_TRAITS["qwen2"], tie_word_embeddings=False),
    "qwen3": ModelConfig(**BASE, **FAMILY_TRAITS["qwen3"]),
    "gemma3_text": ModelConfig(**BASE, **FAMILY_TRAITS["gemma3_text"], **GEMMA),
}
MESHES = {"data": (8, 1, 1), "fsdp": (1, 8, 1), "fsdp+tensor": (1, 2, 4), "all": (2, 2, 2)}
OPTIMIZER = rl.make_optimizer(optimizer_settings(learning_rate=1e-2, b2=0.9, eps=1e-3))
ALPHAS = {"designer": 0.5, "executor": 1.0}


def mesh_of(name):
    return make_mesh(dict(zip(("data", "fsdp", "tensor"), MESHES[name], strict=True)))


def values(cfg):
    """Parameters far from their initial values."""
    rng = np.random.default_rng(0)

    def leaf(path, p):
        noise = rng.normal(size=p.shape)
        if "norm" in jax.tree_util.keystr(path):
            return np.asarray((not cfg.norm_offset) + 0.3 * noise, np.float32)
        return np.asarray(0.7 * noise / 8, np.float32)

    return jax.tree_util.tree_map_with_path(leaf, abstract_params(cfg))


@functools.cache
def rows():
    """One micro-batch of rows full of segments of both roles."""
    learner = rl.Learner(FAMILIES["llama"], OPTIMIZER, row_length=TOKENS, microbatch_rows=ROWS)
    packed, _ = learner._prepared(segments(24, longest=13), ALPHAS)
    return next(iter(packed.micro_batches(ROWS)))


@functools.cache
def step(family, mesh_name):
    """(loss, gradients, parameters after the step, optimiser state, cost by program) on a mesh; None: one device."""
    cfg, mesh = FAMILIES[family], mesh_name and mesh_of(mesh_name)
    programs = Programs(cfg, OPTIMIZER, rl.make_policy_loss(), rl.stages.ROLES, (ROWS, TOKENS), mesh)
    params = jax.device_put(values(cfg), None if mesh is None else param_shardings(cfg, mesh))
    micro = jax.device_put(rows(), programs.rows_sharding)
    gradients, stats = programs.run("accumulate", params, *programs.run("zeros"), micro)
    loss = sum(float(stats[role].sums["loss"][0]) for role in stats)
    gradient = jax.tree.map(np.array, gradients)
    state = rl.init_state({"shared": params}, OPTIMIZER, "coupled").optimizers["coupled"]
    params, state, _, ok = programs.run("apply", params, state, gradients, stats, np.uint32(0))
    assert bool(ok)
    costs = {key[0]: program_cost(program.as_text()) for key, program in programs._compiled.items()}
    return loss, gradient, params, state, costs


def assert_within(found, expected, tolerance):
    """The norm of each leaf's difference is within `tolerance` of the leaf's own."""

    def check(path, a, b):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        assert np.linalg.norm(a - b) <= tolerance * np.linalg.norm(b) + 1e-12, jax.tree_util.keystr(path)

    jax.tree_util.tree_map_with_path(check, found, expected)


CASES = [
    pytest.param(family, mesh, marks=() if family == "qwen3" else pytest.mark.slow)
    for family in FAMILIES
    for mesh in MESHES
]


@pytest.mark.parametrize(("family", "mesh_name"), CASES)
def test_the_step_of_one_device(family, mesh_name):
    """Loss, gradient, parameters and moments to 1e-5; moments are laid out like the parameters."""
    loss, gradient, params, state, _ = step(family, None)
    found_loss, found_gradient, found_params, found_state, _ = step(family, mesh_name)
    assert found_loss == pytest.approx(loss, rel=1e-5)
    assert_within(found_gradient, gradient, 1e-5)
    assert_within(found_params, params, 1e-5)
    assert_within(found_state, state, 2e-5)  # a square has twice the relative error
    shardings = param_shardings(FAMILIES[family], mesh_of(mesh_name))
    for tree in (found_params, found_state[1].mu, found_state[1].nu):
        assert jax.tree.map(lambda x: x.sharding, tree) == shardings


def sent(costs, *kinds):
    none = Traffic(0, 0)
    return sum(costs["accumulate"].collectives.get(kind, none).bytes for kind in kinds)


def budget(cfg, mesh_name):
    """(bytes that a device must send in one micro-batch, those of gathering every parameter once more per layer).

    Weights are gathered over `fsdp` in the forward pass, for its recomputation and for the backward pass; gradients
    are summed over all rows' devices (CPUs have no reduce-scatter); `tensor` sums activations twice per layer and pass.
    """
    data, fsdp, tensor = MESHES[mesh_name]
    size = sum(4 * leaf.size for leaf in jax.tree.leaves(abstract_params(cfg)))
    gathers = 3 * (fsdp - 1) / fsdp * size / tensor
    sums = 2 * size / tensor
    activations = 4 * ROWS // (data * fsdp) * TOKENS * cfg.hidden_size * bool(tensor > 1)
    return gathers + sums + 2 * 2 * 3 * LAYERS * activations, LAYERS * 7 / 8 * size


@pytest.mark.parametrize(("family", "mesh_name"), CASES)
def test_no_more_is_sent_than_the_layout_demands(family, mesh_name):
    """A silent gather of all parameters, or of the whole batch, in each layer would send several times as much."""
    cfg, costs = FAMILIES[family], step(family, mesh_name)[-1]
    _, fsdp, tensor = MESHES[mesh_name]
    needed, everything = budget(cfg, mesh_name)
    total = sent(costs, *costs["accumulate"].collectives)
    assert total <= 1.1 * needed < total + everything
    gathered = sent(costs, "all-gather")
    assert gathered == 0 if (fsdp, tensor) == (1, 1) else gathered > 0
    count = sum(traffic.runs for traffic in costs["accumulate"].collectives.values())
    assert count <= COUNTS[mesh_name]
    apply = costs["apply"].collectives  # the norm of the gradient, and nothing of any size
    assert sum(traffic.bytes for traffic in apply.values()) <= 4096
    assert not costs["zeros"].collectives


def test_loops_over_blocks_send_nothing(monkeypatch):
    """Rows cut into four blocks, of attention and of logits, send the bytes of rows in one; kv heads do not divide.

    Gathers of the head, sums of its gradient or of those of kv heads in each block would send four times as many.
    """

    def sent():
        cfg = FAMILIES["qwen2"].replace(num_hidden_layers=2)
        mesh = mesh_of("fsdp+tensor")
        programs = Programs(cfg, OPTIMIZER, rl.make_policy_loss(), rl.stages.ROLES, (ROWS, TOKENS), mesh)
        collectives = program_cost(programs.lower("accumulate").compile().as_text()).collectives
        return {kind: traffic.bytes for kind, traffic in collectives.items()}

    whole = sent()
    monkeypatch.setattr(attention, "BLOCK", TOKENS // 4)
    monkeypatch.setattr(transformer, "LOGIT_BLOCK", TOKENS // 4)
    assert sent() == pytest.approx(whole)


def test_heads_that_do_not_divide_are_replicated_with_a_warning(caplog):
    _warn_replicated.cache_clear()
    with caplog.at_level(logging.WARNING, "mxjax.sharding"):
        shardings = param_shardings(FAMILIES["qwen3"], mesh_of("fsdp+tensor"))
        param_shardings(FAMILIES["qwen3"], mesh_of("fsdp+tensor"))
    assert caplog.messages == ["kv_heads (2) does not divide over mesh.tensor=4: it is replicated"]
    assert shardings["layers"]["wk"].spec == jax.sharding.PartitionSpec(None, "fsdp", None, None)
    assert shardings["layers"]["wq"].spec == jax.sharding.PartitionSpec(None, "fsdp", "tensor", None)


# Collectives of one micro-batch: per layer and pass a gather of each weight matrix, sums of activations and gradients.
COUNTS = {"data": 10, "fsdp": 100, "fsdp+tensor": 195, "all": 155}


def main():
    """Prints bytes and counts of what each family sends on each mesh."""
    print(f"{'family':<12} {'mesh':<12} {'count':>6} {'KB sent':>9} {'needed':>9}  by kind")
    for family in FAMILIES:
        for mesh_name in MESHES:
            costs = step(family, mesh_name)[-1]
            found = costs["accumulate"].collectives
            count, total = (sum(traffic[i] for traffic in found.values()) for i in range(2))
            needed = budget(FAMILIES[family], mesh_name)[0]
            kinds = ", ".join(f"{kind} {t.count:.0f} ({t.bytes / 1e3:.0f} KB)" for kind, t in found.items())
            print(
                f"{family:<12} {mesh_name:<12} {count:>6.0f} {total / 1e3:>9.0f} {needed / 1e3:>9.0f}  {kinds}",
                flush=True,
            )


if __name__ == "__main__":
    main()
