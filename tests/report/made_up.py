"""A made-up run with known numbers and real designs: what a long run leaves behind, without running one."""

import json
import math
import random

from mxjax import mas
from mxjax.cold_start import teacher
from mxjax.rollout import Question

PROMPTS = "configs/prompts/arithmetic.toml"
SYSTEMS = ("single", "designed")


def rl_row(step, stage, steps):
    """A metrics line of one RL step; the active role's reward rises."""
    done, noise = step / steps, random.Random(step).random() / 10
    other = {
        "patterns": {"single": 0.5 - 0.4 * done, "vote": 0.2, "reflection": 0.1 + 0.4 * done, "pipeline": 0.1,
                     "invalid": 0.1},
        "reward": 0.3 + 0.7 * done + noise, "executor_reward": 0.35 + 0.7 * done + noise,
        "correct": 0.2 + 0.6 * done, "format": 0.9, "valid_designs": 0.8 + 0.2 * done, "invalid_executions": 0.0,
        "calls": 2.5 + done, "design_tokens": 60 + 9 * noise, "response_tokens": 30 + 10 * done,
        "cut_replies": 0.02, "not_from_agent": 0.0, "gold_in_design": 0.05 * noise,
        "designer_zero_spread": 0.3 + noise, "executor_zero_spread": 0.2 + noise,
        "grad_norm": 0.4 + noise, "grad_norm_max": 0.9 + noise, "tokens": 9000.0,
        "rollout_s": 20 + noise, "step_s": 50.0, "engine_decode_tokens_per_s": 1800 + 900 * noise,
    }  # fmt: skip
    for role in stage.split("+"):
        other |= {
            f"{role}/clip_fraction": 0.01 * noise,
            f"{role}/kl": 1e-4 * noise,
            f"{role}/entropy": 0.5 - 0.2 * done,
        }
        other |= {f"{role}/engine_difference": 4e-7}
    return {"step": step, "stage": stage, "phase": "rl", "time_s": 50.0 * step, **other}


def eval_row(step, system, accuracy, n=20):
    """A metrics line of one evaluation."""
    correct = [float(i < accuracy * n) for i in range(n)]
    return {
        "step": step, "stage": "", "phase": "eval", "time_s": 50.0 * step, "system": system, "benchmark": "validation",
        "n": n, "samples": 1, "accuracy": accuracy, "ci95": [max(0, accuracy - 0.1), min(1, accuracy + 0.1)],
        "valid_design_rate": 1.0, "patterns": {"single": 1.0}, "calls": 1.5, "prompt_tokens": 40.0,
        "response_tokens": 30.25, "failures": {"error": 2}, "seconds": 12.5, "when": f"step {step}", "correct": correct,
    }  # fmt: skip


def episode(question, pattern, right, seed=0):
    """A saved tree of one question with one design of the given pattern, run for real on scripted replies."""
    reply = next(r for r in (teacher.design(question, random.Random(s)) for s in range(200)) if f": {pattern}\n" in r)
    source, calls = mas.parse_design(reply), []
    answer = question.gold if right else str(int(question.gold) + 1)
    run = mas.start(mas.check(source), question.text)
    while run.pending:
        call = run.pending[0]
        text = f"<delivery>{teacher.worked(question.text)}</delivery>\nFINAL ANSWER: \\boxed{{{answer}}}"
        prompt = "\n".join(message["content"] for message in call.messages)
        calls.append({"role": "executor", "call_id": call.id, "parent": None, "prompt": prompt, "reply": text,
                      "tokens": 31, "finish_reason": "stop"})  # fmt: skip
        run.advance({call.id: mas.Reply(text)})
    outcome = {"index": 0, "status": "ok", "reason": "", "correct": float(right), "format": 1.0,
               "reward": right + 0.4, "answer": run.result.content, "calls": calls}  # fmt: skip
    return tree(question, source, [outcome], call={"reply": reply, "tokens": 70, "prompt": question.text})


def tree(question, source, executions, error="", call=None):
    """The record of a question with one design."""
    asked = {"id": question.id, "text": question.text, "task_type": "math", "gold": question.gold, "tests": None,
             "source": "made up", "split": "test"}  # fmt: skip
    design = {"index": 0, "source": source, "error": error, "call": call, "executions": executions}
    return {"question": asked, "step": 0, "designs": [design]}


def broken(question):
    """The saved tree of a question whose design is no script."""
    reason = "line 1, column 1: the text holds no script"
    outcome = {"index": 0, "status": "invalid_design", "reason": reason, "correct": 0.0, "format": 0.0, "reward": 0.0,
               "answer": "", "calls": []}  # fmt: skip
    return tree(question, "I would ask three agents.", [outcome], reason)


COMMAND = (
    "mxjax train --config configs/quickstart.py --workdir 'runs/a first try' --config.rl.steps=20 "
    "--config.init=hf:Some-Organisation/a-model-with-a-rather-long-name --config.rl.optimizer.learning_rate=0.0001"
)


def questions():
    """Four questions with ids 0 to 3."""
    texts = {"12 + 7 - 3": "16", "40 - 4 + 4": "40", "6 - 9": "-3", "17 - 82 - 65": "-130"}
    return [Question(str(i), text, gold=gold) for i, (text, gold) in enumerate(texts.items())]


def write_jsonl(path, rows):
    """Writes rows as jsonl, with the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_run(path, steps=20, stage_length=5, cold=300, finished=True):
    """Writes a workdir: metrics, evaluations before and after, episodes, a cold start, and results if finished."""
    a, b, c, d = questions()
    roles = ("executor", "designer")
    rl = [rl_row(step, roles[step // stage_length % 2], steps) for step in range(steps)]
    before = [eval_row(0, system, 0.2) for system in SYSTEMS]
    after = [eval_row(steps, "single", 0.4), eval_row(steps, "designed", 0.8)] if finished else []
    write_jsonl(path / "metrics.jsonl", [*before, *rl, *after])
    write_jsonl(
        path / "episodes" / "eval_0_designed.jsonl",
        [episode(a, "single", True), broken(b), episode(c, "debate", False), episode(d, "pipeline", False)],
    )
    if finished:
        write_jsonl(path / f"episodes/eval_{steps}_designed.jsonl", [
            episode(a, "single", True), episode(b, "vote", True), episode(c, "reflection", True),
            episode(d, "pipeline", False)])  # fmt: skip
    losses = [{"step": s, "stage": "", "phase": "sft", "time_s": 0.4 * s, "grad_norm": 1.0,
               "sft/loss": 0.1 + 4 * math.exp(-s / 60)} for s in range(cold)]  # fmt: skip
    write_jsonl(path / "cold_start" / "metrics.jsonl", losses)
    config = {"seed": 7, "init": str(path / "cold_start"), "rl": {"steps": steps}, "sft": {"steps": cold}}
    model = {"num_hidden_layers": 3, "hidden_size": 128, "num_attention_heads": 4, "vocab_size": 380}
    (path / "config.json").write_text(json.dumps({"mxjax": "0.1.0", "model": model, "config": config}))
    if finished:
        results = {"schema": 1, "command": COMMAND, "config": config, "versions": {"mxjax": "0.1.0", "jax": "0.10.2"},
                   "device": "1 x cpu", "sandbox_level": None, "seed": 7, "rows": [*before, *after],
                   "phases_s": {"cold_start": 120.0, "rl": 1000.0, "evaluation": 50.0}}  # fmt: skip
        (path / "results.json").write_text(json.dumps(results))
    return path
