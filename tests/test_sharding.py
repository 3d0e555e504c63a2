"""The mesh, the rules, and the layouts that the parameter table derives from them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from mxjax.models import ModelConfig, init_params, preset
from mxjax.models.params import abstract_params, num_params, param_shardings, param_table
from mxjax.sharding import constrain, make_mesh, named_sharding, partition_spec

MESH = {"data": 2, "fsdp": 2, "tensor": 2}


def test_default_mesh_is_all_fsdp():
    assert dict(make_mesh().shape) == {"data": 1, "fsdp": len(jax.devices()), "tensor": 1}


@pytest.mark.parametrize(
    ("shape", "sizes"),
    [
        ({"fsdp": -1, "tensor": 2}, (1, 4, 2)),
        ({"data": 2, "fsdp": 2, "tensor": 2}, (2, 2, 2)),
        ({"tensor": -1}, (1, 1, 8)),
        ({"data": -1, "fsdp": 4}, (2, 4, 1)),
    ],
)
def test_mesh_sizes(shape, sizes):
    mesh = make_mesh(shape)
    assert tuple(mesh.shape.values()) == sizes and mesh.axis_names == ("data", "fsdp", "tensor")


def test_mesh_of_some_devices():
    assert make_mesh({"fsdp": 2}, jax.devices()[:2]).size == 2
    assert make_mesh(devices=jax.devices()[:1]).size == 1


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"model": 2}, "unknown mesh axes"),
        ({"fsdp": 3}, r"needs 3 devices, there are 8; set mesh"),
        ({"fsdp": -1, "tensor": -1}, "only one mesh axis"),
        ({"fsdp": -1, "tensor": 3}, "needs 6 devices"),
    ],
)
def test_wrong_meshes_are_one_sentence(shape, message):
    with pytest.raises(ValueError, match=message):
        make_mesh(shape)


@pytest.mark.parametrize(
    ("axes", "shape", "spec"),
    [
        (("batch", None), (8, 5), P(("data", "fsdp"), None)),
        (("batch", None), (2, 5), P("data", None)),
        (("batch", None), (3, 5), P(None, None)),
        (("layers", "embed", "heads", None), (3, 8, 4, 16), P(None, "fsdp", "tensor", None)),
        (("layers", "embed", "kv_heads", None), (3, 8, 1, 16), P(None, "fsdp", None, None)),
        (("vocab", "embed"), (151, 8), P(None, "fsdp")),
    ],
)
def test_axes_that_do_not_divide_are_left_out(axes, shape, spec):
    assert partition_spec(MESH, axes, shape) == spec


def test_constrain_needs_no_mesh_and_follows_one():
    x = jnp.ones((8, 4))
    assert constrain(x, "batch", None) is x
    mesh = make_mesh(MESH)
    with jax.set_mesh(mesh):
        y = jax.jit(lambda x: constrain(x * 2, "batch", "mlp"))(x)
    assert y.sharding.is_equivalent_to(named_sharding(mesh, ("batch", "mlp"), (8, 4)), 2)


def test_one_table_for_shapes_layouts_and_values():
    cfg = ModelConfig(32, 16, 24, 2, 4, 2, 4, qk_norm=True, tie_word_embeddings=False)
    mesh = make_mesh(MESH)
    one, many = init_params(jax.random.key(0), cfg), init_params(jax.random.key(0), cfg, mesh)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), one, many)  # compilers may fuse otherwise
    assert jax.tree.map(lambda x: x.sharding, many) == param_shardings(cfg, mesh)
    abstract = abstract_params(cfg, mesh, jnp.bfloat16)
    assert jax.tree.map(lambda x: x.shape, abstract) == jax.tree.map(lambda x: x.shape, one)
    assert {x.dtype for x in jax.tree.leaves(abstract)} == {jnp.dtype(jnp.bfloat16)}
    assert num_params(cfg) == sum(x.size for x in jax.tree.leaves(one))
    assert jax.tree.structure(one) == jax.tree.structure(jax.tree.map(lambda x: 0, abstract))
    assert one["layers"]["wq"].std() == pytest.approx(16**-0.5, rel=0.1)
    assert set(param_table(cfg.replace(qk_norm=False))["layers"]) == set(one["layers"]) - {"q_norm", "k_norm"}
    assert "lm_head" not in param_table(cfg.replace(tie_word_embeddings=True))


@pytest.mark.parametrize(
    ("name", "count"), [("qwen3-1.7b", 1_720_574_976), ("qwen3-4b", 4_022_468_096), ("qwen3-14b", 14_768_307_200)]
)
def test_presets_have_the_parameters_of_the_published_files(name, count):
    assert num_params(preset(name)) == count


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("qwen3-0.6b", 0.596),
        ("qwen3-8b", 8.19),
        ("qwen3-32b", 32.76),
        ("smollm2-135m", 0.1345),
        ("smollm2-360m", 0.3618),
    ],
)
def test_presets_have_the_published_size(name, billions):
    assert num_params(preset(name)) / 1e9 == pytest.approx(billions, rel=2e-3)


def test_large_models_are_spread_over_the_mesh():
    """No parameter of a real architecture but the norms is whole on every device."""
    cfg = preset("qwen3-8b")
    for shape in ({"fsdp": 8}, {"fsdp": 4, "tensor": 2}):
        shardings = param_shardings(cfg, make_mesh(shape))
        for path, leaf in jax.tree_util.tree_leaves_with_path(abstract_params(cfg)):
            sharding = shardings
            for key in path:
                sharding = sharding[key.key]
            pieces = np.prod(leaf.shape) // np.prod(sharding.shard_shape(leaf.shape))
            assert pieces == (1 if "norm" in jax.tree_util.keystr(path) else 8), path


def test_wrong_configurations_are_one_sentence():
    good = preset("tiny")
    for change, message in [
        ({"num_key_value_heads": 3}, "multiple of"),
        ({"head_dim": 7}, "even"),
        ({"dtype": "float16"}, "dtype must be one of"),
        ({"remat": "some"}, "remat must be one of"),
        ({"hidden_size": 0}, "must be positive"),
    ]:
        with pytest.raises(ValueError, match=message):
            good.replace(**change)
    with pytest.raises(ValueError, match=r"unknown model preset 'qwen9'; known: tiny"):
        preset("qwen9")
    assert preset("Qwen3-8B") is preset("qwen3-8b")
