"""Peak host memory while a Hugging Face directory is loaded, against the bytes of the parameters.

`python benchmarks/loading.py [--gigabytes 2] [--output FILE]` writes a random checkpoint of that size in several files,
loads it in fresh processes and prints one row each: bfloat16 and float32, one device and eight simulated ones. Counted
is the peak of RssAnon (Linux) above what the process held before; pages of mapped files are not in it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile

SHARD_BYTES = 500_000_000


def write_checkpoint(directory: pathlib.Path, gigabytes: float) -> None:
    """A Qwen2.5-shaped checkpoint in bfloat16 of about this size, written tensor by tensor."""
    import ml_dtypes
    import numpy as np
    import safetensors.numpy

    from mxjax.models import preset
    from mxjax.models.huggingface import write_config
    from mxjax.models.params import num_params
    from mxjax.models.tokenizer import Tokenizer
    from mxjax.models.weights import foreign_shapes

    cfg = preset("qwen2.5-1.5b").replace(vocab_size=32_000)
    per_layer = num_params(cfg.replace(num_hidden_layers=2)) - num_params(cfg.replace(num_hidden_layers=1))
    rest = num_params(cfg.replace(num_hidden_layers=1)) - per_layer
    cfg = cfg.replace(num_hidden_layers=max(1, round((gigabytes * 1e9 / 2 - rest) / per_layer)))
    rng = np.random.default_rng(0)
    weight_map, batch, size = {}, {}, 0

    def flush():
        nonlocal batch, size
        name = f"model-{len(set(weight_map.values())) + 1:05}.safetensors"
        safetensors.numpy.save_file(batch, directory / name)
        weight_map.update(dict.fromkeys(batch, name))
        batch, size = {}, 0

    for name, shape in foreign_shapes(cfg).items():
        batch[name] = rng.normal(size=shape).astype(ml_dtypes.bfloat16)
        size += 2 * math.prod(shape)
        if size > SHARD_BYTES:
            flush()
    flush()
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (directory / "config.json").write_text(json.dumps(write_config(cfg, "bfloat16")))
    Tokenizer.byte_level().save(directory)


def measure(directory: str, dtype: str) -> dict:
    """Loads in this process and returns peak and parameter bytes."""
    import threading
    import time

    import jax

    from mxjax import models
    from mxjax.sharding import make_mesh

    def anonymous() -> int:
        lines = pathlib.Path("/proc/self/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))

    mesh = make_mesh()
    jax.block_until_ready(jax.numpy.ones(1))
    before, peak, done = anonymous(), 0, threading.Event()

    def watch():
        nonlocal peak
        while not done.is_set():
            peak = max(peak, anonymous())
            time.sleep(0.002)

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    policy = models.load(directory, mesh=mesh, dtype=dtype)
    jax.block_until_ready(policy.params)
    seconds = time.perf_counter() - start
    done.set()
    watcher.join()
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(policy.params))
    return {
        "dtype": dtype, "devices": mesh.size, "parameter_bytes": size, "peak_bytes": peak - before,
        "allowed_bytes": int(1.3 * size + 500e6), "seconds": seconds,
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--output", help="write the rows as JSON")
    parser.add_argument("--measure", nargs=2, metavar=("DIRECTORY", "DTYPE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(*args.measure)))
        return
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        write_checkpoint(pathlib.Path(directory), args.gigabytes)
        print("| parameters | devices | bytes (GB) | peak (GB) | peak / bytes | allowed (GB) | seconds |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for dtype in ("bfloat16", "float32"):
            for devices in (1, 8):
                flags = f"--xla_force_host_platform_device_count={devices}"
                env = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
                command = [sys.executable, __file__, "--measure", directory, dtype]
                row = json.loads(subprocess.run(command, env=env, check=True, capture_output=True).stdout)
                rows.append(row)
                size, peak, allowed = (row[name] / 1e9 for name in ("parameter_bytes", "peak_bytes", "allowed_bytes"))
                print(
                    f"| {dtype} | {devices} | {size:.2f} | {peak:.2f} | {peak / size:.2f} | {allowed:.2f} "
                    f"| {row['seconds']:.1f} |",
                    flush=True,
                )
    if args.output:
        pathlib.Path(args.output).write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
