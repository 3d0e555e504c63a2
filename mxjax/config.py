"""The one configuration: every key with its default, and how it is written to a run's files.

A config file's `get_config()` starts from `default_config()` and sets what differs. What a key may hold stands in
`mxjax.ranges`, by which a misspelled key or an impossible value is an error before anything runs.
"""

from __future__ import annotations

import json
from typing import Any

from ml_collections import ConfigDict

from mxjax import __version__


def default_config() -> ConfigDict:
    """All keys. Batch sizes and learning rates are the paper's (method, section 8)."""
    return ConfigDict(
        {
            "seed": 0,
            "workdir": "",
            "init": "random:tiny",  # random:PRESET, smollm2-135m, a Hugging Face directory, a .gguf file, a workdir
            "model": {"dtype": "float32", "param_dtype": "float32", "remat": "full"},
            "mesh": {"data": 1, "fsdp": -1, "tensor": 1},
            "task": "",  # module:function of a user's own task, instead of data.train
            "data": {
                # A spec, see mxjax.data.sources; a non-empty mixture is a tuple of specs with weights.
                "train": {"source": "reasoning_gym:chain_sum", "options": {}, "form": "task", "bare_share": 0.5},
                "mixture": (),
                "validation": {},  # a spec; empty: held out from the training source
                "train_size": 20_000,  # 0: all of a file, a set or a task
                "validation_size": 256,
                "overlap": "refuse",  # refuse | drop: training questions that are also in a benchmark
            },
            "roles": {
                "designer": _role(),
                # What designs may choose for their agents, in training and evaluation alike: a range of temperatures,
                # which the role's own may widen, and whether top_k, top_p and min_p count.
                "executor": {**_role(), "design_sampling": {"temperature": (0.3, 1.5), "truncation": False}},
            },
            # tools: host tools that agents may be given, such as "python_execute", which runs in the sandbox
            # stateful_tools: variables stay from one piece of an agent's code to its next
            "rollout": {
                "questions": 8, "designs": 4, "executions": 4, "limits": {}, "tools": (), "stateful_tools": False,
            },
            "engine": {
                "slots": 64,
                "page_size": 64,
                "max_len": 16_384,
                "pages": 0,  # in all; 0: enough for every slot at max_len
                "decode_steps": 16,  # most tokens per request between two looks of the host
                "prefix_cache": "prompts",  # prompts | all (also responses, equal within rounding) | off
                "attention": "auto",  # auto | xla | tpu | tpu_narrow | gpu
            },
            "reward": {
                "answer_from": "agent",  # agent | any
                "format_weight": 0.4,
                "sandbox": "auto",  # auto | A | B | C
                "limits": {},  # of each test, names of mxjax.sandbox.SandboxLimits, such as {"cpu_s": 10.0}
                "in_process": False,  # True: checks that only run beside the program count, though it could forge them
                # Of RL steps; elsewhere a program runs on all tests of its question, and all must pass.
                "tests": 0,  # so many, drawn by question and step; 0: all
                "all_pass": True,  # False: a program's correctness is the share of tests that it passes
                "max_fault_share": 0.05,  # of answers whose grading raises an exception; from 10 such on, more stop
            },
            "rl": {
                "steps": 400,
                "mode": "stagewise",  # stagewise | coupled | designer_only | executor_only
                "split_policy": False,  # two sets of weights, one per role
                "stage_length": 30,
                "first_stage": "executor",
                "optimizer": {
                    "learning_rate": 5e-6, "b1": 0.9, "b2": 0.999, "eps": 1e-8, "weight_decay": 0.01,
                    "clip_norm": 1.0, "warmup_steps": 0, "schedule": "constant", "total_steps": 0,
                },
                "clip_low": 0.2,
                "clip_high": 0.2,
                "entropy": 0.0,
                "minibatch_segments": 16,
                "epochs": 1,
                "aggregation": "token",  # token | segment | execution
                "executor_group": "question",  # question | design
                "drop_zero_spread": False,
                "old_logprobs": "engine",  # engine | recompute
                "on_stage_switch": "keep",  # keep | reset_mu | reset
                "max_skipped": 5,  # steps in a row with a loss, gradient or parameter that is not finite, then it stops
                "microbatch_rows": 1,
                "row_length": 16_384,
            },
            "sft": {
                # or jsonl:PATH with rows {"messages": [...]}, or rollouts: sampled from `init`, kept when right
                "examples": "teacher:arithmetic",
                "questions": 10_000,  # questions that the teacher, or the policy, works out
                "designer_share": 1.0,  # of the teacher's designs that are kept as examples
                "tool_share": 0.0,  # of the teacher's designs with a critic that has python_execute (in rollout.tools)
                "vocab_size": 1024,  # of the tokenizer trained when init is random
                "steps": 1000,
                "batch_segments": 256,
                "microbatch_rows": 8,
                "row_length": 512,
                "checkpoint_every": 500,
                "max_skipped": 5,  # as in rl
                "optimizer": {
                    "learning_rate": 1e-3, "b1": 0.9, "b2": 0.98, "eps": 1e-8, "weight_decay": 0.01,
                    "clip_norm": 1.0, "warmup_steps": 50, "schedule": "cosine", "total_steps": 0,
                },
            },
            "eval": {
                "every": 0,  # RL steps between validations; 0: before and after only
                "benchmarks": ("held_out",),  # and names that mxjax evaluate knows
                "systems": ("single", "designed"),
                "samples": 1,
                "temperature": 1.0,
                "choose_on": "held_out",  # the benchmark, and below the system, by which the best checkpoint is chosen
                "choose_by": "designed",
                "choose_on_test": False,  # allow a test set there; every row of the results then says so
                "agent_text": "You are a careful solver. Work step by step.",  # of agents in fixed systems
            },
            "checkpoint": {"every": 50, "keep": 2},
            "telemetry": {"episodes_every": 10, "tensorboard": False, "wandb": ""},  # wandb: a project's name
        }
    )  # fmt: skip


def _role() -> dict[str, Any]:
    """The keys of one role. Each gets a dict of its own: ConfigDict would make one field of a shared one."""
    return {
        "sampling": {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0},
        "prompt": "short",
        "max_tokens": 8192,
        "minibatch_segments": 0,  # of this role's optimiser steps; 0: rl.minibatch_segments
    }


def to_json(config: ConfigDict) -> dict[str, Any]:
    """The config as plain JSON values."""
    return json.loads(config.to_json_best_effort())


def from_json(values: dict[str, Any]) -> ConfigDict:
    """The config that `to_json` wrote; keys that came later have their defaults."""

    def filled(default: Any, value: Any) -> Any:
        if not isinstance(default, dict) or not isinstance(value, dict):
            return value
        return {**default, **{key: filled(default.get(key), item) for key, item in value.items()}}

    return ConfigDict(filled(to_json(default_config()), values))


def run_record(config: ConfigDict, kind: str, model: dict[str, Any], **more: Any) -> dict[str, Any]:
    """What `config.json` of a workdir holds: the package version marks it as ours, `kind` is "sft" or "train"."""
    return {"mxjax": __version__, "kind": kind, "model": model, "config": to_json(config), **more}
