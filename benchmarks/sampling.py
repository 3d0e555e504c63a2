"""Sampling speed against tunix's `Sampler` and Hugging Face `generate`: same weights, prompts and response lengths.

Command: python benchmarks/sampling.py [--tunix PYTHON] [--hf PYTHON] [--rounds 5] [--output FILE]
where PYTHON is the interpreter of an environment with tunix 0.1.7, or with torch and transformers; a peer without one
is left out. `--profile DIR` writes a trace of ours to look at with xprof.

Model: Qwen3 shape of 13.5 million parameters, float32, random weights; temperature 1, nothing truncated.
  uniform  64 rows, prompts of 64 tokens, 128 new tokens each.
  tree     16 prompts of 64 to 512 tokens with 16 samples each; lengths geometric with mean 64, at most 256.
Each side runs in a process of its own, which waits while another works; sides alternate, medians of the rounds are
compared, the first run of each (compilation) is reported apart. A peer runs static batches, sorted by prompt length,
each until its longest row has its length, at the batch size that was fastest for it. The roofline is the time that the
matrix products of all tokens take at the matrix rate measured in the same process.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

SHAPE = {
    "vocab_size": 8192, "hidden_size": 384, "intermediate_size": 1152, "num_hidden_layers": 6,
    "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 64, "max_position_embeddings": 1024,
}  # fmt: skip
BATCHES = (64, 128, 256)


def workloads() -> dict[str, list[tuple[list[int], int]]]:
    """(prompt ids, new tokens) of every row, by workload."""
    rng = np.random.default_rng(0)
    prompt = lambda length: rng.integers(10, SHAPE["vocab_size"], length).tolist()
    tree = [prompt(int(length)) for length in rng.integers(64, 513, 16)]
    lengths = np.minimum(rng.geometric(1 / 64, (16, 16)), 256)
    return {
        "uniform": [(prompt(64), 128) for _ in range(64)],
        "tree": [(ids, int(n)) for ids, row in zip(tree, lengths, strict=True) for n in row],
    }


def batches(rows, size):
    """Rows sorted by prompt length, `size` at a time."""
    rows = sorted(rows, key=lambda row: len(row[0]))
    return [rows[start : start + size] for start in range(0, len(rows), size)]


# The sides: each takes a directory with the weights and gives a function from rows and batch size to nothing.


def ours(directory: str):
    """This project's engine, 64 slots whatever the batch size."""
    import dataclasses

    from mxjax import models
    from mxjax.sampling import Engine, Request, SamplingParams

    policy = models.load(directory)
    endless = dataclasses.replace(policy.tokenizer, template=None, stop_ids=())  # every row has its own length
    engine = Engine(dataclasses.replace(policy, tokenizer=endless), slots=64, max_len=SHAPE["max_position_embeddings"])

    def run(rows, batch):
        engine.update_params(policy.params)  # nothing is known from the round before
        requests = [Request(ids, SamplingParams(max_tokens=n, seed=i)) for i, (ids, n) in enumerate(rows)]
        completions = engine.generate(requests)
        assert [len(c.token_ids) for c in completions] == [n for _, n in rows]
        return engine.stats()

    return run


def tunix(directory: str):
    """tunix's `Sampler` on its own Qwen3."""
    import jax.numpy as jnp
    from tunix.generate.sampler import CacheConfig, Sampler
    from tunix.models.qwen3 import model, params

    config = model.ModelConfig(
        num_layers=SHAPE["num_hidden_layers"], vocab_size=SHAPE["vocab_size"], embed_dim=SHAPE["hidden_size"],
        hidden_dim=SHAPE["intermediate_size"], num_heads=SHAPE["num_attention_heads"], head_dim=SHAPE["head_dim"],
        num_kv_heads=SHAPE["num_key_value_heads"], rope_theta=10_000, norm_eps=1e-6, use_tied_embedding=True,
    )  # fmt: skip
    network = params.create_model_from_safe_tensors(directory, config, dtype=jnp.float32)

    class Ids:
        """A tokenizer whose text is ids."""

        encode = staticmethod(lambda text: [int(word) for word in text.split()])
        decode = staticmethod(lambda ids: "")
        bos_id = pad_id = staticmethod(lambda: 0)
        eos_id = staticmethod(lambda: SHAPE["vocab_size"] + 1)

    def run(rows, batch):
        for part in batches(rows, batch):
            prompt, new = 2 ** (max(len(ids) for ids, _ in part) - 1).bit_length(), max(n for _, n in part)
            cache = CacheConfig(prompt + new, SHAPE["num_hidden_layers"], config.num_kv_heads, config.head_dim)
            key = batch, prompt, new
            if key not in samplers:
                samplers[key] = Sampler(network, Ids(), cache)
            texts = [" ".join(map(str, ids)) for ids, _ in part]
            out = samplers[key](texts, new, prompt, temperature=1.0, top_p=1.0, seed=0)
            assert min(map(len, out.tokens)) >= new - 1
        return {}

    samplers = {}
    return run


def hugging_face(directory: str):
    """Hugging Face `generate` on torch."""
    import torch
    from transformers import AutoModelForCausalLM

    network = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()

    def run(rows, batch):
        for part in batches(rows, batch):
            longest, new = max(len(ids) for ids, _ in part), max(n for _, n in part)
            ids = torch.tensor([[0] * (longest - len(ids)) + ids for ids, _ in part])
            mask = torch.tensor([[0] * (longest - len(ids)) + [1] * len(ids) for ids, _ in part])
            with torch.inference_mode():
                out = network.generate(
                    ids, attention_mask=mask, max_new_tokens=new, min_new_tokens=new, do_sample=True, temperature=1.0,
                    top_k=0, top_p=1.0, pad_token_id=0, eos_token_id=None,
                )  # fmt: skip
            assert out.shape[1] == longest + new
        return {}

    return run


SIDES = {"mxjax": ours, "tunix": tunix, "hf": hugging_face}


def serve(side: str, directory: str) -> None:
    """Answers each line (workload, batch size) on stdin with a line of JSON."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    run, rows = SIDES[side](directory), workloads()
    for line in sys.stdin:
        name, batch = json.loads(line)
        start = time.perf_counter()
        stats = run(rows[name], batch)
        print(json.dumps({"seconds": time.perf_counter() - start, **stats}), file=answers, flush=True)


class Side:
    """The process of one side."""

    def __init__(self, name: str, python: str, directory: str):
        self.name = name
        command = [python, __file__, "--serve", name, "--directory", directory]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, workload: str, batch: int) -> dict:
        """One run of a workload: `seconds` and whatever the side tells."""
        print(json.dumps([workload, batch]), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended in {workload} with batches of {batch}; its messages are above")
        return json.loads(line)


def write_weights(directory: str) -> None:
    """Random weights as a Hugging Face directory, which every side reads."""
    import jax

    from mxjax import models

    cfg = models.ModelConfig(**SHAPE, qk_norm=True, tie_word_embeddings=True, rope_theta=10_000.0, rms_norm_eps=1e-6)
    tokenizer = models.Tokenizer.byte_level(cfg.vocab_size)
    models.save_hf(models.Policy(models.init_params(jax.random.key(0), cfg), cfg, tokenizer), directory)


def matmul_rate() -> float:
    """Float32 operations per second of a matrix product of this machine, the best of a few."""
    import jax
    import jax.numpy as jnp

    size = 1024
    product = jax.jit(lambda a: a @ a)
    a = jnp.ones((size, size))
    times = []
    for _ in range(10):
        start = time.perf_counter()
        product(a).block_until_ready()
        times.append(time.perf_counter() - start)
    return 2 * size**3 / min(times)


def roofline_s(rows, rate: float) -> float:
    """Seconds for the matrix products of every distinct prompt once, and of every new token."""
    layers = SHAPE["num_hidden_layers"]
    heads = SHAPE["num_attention_heads"] * 2 + SHAPE["num_key_value_heads"] * 2
    per_layer = SHAPE["hidden_size"] * (heads * SHAPE["head_dim"] + 3 * SHAPE["intermediate_size"])
    new = sum(n for _, n in rows)
    tokens = sum(len(ids) for ids in {tuple(ids) for ids, _ in rows}) + new
    return 2 * (tokens * layers * per_layer + new * SHAPE["vocab_size"] * SHAPE["hidden_size"]) / rate


def compare(sides: list[Side], workload: str, rounds: int, rate: float) -> list[dict]:
    """A row per side: median seconds, tokens per second, ratio of ours to it."""
    rows = workloads()[workload]
    tokens, ideal = sum(n for _, n in rows), roofline_s(rows, rate)
    first, best = {}, {}
    for side in sides:
        sizes = [64] if side.name == "mxjax" else [size for size in BATCHES if size <= len(rows)]
        for size in sizes:
            cold, warm = side.run(workload, size)["seconds"], side.run(workload, size)["seconds"]
            first.setdefault(side.name, max(0.0, cold - warm))
            if warm < best.get(side.name, (np.inf, 0))[0]:
                best[side.name] = warm, size
    times, told = {side.name: [] for side in sides}, {}
    for _ in range(rounds):
        for side in sides:
            told[side.name] = side.run(workload, best[side.name][1])
            times[side.name].append(told[side.name].pop("seconds"))
    medians = {name: statistics.median(values) for name, values in times.items()}
    return [
        {
            "workload": workload, "side": name, "batch": best[name][1], "seconds": seconds,
            "tokens_per_s": tokens / seconds, "ours_is_faster_by": seconds / medians["mxjax"],
            "of_roofline": ideal / seconds, "compile_s": first[name], "spread": [min(times[name]), max(times[name])],
            "stats": told[name],
        }
        for name, seconds in medians.items()
    ]  # fmt: skip


def main() -> None:
    """Runs both workloads on every side that there is, prints a table and writes it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tunix", help="interpreter with tunix 0.1.7")
    parser.add_argument("--hf", help="interpreter with torch and transformers")
    parser.add_argument("--workload", choices=tuple(workloads()), action="append")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output")
    parser.add_argument("--profile", help="a folder for a trace of ours; nothing is compared")
    parser.add_argument("--serve", choices=tuple(SIDES), help=argparse.SUPPRESS)
    parser.add_argument("--directory", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.serve, args.directory)
        return
    with tempfile.TemporaryDirectory() as directory:
        weights = str(pathlib.Path(directory) / "weights")
        write_weights(weights)
        chosen = args.workload or list(workloads())
        if args.profile:
            profile(weights, chosen, args.profile)
            return
        rate = matmul_rate()
        pythons = {"mxjax": sys.executable, "tunix": args.tunix, "hf": args.hf}
        sides = [Side(name, python, weights) for name, python in pythons.items() if python]
        try:
            rows = [row for workload in chosen for row in compare(sides, workload, args.rounds, rate)]
        finally:
            for side in sides:
                side.process.kill()
    print(f"matrix products: {rate / 1e9:.1f} GFLOP/s")
    heads = ("batch", 6), ("seconds", 9), ("tok/s", 8), ("ours by", 9), ("roofline", 10), ("compile s", 11)
    print(f"{'workload':<10}{'side':<8}" + "".join(f"{name:>{width}}" for name, width in heads))
    for row in rows:
        print(
            f"{row['workload']:<10}{row['side']:<8}{row['batch']:>6}{row['seconds']:>9.2f}{row['tokens_per_s']:>8.0f}"
            f"{row['ours_is_faster_by']:>8.2f}x{row['of_roofline']:>10.1%}{row['compile_s']:>11.1f}"
        )
    if args.output:
        machine = {"cpus": os.cpu_count(), "matmul_flop_per_s": rate}
        pathlib.Path(args.output).write_text(json.dumps({"machine": machine, "rows": rows}, indent=1))


def profile(weights: str, chosen: list[str], folder: str) -> None:
    """Traces one warm run of each workload."""
    import jax

    run = ours(weights)
    for name in chosen:
        run(workloads()[name], 64)
        with jax.profiler.trace(str(pathlib.Path(folder) / name)):
            run(workloads()[name], 64)


if __name__ == "__main__":
    main()
