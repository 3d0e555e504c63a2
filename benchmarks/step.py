"""Where the time of each phase goes: the share of wall time in which no device program runs.

Command: python benchmarks/step.py --config configs/quickstart.py --init runs/quickstart/cold_start [--steps 5]
Programs are run synchronously and timed one by one, so the share is an upper bound: in a run, the host packs the next
mini-batch while the device works on the last. Prints one table and writes it as JSON with --output.
"""

import argparse
import contextlib
import json
import runpy
import time

import jax

jax.config.update("jax_cpu_enable_async_dispatch", False)

from mxjax.cold_start import sft  # noqa: E402
from mxjax.data import QuestionStream  # noqa: E402
from mxjax.data.pools import question_pools  # noqa: E402
from mxjax.evaluation import evaluate  # noqa: E402
from mxjax.mas import Limits  # noqa: E402
from mxjax.models import load  # noqa: E402
from mxjax.rewards import make_reward  # noqa: E402
from mxjax.rl import Learner, credit, init_state, make_optimizer, sft_loss  # noqa: E402
from mxjax.rl.programs import Programs  # noqa: E402
from mxjax.roles import make_roles, update_params  # noqa: E402
from mxjax.rollout import collect  # noqa: E402
from mxjax.sampling.device import Device  # noqa: E402
from mxjax.train import make_learner  # noqa: E402


class Clock:
    """Seconds of wall time by phase, and of device programs within it."""

    def __init__(self):
        self.phase, self.wall, self.device = "", {}, {}
        for owner, name in ((Device, "_start"), (Programs, "run")):
            setattr(owner, name, self._timed(getattr(owner, name)))

    def _timed(self, run):
        def timed(*args, **kwargs):
            start = time.perf_counter()
            out = jax.block_until_ready(run(*args, **kwargs))
            self.device[self.phase] = self.device.get(self.phase, 0.0) + time.perf_counter() - start
            return out

        return timed

    @contextlib.contextmanager
    def __call__(self, phase):
        """Counts what runs inside towards `phase`."""
        self.phase, start = phase, time.perf_counter()
        yield
        self.wall[phase] = self.wall.get(phase, 0.0) + time.perf_counter() - start

    def reset(self):
        """Forgets the compiling first round."""
        self.wall, self.device = {}, {}


def main():
    """Two rounds over all phases; the first, which compiles, is not counted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="configs/quickstart.py")
    parser.add_argument("--init", required=True)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--output")
    args = parser.parse_args()
    config = runpy.run_path(args.config)["get_config"]()
    policy, pools, clock = load(args.init), question_pools(config), Clock()
    examples = [sft.segment(policy.tokenizer, c) for c in sft.load_examples(config, pools.train[:2000])[0]]
    settings = config.sft
    student = Learner(
        policy.config, make_optimizer(config.rl.optimizer), loss=sft_loss, roles=("sft",),
        row_length=settings.row_length,
        microbatch_rows=settings.microbatch_rows, minibatch_segments=settings.batch_segments,
    )  # fmt: skip
    taught = init_state({"shared": jax.tree.map(jax.numpy.copy, policy.params)}, student.optimizer, "sft")
    roles = make_roles(config, {"shared": policy})
    learner, reward, limits = make_learner(config, policy.config, None), make_reward(), Limits(**config.rollout.limits)
    state = init_state({"shared": policy.params}, learner.optimizer, config.rl.mode)
    stream = QuestionStream(pools.train, 0, config.rollout.questions)
    for count in (1, args.steps):
        clock.reset()
        for step in range(count):
            for part in range(20):
                picked = sft.batch_indices(len(examples), settings.batch_segments, 0, 20 * step + part)
                with clock("cold start"):
                    taught, _ = student.update(taught, [examples[i] for i in picked], {"sft": 1.0})
            with clock("rollout"):
                trees = collect(stream.batch(step), roles, reward, limits=limits, step=step)
            for role in ("executor", "designer"):
                with clock(f"{role} update"):
                    state, _ = learner.update(state, credit(trees), {role: 1.0})
                    update_params(roles, state)
            with clock("evaluation"):
                evaluate(pools.held_out[:128], "designed", roles, reward, limits=limits)
    rows = [
        {"phase": name, "wall_s": wall, "device_s": clock.device[name], "outside": 1 - clock.device[name] / wall}
        for name, wall in clock.wall.items()
    ]
    print(f"{'phase':<18}{'wall s':>9}{'device s':>10}{'outside':>9}")
    for row in rows:
        print(f"{row['phase']:<18}{row['wall_s']:>9.2f}{row['device_s']:>10.2f}{row['outside']:>9.1%}")
    if args.output:
        with open(args.output, "w") as file:
            json.dump({"device": jax.devices()[0].device_kind, "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()
