"""Costs of compiled programs: loops multiplied, collectives counted once, and the notation of a TPU's compiler."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from mxjax.models import ModelConfig
from mxjax.models.attention import packed_attention
from mxjax.models.params import abstract_params
from mxjax.models.transformer import embed, forward, layer, layer_kind, rms_norm, unembed
from mxjax.plan.hlo import Rates, Traffic, program_cost
from mxjax.plan.plan import forward_flops
from mxjax.sharding import make_mesh


def compiled(function, *shapes, **options):
    """The program of `function` for float32 arguments of these shapes; an int32 scalar for None."""
    structs = [jax.ShapeDtypeStruct(shape or (), jnp.int32 if shape is None else jnp.float32) for shape in shapes]
    return jax.jit(function, **options).lower(*structs).compile()


def test_a_product_and_a_batch_of_products():
    text = compiled(lambda a, b: jnp.einsum("bij,bjk->bik", a, b), (3, 8, 16), (3, 16, 5)).as_text()
    assert program_cost(text).flops == 2 * 3 * 8 * 16 * 5


def test_the_body_of_a_scan_counts_as_often_as_it_runs():
    def chain(x, weights):
        return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, weights)[0]

    assert program_cost(compiled(chain, (32, 16), (7, 16, 16)).as_text()).flops == 7 * 2 * 32 * 16 * 16


@pytest.mark.parametrize(("trips", "times"), [((), 1), ((5,), 25), ((3, 4), 12)])
def test_loops_whose_length_depends_on_data_run_as_often_as_is_said(trips, times):
    def nested(x, w, n):
        inner = lambda _, x: jnp.tanh(x @ w)
        return jax.lax.fori_loop(0, n, lambda i, x: jax.lax.fori_loop(0, n + i, inner, x), x)

    text = compiled(nested, (32, 16), (16, 16), None).as_text()
    assert program_cost(text, trips).flops == times * 2 * 32 * 16 * 16


@pytest.mark.parametrize(
    "settings",
    [
        {"window_strides": (1, 1), "padding": "SAME"},
        {"window_strides": (2, 3), "padding": ((1, 2), (0, 4))},
        {"window_strides": (1, 1), "padding": ((3, 3), (2, 2)), "lhs_dilation": (4, 1)},
        {"window_strides": (1, 2), "padding": "VALID", "rhs_dilation": (2, 1)},
    ],
)
def test_a_convolution_counts_as_the_compiler_counts_it(settings):
    program = compiled(lambda x, k: jax.lax.conv_general_dilated(x, k, **settings), (2, 3, 9, 8), (5, 3, 3, 2))
    text = program.as_text()
    if " convolution(" not in text:
        pytest.skip("this backend rewrites convolutions")
    assert program_cost(text).flops == program.cost_analysis()["flops"]


def test_collectives_count_as_often_as_they_run_with_the_bytes_of_a_ring():
    mesh = make_mesh({"fsdp": 8})

    def body(x, _):
        return jax.lax.psum(x * 1.5, "fsdp"), None

    total = jax.shard_map(lambda x: jax.lax.scan(body, x, None, 5)[0], mesh=mesh, in_specs=P(), out_specs=P(),
                          check_vma=False)  # fmt: skip
    found = program_cost(compiled(total, (64,)).as_text(), rates=Rates(1e9, 1e9, 1e3))
    assert found.collectives == {"all-reduce": Traffic(5, 5 * 2 * 64 * 4 * 7 / 8)}
    assert found.link_s == pytest.approx(5 * 2 * 64 * 4 * 7 / 8 / 1e3) and found.seconds == found.link_s

    sharded, whole = (jax.sharding.NamedSharding(mesh, spec) for spec in (P("fsdp"), P()))
    gather = compiled(lambda x: x + 1, (64, 4), in_shardings=sharded, out_shardings=whole)
    assert program_cost(gather.as_text()).collectives == {"all-gather": Traffic(1, 64 * 4 * 4 * 7 / 8)}


CFG = ModelConfig(
    vocab_size=2048, hidden_size=256, intermediate_size=768, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, head_dim=64, qk_norm=True, remat="none",
)  # fmt: skip
TOKENS = 128  # one block of attention, whose loops then run once


def unrolled(params, cfg, tokens, positions, segments):
    """`forward` with its layers one after the other in the program."""
    x = embed(params, cfg, tokens)
    for i in range(cfg.num_hidden_layers):
        p = jax.tree.map(lambda leaf, i=i: leaf[i], params["layers"])
        x = layer(p, cfg, x, positions, layer_kind(cfg, i), lambda q, k, v: packed_attention(q, k, v, segments))
    return unembed(params, cfg, rms_norm(x, params["final_norm"], cfg))


def test_a_scanned_model_costs_what_the_unrolled_one_and_the_formula_say():
    row = jax.ShapeDtypeStruct((2, TOKENS), jnp.int32)
    lower = lambda f: jax.jit(f, static_argnums=1).lower(abstract_params(CFG), CFG, row, row, row).compile()
    found = program_cost(lower(forward).as_text()).flops
    assert found == pytest.approx(lower(unrolled).cost_analysis()["flops"], rel=0.05)
    assert found == pytest.approx(forward_flops(CFG, 2, TOKENS), rel=0.05)


TPU = """HloModule jit_step, is_scheduled=true

%half (p: bf16[8,16]) -> bf16[4,16] {
  %p = bf16[8,16]{1,0:T(8,128)(2,1)} parameter(0)
  %sum = bf16[8,16]{1,0:T(8,128)(2,1)} all-reduce(%p), channel_id=3, replica_groups=[2,4]<=[8], to_apply=%add
  %zero = s32[] constant(0)
  ROOT %mine = bf16[4,16]{1,0:T(8,128)(2,1)} dynamic-slice(%sum, %zero, %zero), dynamic_slice_sizes={4,16}
}

%begin (p: bf16[4,16]) -> (bf16[4,16], bf16[8,16]) {
  %p.1 = bf16[4,16]{1,0:T(8,128)(2,1)} parameter(0)
  %g.1 = bf16[8,16]{1,0:T(8,128)(2,1)} all-gather(%p.1), channel_id=7, replica_groups=mesh['x'=2,'y'=4] {'x'}, dimensions={0}
  ROOT %t.1 = (bf16[4,16]{1,0}, bf16[8,16]{1,0}) tuple(%p.1, %g.1)
}

%end (p: bf16[4,16]) -> bf16[8,16] {
  %p.2 = bf16[4,16]{1,0:T(8,128)(2,1)} parameter(0)
  ROOT %g.2 = bf16[8,16]{1,0:T(8,128)(2,1)} all-gather(%p.2), channel_id=7, replica_groups=mesh['x'=2,'y'=4] {'x'}, dimensions={0}
}

%async_collective_fusion.6 (p: bf16[4,16]) -> bf16[8,16] {
  %p.6 = bf16[4,16]{1,0:T(8,128)(2,1)} parameter(0)
  ROOT %g.6 = bf16[8,16]{1,0:T(8,128)(2,1)} all-gather(%p.6), channel_id=9, replica_groups=mesh['x'=2,'y'=4] {'x'}, dimensions={0}
}

%slice (p: f32[100,16], i: s32[]) -> f32[1,16] {
  %p.7 = f32[100,16]{1,0:T(8,128)} parameter(0)
  %i.7 = s32[]{:S(2)} parameter(1)
  ROOT %row.7 = f32[1,16]{1,0:T(8,128)} dynamic-slice(%p.7, %i.7), dynamic_slice_sizes={1,16}
}

%take (p: f32[100,16], i: s32[]) -> f32[16] {
  %p.3 = f32[100,16]{1,0:T(8,128)} parameter(0)
  %i.3 = s32[]{:S(2)} parameter(1)
  %row = f32[1,16]{1,0:T(8,128)} fusion(%p.3, %i.3), kind=kLoop, calls=%slice
  ROOT %flat = f32[16]{0:T(128)} bitcast(%row)
}

%limit (s: (s32[], bf16[4,16], f32[100,16])) -> pred[] {
  %s.4 = (s32[], bf16[4,16]{1,0}, f32[100,16]{1,0}) parameter(0)
  %i.4 = s32[] get-tuple-element(%s.4), index=0
  %n.4 = s32[] constant(12)
  ROOT %less = pred[] compare(%i.4, %n.4), direction=LT
}

%body (s: (s32[], bf16[4,16], f32[100,16])) -> (s32[], bf16[4,16], f32[100,16]) {
  %s.5 = (s32[], bf16[4,16]{1,0}, f32[100,16]{1,0}) parameter(0)
  %i.5 = s32[]{:S(2)} get-tuple-element(%s.5), index=0
  %x.5 = bf16[4,16]{1,0:T(8,128)(2,1)} get-tuple-element(%s.5), index=1
  %table = f32[100,16]{1,0:T(8,128)} get-tuple-element(%s.5), index=2
  %a.5 = (bf16[4,16]{1,0}, bf16[8,16]{1,0}) fusion(%x.5), kind=kCustom, calls=%begin
  %b.5 = bf16[8,16]{1,0:T(8,128)(2,1)S(1)} fusion(%x.5), kind=kCustom, calls=%end
  %c.5 = bf16[4,16]{1,0:T(8,128)(2,1)S(1)} fusion(%b.5), kind=kCustom, calls=%half
  %d.5 = f32[16]{0:T(128)} fusion(%table, %i.5), kind=kLoop, calls=%take
  %e.5 = bf16[8,16]{1,0:T(8,128)(2,1)} fusion(%x.5), kind=kCustom, calls=%async_collective_fusion.6
  %one = s32[] constant(1)
  %next = s32[]{:S(2)} add(%i.5, %one)
  ROOT %t.5 = (s32[], bf16[4,16]{1,0}, f32[100,16]{1,0}) tuple(%next, %x.5, %table)
}

ENTRY %main (x: bf16[4,16], table: f32[100,16]) -> (s32[], bf16[4,16], f32[100,16]) {
  %x = bf16[4,16]{1,0:T(8,128)(2,1)} parameter(0)
  %y = f32[100,16]{1,0:T(8,128)} parameter(1)
  %two = s32[] constant(2)
  %start = (s32[], bf16[4,16]{1,0}, f32[100,16]{1,0}) tuple(%two, %x, /*index=2*/%y)
  ROOT %loop = (s32[], bf16[4,16]{1,0}, f32[100,16]{1,0}) while(%start), condition=%limit, body=%body
}
"""  # noqa: E501


def test_the_notation_of_a_tpus_compiler():
    """Ten iterations; an asynchronous gather under one channel and another that began before the loop, a scatter
    written as a reduction, slices of a table in a fusion within a fusion."""
    found = program_cost(TPU)
    assert found.collectives == {"all-gather": Traffic(10, 10 * 4 * 16 * 2), "reduce-scatter": Traffic(10, 10 * 192)}
    in_hbm = {"begin": 128 + 256, "end": 128, "half": 0, "take": 2 * 64}
    scalars = 4  # the increment reads a constant
    assert found.bytes == pytest.approx(10 * (sum(in_hbm.values()) + scalars), abs=100)


WINDOWED = """HloModule jit_windowed, is_scheduled=true

%limit (s: (f32[8,8], u32[])) -> pred[] {
  %n = u32[]{:T(128)} constant(7)
  %s.1 = (f32[8,8]{1,0:T(8,128)}, u32[]{:T(128)}) parameter(0)
  %i.1 = u32[]{:T(128)} get-tuple-element(%s.1), index=1
  ROOT %less = pred[] compare(%i.1, %n), direction=LT
}

%two_more (i: u32[], by: u32[]) -> u32[] {
  %i.2 = u32[]{:T(128)} parameter(0)
  %by.2 = u32[]{:T(128)} parameter(1)
  ROOT %sum = u32[]{:T(128)} add(%by.2, %i.2)
}

%body (s: (f32[8,8], u32[])) -> (f32[8,8], u32[]) {
  %s.3 = (f32[8,8]{1,0:T(8,128)}, u32[]{:T(128)}) parameter(0)
  %x.3 = f32[8,8]{1,0:T(8,128)} get-tuple-element(%s.3), index=0
  %i.3 = u32[]{:T(128)} get-tuple-element(%s.3), index=1
  %by = u32[]{:T(128)} constant(2)
  %y.3 = f32[8,8]{1,0:T(8,128)} dot(%x.3, %x.3), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  %next = u32[]{:T(128)} fusion(%i.3, %by), kind=kLoop, calls=%two_more
  ROOT %t.3 = (f32[8,8]{1,0:T(8,128)}, u32[]{:T(128)}) tuple(%y.3, %next)
}

ENTRY %main (x: f32[8,8], first: u32[]) -> (f32[8,8], u32[]) {
  %x = f32[8,8]{1,0:T(8,128)} parameter(0)
  %first = u32[]{:T(128)} parameter(1)
  %zero = u32[]{:T(128)} constant(0)
  %begin = u32[]{:T(128)} copy(START)
  %start = (f32[8,8]{1,0:T(8,128)}, u32[]{:T(128)}) tuple(%x, %begin)
  ROOT %loop = (f32[8,8]{1,0:T(8,128)}, u32[]{:T(128)}) while(%start), condition=%limit, body=%body
}
"""


def test_a_loop_that_counts_by_two_runs_half_as_often():
    """0, 2, 4 and 6 are below 7; one whose start is data runs as often as is said."""
    assert program_cost(WINDOWED.replace("START", "%zero"), (3,)).flops == 4 * 2 * 8**3
    assert program_cost(WINDOWED.replace("START", "%first"), (3,)).flops == 3 * 2 * 8**3


MOVED = """HloModule jit_moved, is_scheduled=true

%write (p: bf16[100,64], at: s32[4,1], new: bf16[4,64]) -> bf16[100,64] {
  %p.1 = bf16[100,64]{1,0:T(8,128)(2,1)} parameter(0)
  %at.1 = s32[4,1]{1,0:T(4,128)S(1)} parameter(1)
  %new.1 = bf16[4,64]{1,0:T(4,128)(2,1)S(1)} parameter(2)
  ROOT %scatter.1 = bf16[100,64]{1,0:T(8,128)(2,1)} scatter(%p.1, %at.1, %new.1), to_apply=%last
}

%reshaped (w: bf16[64,32]) -> bf16[64,32] {
  %w.2 = bf16[64,32]{1,0:T(8,128)(2,1)} parameter(0)
  ROOT %b.2 = bf16[64,32]{1,0:T(8,128)(2,1)} bitcast(%w.2)
}

%product (w: bf16[64,32], x: bf16[4,64]) -> bf16[4,32] {
  %w.3 = bf16[64,32]{1,0:T(8,128)(2,1)} parameter(0)
  %x.3 = bf16[4,64]{1,0:T(4,128)(2,1)S(1)} parameter(1)
  %r.3 = bf16[64,32]{1,0:T(8,128)(2,1)} fusion(%w.3), kind=kLoop, calls=%reshaped
  ROOT %y.3 = bf16[4,32]{1,0:T(4,128)(2,1)S(1)} dot(%x.3, %r.3), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

ENTRY %main (pool: bf16[100,64], w: bf16[64,32], at: s32[4,1], x: bf16[4,64]) -> bf16[100,64] {
  %pool = bf16[100,64]{1,0:T(8,128)(2,1)} parameter(0)
  %w = bf16[64,32]{1,0:T(8,128)(2,1)} parameter(1)
  %at = s32[4,1]{1,0:T(4,128)S(1)} parameter(2)
  %x = bf16[4,64]{1,0:T(4,128)(2,1)S(1)} parameter(3)
  %y = bf16[4,32]{1,0:T(4,128)(2,1)S(1)} fusion(%w, %x), kind=kOutput, calls=%product
  %taken = ((bf16[64,32]{1,0}), bf16[8,32]{1,0:S(1)}, s32[]{:S(2)}) slice-start(%w), slice={[0:8], [0:32]}
  %here = bf16[8,32]{1,0:S(1)} slice-done(%taken)
  ROOT %written = bf16[100,64]{1,0:T(8,128)(2,1)} fusion(%pool, %at, %x), kind=kCustom, calls=%write
}
"""


def test_what_is_moved_counts_and_not_what_it_is_moved_from():
    """A weight read through a change of shape, a part of it fetched ahead, and four rows scattered into a pool."""
    assert program_cost(MOVED).bytes == 2 * (64 * 32 + 8 * 32 + 4 * 64)


def test_costs_add_and_multiply():
    one = program_cost(TPU, rates=Rates(1.0, 1.0, 1.0))
    both = one + one * 2
    assert (both.bytes, both.busy_s) == pytest.approx((3 * one.bytes, 3 * one.busy_s))
    assert both.collectives["all-gather"] == Traffic(*(3 * np.array(one.collectives["all-gather"])))
