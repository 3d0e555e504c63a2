"""A plan as text: its table, and advice on fitting it."""

from __future__ import annotations

import math

from ml_collections import ConfigDict

from mxjax.models.params import num_params
from mxjax.plan.plan import TRAIN, Plan
from mxjax.plan.tpu import GIB
from mxjax.sampling.programs import PREFILL_ROWS

WHAT = {
    "accumulate": "gradient of one micro-batch",
    "apply": "optimiser step",
    "score": "log-probabilities of one micro-batch",
    "prefill": f"{PREFILL_ROWS} prompt chunks",
    "decode": "a chunk of every slot",
}


def advice(plan: Plan, config: ConfigDict) -> str:
    """What to change so that the run fits, the likeliest first."""
    worst, hbm = plan.worst, plan.slice.chip.hbm_bytes
    over = (plan.peak(worst) - hbm) / GIB
    changes = []
    if worst in TRAIN:
        if config.model.remat in ("none", "dots"):
            changes.append("--config.model.remat=full")
        elif config.model.remat == "full":
            changes.append("--config.model.remat=offload")
        if config.rl.microbatch_rows > 1:
            changes.append("--config.rl.microbatch_rows=1")
        if plan.mesh["tensor"] == 1 and plan.cfg.num_key_value_heads % 4 == 0:
            changes.append("--config.mesh.tensor=4")
    if plan.slots > 1:
        changes.append(f"--config.engine.slots={plan.slots // 2}")
    scaling = sum(plan.parts[name] for name in ("params", "gradients", "optimiser states"))
    if plan.peak(worst) - scaling / 2 <= hbm:
        changes.append(f"twice as many chips as the {plan.slice.chips} of {plan.slice}")
    changes.append("shorter rows with a shorter engine.max_len")
    return f"does not fit: {worst} needs {over:.2f} GiB more; try {', or '.join(changes)}"


def table(plan: Plan, name: str, compiler: str) -> str:
    """The plan as text."""
    chip, cfg = plan.slice.chip, plan.cfg
    mesh = " x ".join(f"{axis} {size}" for axis, size in plan.mesh.items())
    lines = [
        f"{name} on {plan.slice}: {plan.slice.chips} chips of {chip.hbm_bytes / GIB:.2f} GiB on {plan.slice.hosts} "
        f"host{'s' * (plan.slice.hosts > 1)}, compiled by {compiler}",
        f"model: {num_params(cfg) / 1e9:.2f} billion parameters, {cfg.param_dtype} weights, {cfg.dtype} compute, "
        f"remat {cfg.remat}",
        f"learner: mesh {mesh}, micro-batches of {plan.rows[0]} rows of {plan.rows[1]:,} tokens",
        f"engine of each host: {plan.slice.host.chips} chips, {plan.slots} slots of {plan.max_len:,} tokens, "
        f"chunks of {plan.decode_steps} tokens, attention {plan.attention}",
        "",
        *_aligned(
            [
                ["per chip", "GiB"],
                *([part, _gib(size)] for part, size in plan.parts.items()),
                ["activations (accumulate's temporaries)", _gib(plan.programs["accumulate"].temporaries)],
            ]
        ),
        "",
        *_aligned(
            [
                ["program", "does", "own GiB", "peak GiB", "TFLOP", "HBM GB", "collectives", "sent GB", "at least"],
                *(_program_row(plan, program) for program in plan.programs),
            ],
            text=2,
        ),
        "",
    ]
    if all(program.cost for program in plan.programs.values()):
        tokens = math.prod(plan.rows) * plan.microbatches
        decoded = plan.slots * plan.decode_steps * plan.slice.hosts / plan.seconds("decode")
        lines += [
            f"optimiser step of {plan.microbatches} micro-batch{'es' * (plan.microbatches > 1)}, rows full: at least "
            f"{plan.step_s:.2f} s, at most {tokens / plan.step_s:,.0f} tokens/s and an MFU of {plan.mfu:.0%}",
            f"decode with every slot at its full length: at most {decoded:,.0f} tokens/s on all hosts",
        ]
    return "\n".join(lines)


def _gib(size: float) -> str:
    return f"{size / GIB:.2f}"


def _program_row(plan: Plan, name: str) -> list[str]:
    program = plan.programs[name]
    head = [name, WHAT[name], _gib(program.peak), _gib(plan.peak(name))]
    if program.cost is None:
        return [*head, "does not compile", "", "", "", ""]
    cost = program.cost
    count, sent = (sum(traffic[i] for traffic in cost.collectives.values()) for i in range(2))
    return [
        *head,
        f"{cost.flops / 1e12:.3g}",
        f"{cost.bytes / 1e9:.3g}",
        f"{count:,.0f}",
        f"{sent / 1e9:.3g}",
        f"{1e3 * cost.seconds:,.1f} ms",
    ]


def _aligned(rows: list[list[str]], text: int = 1) -> list[str]:
    """Columns padded to their widest entry.

    The first `text` columns are aligned to the left, the numbers after them to the right.
    """
    widths = [max(map(len, column)) for column in zip(*rows)]
    pad = lambda cell, index: cell.ljust(widths[index]) if index < text else cell.rjust(widths[index])
    return ["  ".join(pad(cell, index) for index, cell in enumerate(row)).rstrip() for row in rows]
