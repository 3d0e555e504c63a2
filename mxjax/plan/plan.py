"""The plan of a run on a slice.

The run's own programs are compiled ahead of time; the plan has their costs and what is resident beside them. Nothing is
allocated: every program is lowered from shapes alone and compiled by the TPU's compiler, on any machine.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
from etils import epath
from ml_collections import ConfigDict

from mxjax import models
from mxjax.errors import UserError
from mxjax.files import read_json
from mxjax.models import ModelConfig, huggingface, preset
from mxjax.models.attention import block_size
from mxjax.models.config import PRESETS, SLIDING
from mxjax.models.gguf_file import GgufFile
from mxjax.models.io import workdir_config
from mxjax.models.params import abstract_params
from mxjax.plan.hlo import Cost, program_cost
from mxjax.plan.tpu import Slice
from mxjax.rl.optimizer import init_state
from mxjax.rl.stages import ROLES
from mxjax.sampling import attention as backends
from mxjax.sampling import programs as sampling
from mxjax.sharding import make_mesh
from mxjax.train import make_learner

TO_BE_READ = {  # JAX cannot read the text of a program with these on SparseCores (v5p, v6e)
    "xla_tpu_enable_offloading_gather_to_sparsecore": "false",
    "xla_tpu_enable_offloading_scatter_to_sparsecore": "false",
    "xla_tpu_offload_gather_to_sparsecore": "false",
}
TRAIN, ROLLOUT = ("accumulate", "apply", "score"), ("prefill", "decode")


@dataclasses.dataclass(frozen=True)
class Program:
    """A compiled program on one chip.

    It has the HBM bytes at its peak, arguments included, and the cost of a run. A program that does not fit has no
    `cost`; its peak is what the compiler says that it needs.
    """

    peak: int
    arguments: int
    temporaries: int
    cost: Cost | None


@dataclasses.dataclass(frozen=True)
class Plan:
    """What `mxjax plan` found; all sizes are bytes per chip.

    Attributes:
      slice: the slice that was planned for.
      cfg: the model.
      mesh: sizes of the learner's mesh by axis.
      rows: (rows, tokens) of a micro-batch over all chips.
      slots, max_len, decode_steps: of the engine.
      attention: the engine's backend.
      microbatches: how many make one optimiser step, when every segment fills a row.
      parts: what lies in HBM by name: params, gradients, optimiser, idle optimisers, engine's copy, KV pages.
      resident: what lies beside a program's own arguments while it runs.
      programs: by name.
    """

    slice: Slice
    cfg: ModelConfig
    mesh: Mapping[str, int]
    rows: tuple[int, int]
    slots: int
    max_len: int
    decode_steps: int
    attention: str
    microbatches: int
    parts: Mapping[str, int]
    resident: Mapping[str, int]
    programs: Mapping[str, Program]

    def peak(self, name: str) -> int:
        """Peak HBM bytes while a program runs, all resident data included."""
        return self.programs[name].peak + self.resident[name]

    def seconds(self, name: str) -> float:
        """The least seconds of one run of a program.

        Raises UserError for one that does not fit, which has no cost.
        """
        cost = self.programs[name].cost
        if cost is None:
            raise UserError(f"{name} does not fit, so that it has no cost")
        return cost.seconds

    @property
    def worst(self) -> str:
        """The program with the highest peak."""
        return max(self.programs, key=self.peak)

    @property
    def fits(self) -> bool:
        """Whether every moment of the run fits the chips' HBM."""
        return self.peak(self.worst) <= self.slice.chip.hbm_bytes

    @property
    def step_s(self) -> float:
        """The least seconds of an optimiser step whose rows are full."""
        return self.microbatches * self.seconds("accumulate") + self.seconds("apply")

    @property
    def mfu(self) -> float:
        """Upper bound of the model FLOPs utilisation of such a step.

        Recomputed and masked-out work does not count.
        """
        useful = 3 * forward_flops(self.cfg, *self.rows) * self.microbatches
        return useful / (self.step_s * self.slice.chips * self.slice.chip.rates.flops)


def forward_flops(cfg: ModelConfig, rows: int, length: int) -> float:
    """FLOPs of a forward pass over rows of one segment each.

    Only those of matrix products; a backward pass takes twice as many. Masked-out scores do not count.
    """
    D, N, K, H = cfg.hidden_size, cfg.num_attention_heads, cfg.num_key_value_heads, cfg.head_dim
    weights = cfg.num_hidden_layers * D * (2 * N * H + 2 * K * H + 3 * cfg.intermediate_size) + D * cfg.vocab_size
    window = min(length, cfg.sliding_window or length)
    windows = [window if kind == SLIDING else length for kind in cfg.kinds]
    pairs = sum(w * (w + 1) / 2 + (length - w) * w for w in windows)
    return rows * (2.0 * weights * length + 4.0 * N * H * pairs)


def model_config(config: ConfigDict) -> ModelConfig:
    """The architecture of `config.init`, computed as `config.model` says.

    Reads headers only, never weights. A model of the Hub that is a preset is not looked up. Raises UserError.
    """
    source = config.init
    name = re.split(r"[:/]", source.partition("@")[0])[-1].lower()
    path = epath.Path(source).expanduser()
    if source.startswith("random:"):
        cfg = preset(source.removeprefix("random:"))
    elif (source.startswith("hf:") or source == name) and name in PRESETS:
        cfg = preset(name)
    elif source.startswith("hf:"):
        raise UserError(f"init={source!r} is no preset; download it and plan with its directory")
    elif path.suffix == ".gguf":
        cfg = GgufFile(str(path)).config
    elif models.is_workdir(source):
        cfg = workdir_config(path)
    else:
        cfg = huggingface.read_config(read_json(path / "config.json"), str(path / "config.json"))
    return cfg.replace(**config.model)


def bytes_per_device(tree: Any) -> int:
    """Bytes of a tree of `jax.ShapeDtypeStruct` on one device.

    Shardings are taken into account.
    """

    def size(leaf):
        shape = leaf.shape if leaf.sharding is None else leaf.sharding.shard_shape(leaf.shape)
        return math.prod(shape) * leaf.dtype.itemsize

    return sum(map(size, jax.tree.leaves(tree)))


def make_plan(config: ConfigDict, where: Slice, cpu: bool = False, note: Callable[[str], object] = str) -> Plan:
    """Compile every program of the run for `where`.

    With `cpu`, compile for simulated devices instead, which must exist. On a slice of several hosts each has an engine
    of its own over its chips, heads spread over all of them; on one host the engine shares the learner's mesh.
    """
    cfg, engine, rl = model_config(config), config.engine, config.rl
    devices = jax.devices("cpu")[: where.chips] if cpu else where.devices()
    mesh = make_mesh(dict(config.mesh), devices)
    engine_mesh = mesh
    if where.hosts > 1:
        of_one_host = devices[: where.host.chips] if cpu else where.host.devices()
        engine_mesh = make_mesh({"tensor": -1}, of_one_host)
    learner = make_learner(config, cfg, mesh)
    blocks = -(-engine.max_len // engine.page_size)
    platform = "cpu" if cpu else "tpu"
    groups = sampling.slot_groups(engine.slots, engine_mesh)
    sizes = {"slots": engine.slots // groups, "blocks": blocks}
    chosen, _ = backends.choose(engine.attention, cfg, engine.page_size, engine_mesh, platform, **sizes)
    pages = groups * sampling.group_pages(engine.pages or None, engine.slots, blocks, groups)
    attention = backends.BACKENDS[chosen](engine.page_size, engine_mesh, groups)
    memory = sampling.memory_layout(cfg, attention, engine.slots, pages, engine_mesh)
    names = ROLES if rl.split_policy else ("shared",)
    params = abstract_params(cfg, mesh)
    state = init_state({name: params for name in names}, learner.optimizer, rl.mode)
    states = [bytes_per_device(optimizer) for optimizer in state.optimizers.values()]
    active = len(states) if rl.mode == "coupled" else 1
    parts = {
        "params": len(names) * bytes_per_device(params),
        "gradients": bytes_per_device(abstract_params(cfg, mesh, "float32")),
        "optimiser states": sum(states[:active]),
        "idle optimiser states": sum(states[active:]),
        "engine's copy": len(names) * bytes_per_device(sampling.params_layout(cfg, engine_mesh)),
        "KV pages": len(names) * bytes_per_device(memory),  # and the little that penalties need
    }
    rows = learner.programs.abstract_rows["tokens_BT"].shape
    score_trips = ((-(-rows[1] // block_size(rows[1])) + 1) / 2,)
    trips = {
        "accumulate": score_trips,
        "score": score_trips,
        "apply": (),
        "prefill": ((blocks + 1) / 2,),
        "decode": (engine.decode_steps, blocks),
    }
    lowered = {name: learner.programs.lower(name) for name in TRAIN}
    lowered |= sampling.lowered(cfg, attention, engine.decode_steps, blocks, memory, mesh=engine_mesh)
    compiled = {}
    for name, program in lowered.items():
        note(f"compiling {name} for {where.kind}")
        compiled[name] = _compile(program, trips[name], where, {} if cpu else TO_BE_READ)
    minibatch = max(learner.settings.minibatch_segments_of(role) for role in ROLES)
    return Plan(
        slice=where,
        cfg=cfg,
        mesh=dict(mesh.shape),
        rows=rows,
        slots=engine.slots,
        max_len=engine.max_len,
        decode_steps=engine.decode_steps,
        attention=attention.name,
        microbatches=-(-minibatch // rows[0]),
        parts=parts,
        resident=_resident(parts, len(names), states, active),
        programs=compiled,
    )


def _resident(parts: Mapping[str, int], policies: int, states: list[int], active: int) -> dict[str, int]:
    """What lies in HBM beside each program's arguments.

    Idle optimiser states wait in the host's memory while one learns; before the first update all are on the chips.
    """
    params, learning = parts["params"], parts["optimiser states"]
    engines = parts["engine's copy"] + parts["KV pages"]
    idle, others = parts["idle optimiser states"], params - params // policies
    return {
        "accumulate": others + learning + engines,
        "apply": others + learning - learning // active + engines,
        "score": others + learning + engines,
        **dict.fromkeys(ROLLOUT, params + learning + idle + engines - engines // policies),
    }


def _compile(lowered: jax.stages.Lowered, trips: tuple[float, ...], where: Slice, options: dict) -> Program:
    try:
        compiled = lowered.compile(compiler_options=options)
    except jax.errors.JaxRuntimeError as error:
        needed = _bytes_needed(str(error))
        if needed is None:
            raise
        return Program(needed, 0, 0, None)
    memory, text = compiled.memory_analysis(), compiled.as_text()
    if memory is None or text is None:
        raise RuntimeError("this compiler says neither what memory a program needs nor what it does")
    outputs = memory.output_size_in_bytes - memory.alias_size_in_bytes
    held = memory.argument_size_in_bytes + outputs
    peak = memory.peak_memory_in_bytes or held + memory.temp_size_in_bytes
    cost = program_cost(text, trips, where.chip.rates)
    return Program(max(peak, held), memory.argument_size_in_bytes, memory.temp_size_in_bytes, cost)


def _bytes_needed(message: str) -> int | None:
    """Bytes that a program needs, from the compiler's refusal to fit it.

    None for another error.
    """
    match = re.search(r"\(([\d.]+)([KMGT]?)\) exceeds available HBM", message)
    match = match or re.search(r"Used ([\d.]+)([KMGT]?) of [\d.]+[KMGT]? hbm", message)
    if "RESOURCE_EXHAUSTED" not in message or not match:
        return None
    return int(float(match[1]) * 1024 ** " KMGT".index(match[2] or " "))
