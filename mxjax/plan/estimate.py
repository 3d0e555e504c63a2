"""Estimate, within milliseconds, the slice that training a model needs."""

from __future__ import annotations

import jax

from mxjax.config import default_config
from mxjax.models import ModelConfig
from mxjax.models.params import abstract_params
from mxjax.plan.plan import bytes_per_device
from mxjax.plan.tpu import CHIPS, Chip
from mxjax.sampling.attention import XlaAttention
from mxjax.sampling.programs import memory_layout, params_layout, slot_groups

ROWS = default_config().rl.row_length
SLOTS, TENSOR = 4, 4  # of each host's engine, and chips that share each layer's heads, as in configs/qwen3_8b.py
FLOAT32, BFLOAT16 = 4, 2  # bytes
OPTIMIZERS = 2 * 2 * FLOAT32  # per parameter: AdamW for both roles, of which one rests on the host while one learns
SCAN_GRADIENT = 1.1  # the backward pass through the layers holds their gradient once more
BLOCK_ARRAYS = 8  # bfloat16 arrays of a layer that are alive at once while it is differentiated


def training_bytes(cfg: ModelConfig, chip: Chip, chips: int) -> int:
    """Approximate HBM bytes that each chip needs to train a model.

    The setting is the paper's: stages, one policy, float32 weights and optimisers, bfloat16 computation, `remat` full,
    a row of `ROWS` tokens for each group of `TENSOR` chips, and on each host an engine of `SLOTS` slots of as many
    tokens. The result is the larger of what the gradient and the first rollout need.
    """
    cfg = cfg.replace(dtype="bfloat16", param_dtype="float32")
    tensor, on_host = min(TENSOR, chips), chip.on_host(chips)
    sizes = {"data": 1, "fsdp": chips // tensor, "tensor": tensor}
    mesh = jax.sharding.AbstractMesh(tuple(sizes.values()), tuple(sizes))
    engine_mesh = mesh if on_host == chips else jax.sharding.AbstractMesh((1, 1, on_host), tuple(sizes))
    params = bytes_per_device(abstract_params(cfg, mesh))
    page = default_config().engine.page_size
    attention = XlaAttention(page, engine_mesh, slot_groups(SLOTS, engine_mesh))
    memory = memory_layout(cfg, attention, SLOTS, SLOTS * ROWS // page, engine_mesh)
    engine = bytes_per_device(params_layout(cfg, engine_mesh)) + bytes_per_device(memory)
    D, wide = cfg.hidden_size, max(cfg.intermediate_size, cfg.num_attention_heads * cfg.head_dim) // tensor
    activations = BFLOAT16 * ROWS * (cfg.num_hidden_layers * D + BLOCK_ARRAYS * (D + wide))
    head = 2 * BFLOAT16 * cfg.vocab_size * D // tensor  # gathered from all chips, and its gradient
    states = params * OPTIMIZERS // FLOAT32
    gradient = params * (2 + SCAN_GRADIENT) + states // 2 + activations + head
    return int(max(gradient, params + states) + engine)


def smallest_slices(cfg: ModelConfig) -> dict[str, int | None]:
    """Chips of the smallest slice that trains a model, by chip kind.

    By `training_bytes`; None where no slice of that kind is large enough.
    """
    return {
        kind: next((n for n in chip.sizes if training_bytes(cfg, chip, n) <= chip.hbm_bytes), None)
        for kind, chip in CHIPS.items()
    }
