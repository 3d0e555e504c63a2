"""The learner: training segments in, one or more optimiser steps out.

The denominators of the loss are computed on the host over the whole optimiser step and folded into the token weights
before rows are cut into micro-batches, so cutting, packing, padding and sharding cannot change the gradient. The same
learner serves supervised fine-tuning: the loss function is a parameter.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jax.experimental import multihost_utils

from mxjax.errors import UserError
from mxjax.models.config import ModelConfig
from mxjax.rl.losses import LossFn, Terms, make_policy_loss
from mxjax.rl.optimizer import (
    COUPLED,
    SHARED,
    TrainState,
    init_optimizer,
    park,
    parking_helps,
    reset_moments,
    unpark,
)
from mxjax.rl.packing import Rows, TrainingSegment, check_lengths, merge_turns, pack
from mxjax.rl.programs import Programs
from mxjax.rl.stages import ROLES

ON_STAGE_SWITCH = ("keep", "reset_mu", "reset")
OLD_LOGPROBS = ("engine", "recompute")


@dataclasses.dataclass(frozen=True)
class LearnerSettings:
    """How segments become optimiser steps.

    Attributes:
      row_length: tokens of a packed row; no segment may be longer.
      microbatch_rows: rows of a micro-batch on each of the mesh's data × fsdp shards.
      minibatch_segments: segments of one optimiser step; a mapping gives roles sizes of their own.
      epochs: how often every segment is used.
      old_logprobs: "engine" uses those given; "recompute" scores the segments with the policy before the first
        optimiser step, and reports how far the two are apart.
      on_stage_switch: "keep", "reset_mu" or "reset" the optimiser state of a role whose stage begins.
      merge: score the turns of one conversation in one pass where their ids allow (`merge_turns`).
      park: keep idle optimiser states in pinned host memory; None: where that frees device memory.
    """

    row_length: int
    microbatch_rows: int = 1
    minibatch_segments: int | Mapping[str, int] = 16
    epochs: int = 1
    old_logprobs: str = "engine"
    on_stage_switch: str = "keep"
    merge: bool = True
    park: bool | None = None

    def minibatch_segments_of(self, role: str) -> int:
        """Segments of an optimiser step that trains `role`."""
        size = self.minibatch_segments
        return size[role] if isinstance(size, Mapping) else size

    def __post_init__(self):
        for name in ("row_length", "microbatch_rows", "minibatch_segments", "epochs"):
            value = getattr(self, name)
            if (min(value.values()) if isinstance(value, Mapping) else value) < 1:
                raise UserError(f"rl.{name} must be at least 1, got {value}")
        for name, choices in (("old_logprobs", OLD_LOGPROBS), ("on_stage_switch", ON_STAGE_SWITCH)):
            if getattr(self, name) not in choices:
                raise UserError(f"rl.{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}")


class _Unit(NamedTuple):
    """The parts of one gradient.

    Its policy, the owner of the optimiser state, the roles in the loss, and the segments of a mini-batch.
    """

    policy: str
    owner: str
    roles: tuple[str, ...]
    segments: int


@dataclasses.dataclass(frozen=True)
class SkippedBatch:
    """The batch of a skipped optimiser step, enough to repeat it.

    Attributes:
      owner: whose optimiser state it was for.
      index: which optimiser step of the owner's in this update.
      rows: the packed rows, weighted as the loss sees them.
    """

    owner: str
    index: int
    rows: Rows


class _StepLog(NamedTuple):
    """The report of one optimiser step.

    `stats`, `norm` and `ok` stay on the device until all steps are queued.
    """

    stats: Any
    norm: Any
    ok: Any
    counts: dict[str, int]
    batch: SkippedBatch


class Learner:
    """Take optimiser steps on a `TrainState`.

    It holds its settings and compiled programs, nothing that training changes.

    Args:
      cfg: the policies' architecture.
      optimizer: an optax transformation, see `make_optimizer`.
      mesh: parameters, optimiser states and rows are sharded over it by the one table; None: a single device.
      loss: the loss function, by default `make_policy_loss()`; `sft_loss` for supervised fine-tuning.
      roles: the role names that segments may carry, ("sft",) for example.
      **settings: fields of `LearnerSettings`; `row_length` is required.
    """

    def __init__(
        self,
        cfg: ModelConfig,
        optimizer: optax.GradientTransformation,
        mesh: jax.sharding.Mesh | None = None,
        *,
        loss: LossFn | None = None,
        roles: Sequence[str] = ROLES,
        **settings,
    ):
        self.settings = LearnerSettings(**settings)
        self.roles = tuple(roles)
        self.optimizer = optimizer
        shards = 1 if mesh is None else mesh.shape["data"] * mesh.shape["fsdp"]
        rows = self.settings.microbatch_rows * shards
        if rows % jax.process_count():
            raise UserError(
                f"a micro-batch has {rows} rows, which do not divide over {jax.process_count()} processes; "
                "let mesh.data × mesh.fsdp be a multiple of the processes"
            )
        self._local_rows = rows // jax.process_count()
        shape = (rows, self.settings.row_length)
        self.programs = Programs(cfg, optimizer, loss or make_policy_loss(), self.roles, shape, mesh=mesh)

    @property
    def compiles(self) -> int:
        """The number of programs compiled.

        At most 3 per policy structure, 4 with `score`, whatever the data.
        """
        return self.programs.compiles

    def update(
        self,
        state: TrainState,
        segments: Sequence[TrainingSegment],
        weights: Mapping[str, float],
        seed: int = 0,
        switched: bool = False,
        skipped: Callable[[SkippedBatch], None] = lambda batch: None,
    ) -> tuple[TrainState, dict[str, float]]:
        """Take one RL (or SFT) step.

        It consists of optimiser steps over seeded mini-batches of the active roles' segments.

        With L_r the loss of role r over its own weights in a mini-batch, each optimiser step minimises
        L = sum over roles of alpha_r L_r. Segments of roles with alpha 0 are dropped before the shuffle, which depends
        on (seed, step, active roles) alone: they change nothing, bit for bit, and neither do their optimiser states.
        Roles that share a policy share the gradient, and need the "coupled" optimiser state.

        Args:
          state: donated; use the returned one. With several processes, the same on each.
          segments: this process's segments, of any role.
          weights: alpha by role, from `role_weights`; a role that is not named has 0.
          seed: of the shuffle.
          switched: whether other roles learnt in the step before (`stage_switched`): `on_stage_switch` applies.
          skipped: called, once all optimiser steps are through, with this process's batch of each that was skipped: its
            loss or gradient, or what they would have made of a parameter or moment, was not finite. It changed nothing,
            bit for bit; the others of this update were taken.

        Returns:
          The state with step + 1, and metrics: `updates` (optimiser steps taken), `skipped` (those that were not),
          `segments`, `tokens` (with a weight), `rows`, `row_fill` (share of row slots that hold tokens), `grad_norm`,
          and by role `ROLE/segments`, `ROLE/loss`, the loss function's own, and `ROLE/engine_difference`:
          |log pi_theta - log pi_old| before the first optimiser step. Counts are of this process. Without an active
          segment `updates` is 0, and parameters and optimiser states are as they were.

        Raises:
          ValueError: a role without a name here or optimiser state in `state`, or a segment longer than a row.
        """
        unknown = sorted({*weights, *(s.role for s in segments)} - set(self.roles))
        if unknown:
            raise ValueError(f"unknown role {unknown[0]!r}; this learner trains {', '.join(self.roles)}")
        check_lengths(segments, self.settings.row_length)
        units = self._units(state, weights)
        policies, optimizers = self._placed(state, units, switched)
        metrics = {f"{role}/segments": 0.0 for unit in units for role in unit.roles}
        logs: list[list[_StepLog]] = []
        for unit in units:
            params, owner = policies[unit.policy], unit.owner
            active = [s for s in segments if s.role in unit.roles]
            if self.settings.old_logprobs == "recompute":
                active, differences = self.recompute(params, active)
                metrics.update(differences)
            unit_logs = []
            for index, batch in enumerate(self._minibatches(active, unit, seed, state.step)):
                rows, counts = self._prepared(batch, weights)
                if rows is not None:
                    rounding = np.random.SeedSequence([seed % 2**64, state.step, zlib.crc32(owner.encode()), index])
                    batch_of_step = SkippedBatch(owner, index, rows)
                    params, optimizers[owner], (stats, norm, ok) = self._step(params, optimizers[owner], rows, rounding)
                    unit_logs.append(_StepLog(stats, norm, ok, counts, batch_of_step))
            policies[unit.policy] = params
            logs.append(unit_logs)
        if self.settings.old_logprobs == "engine":
            for unit_logs in logs:
                metrics.update(_engine_differences(unit_logs[:1]))
        fetched = _fetched([log for unit_logs in logs for log in unit_logs])
        for log in fetched:
            if not log.ok:
                skipped(log.batch)
        metrics.update(_summary(fetched))
        state = dataclasses.replace(state, policies=policies, optimizers=optimizers, step=state.step + 1)
        return state, metrics

    def score(self, params: Any, segments: Sequence[TrainingSegment]) -> list[np.ndarray]:
        """Log-probabilities f32[n] of each segment's tokens at its temperature.

        The first token has 0. With several processes all must call it, each with its own segments.
        """
        rows = pack(segments, self.settings.row_length, self._local_rows, self.roles)
        rows = rows.padded(int(_across_processes(len(rows), np.max)))
        scored = [
            _local_block(self.programs.run("score", params, self._on_device(micro)))
            for micro in rows.micro_batches(self._local_rows)
        ]
        logprobs_BT = np.concatenate(scored) if scored else np.zeros((0, self.settings.row_length))
        return [logprobs_BT[row, start : start + len(s)] for s, (row, start) in zip(segments, rows.places)]

    def recompute(
        self, params: Any, segments: Sequence[TrainingSegment]
    ) -> tuple[list[TrainingSegment], dict[str, float]]:
        """Replace `old_logprobs` of the segments by `score`.

        Returns the segments, and metrics of the difference: `ROLE/engine_difference` (mean over this process's weighted
        tokens, nats) and `ROLE/engine_difference_max`.
        """
        rescored = [  # NaN stays: the engine sampled such tokens from no valid distribution
            dataclasses.replace(segment, old_logprobs=np.where(np.isnan(segment.old_logprobs), np.nan, logprobs))
            for segment, logprobs in zip(segments, self.score(params, segments))
        ]
        metrics = {}
        for role in sorted({s.role for s in segments}):
            pairs = [(old, new) for old, new in zip(segments, rescored) if old.role == role]
            gaps = np.concatenate([np.abs(new.old_logprobs - old.old_logprobs)[old.weights > 0] for old, new in pairs])
            if len(gaps):
                metrics[f"{role}/engine_difference"] = float(gaps.mean())
                metrics[f"{role}/engine_difference_max"] = float(gaps.max())
        return rescored, metrics

    def _units(self, state: TrainState, weights: Mapping[str, float]) -> list[_Unit]:
        """The gradients of this step: one per policy with an active role."""
        roles_of: dict[str, list[str]] = {}
        for role in self.roles:
            if weights.get(role, 0.0):
                roles_of.setdefault(SHARED if SHARED in state.policies else role, []).append(role)
        units = []
        for policy, roles in roles_of.items():
            owner = COUPLED if COUPLED in state.optimizers else roles[0]
            if owner not in state.optimizers or (len(roles) > 1 and owner != COUPLED):
                raise UserError(
                    f"training {' and '.join(roles)} on the policy {policy!r} does not fit the optimiser states "
                    f"{', '.join(state.optimizers)}; use the init_state(mode=) of this run's rl.mode"
                )
            units.append(_Unit(policy, owner, tuple(roles), self._minibatch_size(roles)))
        return units

    def _minibatch_size(self, roles: Sequence[str]) -> int:
        """Segments of one optimiser step that trains `roles` together."""
        sizes = {self.settings.minibatch_segments_of(role) for role in roles}
        if len(sizes) > 1:
            raise UserError(f"{' and '.join(roles)} share one gradient; give them the same minibatch_segments")
        return sizes.pop()

    def _placed(self, state: TrainState, units: Sequence[_Unit], switched: bool) -> tuple[dict, dict]:
        """Policies and optimiser states in the memory that this step needs.

        Active ones are on the mesh, idle ones parked.
        """
        policies, optimizers = dict(state.policies), dict(state.optimizers)
        active = {unit.owner: unit.policy for unit in units}
        parks = parking_helps() if self.settings.park is None else self.settings.park
        for owner, optimizer_state in optimizers.items():
            if owner not in active:
                optimizers[owner] = park(optimizer_state) if parks else optimizer_state
                continue
            params = policies[active[owner]]
            optimizer_state = unpark(optimizer_state)
            if switched and self.settings.on_stage_switch != "keep":
                fresh = init_optimizer(self.optimizer, params)
                optimizer_state = reset_moments(optimizer_state, self.settings.on_stage_switch, fresh)
            if self.programs.mesh is not None:
                policies[active[owner]] = jax.device_put(params, self.programs.params_sharding)
                optimizer_state = jax.device_put(optimizer_state, self.programs.state_sharding)
            optimizers[owner] = optimizer_state
        return policies, optimizers

    def _minibatches(
        self, segments: Sequence[TrainingSegment], unit: _Unit, seed: int, step: int
    ) -> Iterator[list[TrainingSegment]]:
        """Seeded mini-batches of this process's share.

        Every process gives equally many; the last may be empty.
        """
        size = max(1, unit.segments // jax.process_count())
        count = int(_across_processes(-(-len(segments) // size), np.max))
        for epoch in range(self.settings.epochs):
            entropy = [seed, step, epoch, zlib.crc32(",".join(unit.roles).encode())]
            order = np.random.default_rng([x % 2**64 for x in entropy]).permutation(len(segments))
            for start in range(0, count * size, size):
                yield [segments[i] for i in order[start : start + size]]

    def _prepared(
        self, batch: Sequence[TrainingSegment], alphas: Mapping[str, float]
    ) -> tuple[Rows | None, dict[str, int]]:
        """Packed rows with the weights w alpha_r / sum of w_r.

        Also counts for the log. The rows are None if nothing has a weight.
        """
        weight_of = {r: sum(float(s.weights.sum(dtype=np.float64)) for s in batch if s.role == r) for r in self.roles}
        totals = _across_processes(list(weight_of.values()), np.sum)
        if not totals.any():
            return None, {}
        scale = [alphas.get(r, 0.0) / total if total else 0.0 for r, total in zip(self.roles, totals)]
        counts = {f"{role}/segments": sum(s.role == role for s in batch) for role in self.roles if alphas.get(role)}
        counts |= {"segments": len(batch), "tokens": sum(int((s.weights > 0).sum()) for s in batch)}
        merged = merge_turns(batch) if self.settings.merge else batch
        rows = pack(merged, self.settings.row_length, self._local_rows, self.roles)
        rows = rows.padded(int(_across_processes(len(rows), np.max)))
        counts |= {"rows": len(rows), "filled": int((rows.segment_ids_BT > 0).sum()), "slots": rows.tokens_BT.size}
        scale_by_role = np.array([*scale, 0.0])  # roles_BT is -1 at padding
        weights_BT = (rows.weights_BT * scale_by_role[rows.roles_BT]).astype(np.float32)
        return dataclasses.replace(rows, weights_BT=weights_BT), counts

    def _step(
        self, params: Any, optimizer_state: Any, rows: Rows, rounding: np.random.SeedSequence
    ) -> tuple[Any, Any, tuple[Any, Any, Any]]:
        """Take one optimiser step: sum the gradient over micro-batches, then apply it.

        For `rounding` see `apply_updates`.
        """
        gradients, stats = self.programs.run("zeros")
        for micro in rows.micro_batches(self._local_rows):
            gradients, stats = self.programs.run("accumulate", params, gradients, stats, self._on_device(micro))
        arguments = params, optimizer_state, gradients, stats, rounding.generate_state(1)[0]
        params, optimizer_state, norm, ok = self.programs.run("apply", *arguments)
        return params, optimizer_state, (stats, norm, ok)

    def _on_device(self, micro: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        sharding = self.programs.rows_sharding
        if sharding is None:
            return jax.device_put(dict(micro))
        return {name: jax.make_array_from_process_local_data(sharding, array) for name, array in micro.items()}


def _across_processes(values, reduce) -> np.ndarray:
    """Reduce host numbers over all processes.

    `reduce` is np.sum or np.max. A single process gets the numbers themselves.
    """
    values = np.asarray(values)
    return values if jax.process_count() == 1 else reduce(multihost_utils.process_allgather(values), axis=0)


def _local_block(array_BT: jax.Array) -> np.ndarray:
    """This process's rows of a global array, in their original order."""
    blocks = {shard.index[0].start or 0: shard.data for shard in array_BT.addressable_shards}
    return np.concatenate([np.asarray(blocks[start]) for start in sorted(blocks)])


def _engine_differences(first: Sequence[_StepLog]) -> dict[str, float]:
    """Difference of old log-probabilities from the policy's own, by role.

    Taken in the policy's first optimiser step, if there is one.
    """
    metrics = {}
    for role, terms in (item for log in first for item in jax.device_get(log.stats).items()):
        total, weight = terms.sums.get("logprob_difference", (0.0, 0.0))
        if weight > 0 and np.isfinite(total):
            metrics[f"{role}/engine_difference"] = float(total / weight)
            metrics[f"{role}/engine_difference_max"] = float(terms.maxima["logprob_difference"])
    return metrics


def _fetched(logs: Sequence[_StepLog]) -> list[_StepLog]:
    """The logs with their arrays copied from the device."""
    values = jax.device_get([(log.stats, log.norm, log.ok) for log in logs])
    return [log._replace(stats=stats, norm=norm, ok=ok) for log, (stats, norm, ok) in zip(logs, values)]


def _summary(logs: Sequence[_StepLog]) -> dict[str, float]:
    """Metrics over all optimiser steps of an update.

    Skipped steps count in `skipped` and nowhere else.
    """
    taken = [log for log in logs if log.ok]
    counts = {name: sum(log.counts[name] for log in logs) for name in (logs[0].counts if logs else ())}
    filled, slots = counts.pop("filled", 0), counts.pop("slots", 0)
    metrics: dict[str, float]
    metrics = {"updates": len(taken), "skipped": len(logs) - len(taken), "segments": 0, "tokens": 0, "rows": 0}
    metrics |= counts
    if slots:
        metrics["row_fill"] = filled / slots
    if taken:
        metrics["grad_norm"] = np.mean([log.norm for log in taken])
        metrics["grad_norm_max"] = max(log.norm for log in taken)
        for role in taken[0].stats:
            metrics |= _role_metrics(role, [log.stats[role] for log in taken])
    return {name: float(value) for name, value in metrics.items()}


def _role_metrics(role: str, terms: Sequence[Terms]) -> dict[str, float]:
    """Weighted means and maxima of a role's terms over optimiser steps.

    Empty if the role had no weight.
    """
    if not sum(t.sums["loss"][1] for t in terms):
        return {}
    metrics = {}
    for name in terms[0].sums:
        total, weight = (sum(t.sums[name][i] for t in terms) for i in (0, 1))
        metrics[f"{role}/{name}"] = float(total / weight)
    for name in terms[0].maxima:
        metrics[f"{role}/{name}_max"] = float(max(t.maxima[name] for t in terms))
    return metrics
