"""The working directory of a run.

It holds the config, metrics, whole episodes and results, which people debug from. Only process 0 writes. Files go
through `etils.epath`, so a workdir may be a bucket.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from etils import epath
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from mxjax import __version__
from mxjax.command_line import command_line
from mxjax.errors import file_errors
from mxjax.files import absolute, make_folder, read_rows, write_text
from mxjax.lock import Lock
from mxjax.mirrors import Mirror, to_tensorboard, to_wandb
from mxjax.rollout.records import Execution, Question, QuestionTree, Segment
from mxjax.terminal import shown

Decode = Callable[[Sequence[int] | np.ndarray], str]

OF_A_START = ("metrics.jsonl", "episodes", "skipped", "results.json", "report.html", "tokenizer")


def plain(value: Any) -> Any:
    """`value` as JSON.

    Arrays become lists, dataclasses dicts, and numbers that are not finite None.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | jax.Array):
        return plain(np.asarray(value).tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    if isinstance(value, Iterable):
        return [plain(item) for item in value]
    return str(value)


class Workdir:
    """Files of one run under `path`: config.json, metrics.jsonl, episodes/, results.json.

    The folder is made by the first of them, so that a command that is refused before leaves nothing behind.
    With the `lock` of its only writer nothing is appended once another process has taken that over (RunStopped).
    """

    def __init__(self, path: epath.PathLike, lock: Lock | None = None):
        self.path = absolute(path)
        self._lock = lock
        self._started = time.monotonic()
        self._writes = jax.process_index() == 0
        self._mirrors: list[Mirror] = []
        self._lines = 0  # in metrics.jsonl, counted for the mirrors

    @property
    def checkpoints(self) -> epath.Path:
        """Where the checkpointer works."""
        return self.path / "checkpoints"

    @property
    def has_results(self) -> bool:
        """Whether a run has finished here."""
        return (self.path / "results.json").exists()

    def mirror(self, tensorboard: bool = False, wandb: str = "") -> None:
        """Also show metrics lines in TensorBoard or Weights & Biases.

        This covers earlier and later lines. Raises ImportError, with the command to install it, if one is asked for but
        absent.
        """
        if not self._writes:
            return
        lines = self.metrics()
        self._lines = len(lines)
        make_folder(self.path)
        if tensorboard:
            self._mirrors.append(to_tensorboard(self.path, lines))
        if wandb:
            self._mirrors.append(to_wandb(self.path, wandb, lines))

    def close(self) -> None:
        """Close the mirrors."""
        for mirror in self._mirrors:
            mirror.close()
        self._mirrors = []

    def write_json(self, name: str, value: Any) -> None:
        """Write a whole JSON file."""
        if self._writes:
            make_folder(self.path)
            write_text(self.path / name, json.dumps(plain(value), indent=1) + "\n")

    def log(self, step: int, stage: str, phase: str, metrics: Mapping[str, Any]) -> None:
        """Append one line {step, stage, phase, time_s, ...} to metrics.jsonl.

        `time_s` counts from this start.
        """
        row = {"step": step, "stage": stage, "phase": phase, "time_s": time.monotonic() - self._started, **metrics}
        self.append("metrics.jsonl", [row])
        for mirror in self._mirrors:
            mirror.send(self._lines, row)
        self._lines += 1

    def metrics(self) -> list[dict[str, Any]]:
        """All metrics lines so far.

        A last line cut by a kill is left out.
        """
        return read_rows(self.path / "metrics.jsonl")

    def begin_anew(self) -> None:
        """Remove what an earlier start without a checkpoint left.

        That start may have had another `init`.
        """
        if not self._writes or not (self.path / "config.json").exists():
            return
        for name in OF_A_START:
            path = self.path / name
            if path.is_dir():
                path.rmtree()
            else:
                path.unlink(missing_ok=True)

    def drop_metrics_from(self, step: int) -> None:
        """Drop the rows of steps that a resumed run takes again.

        These are the ones from `step` on; evaluations of that state stay.
        """
        if self._writes and (self.path / "metrics.jsonl").exists():
            done = lambda row: row["step"] < step or (row["step"] == step and row["phase"] == "eval")
            kept = "".join(json.dumps(row) + "\n" for row in self.metrics() if done(row))
            write_text(self.path / "metrics.jsonl", kept)

    def save_episodes(self, name: str | int, trees: Sequence[QuestionTree], decode: Decode) -> None:
        """Write whole trees to episodes/<name>.jsonl, and as text for people to episodes/<name>.txt."""
        if not self._writes:
            return
        folder = self.path / "episodes"
        make_folder(folder)
        records = [tree_record(tree, decode) for tree in trees]
        write_text(folder / f"{name}.jsonl", "".join(json.dumps(record) + "\n" for record in records))
        write_text(folder / f"{name}.txt", "\n".join(map(tree_text, records)))

    def write_results(
        self,
        config: Any,
        rows: Sequence[Mapping],
        phases_s: Mapping,
        seed: int,
        grading: Mapping[str, Any],
        chosen: Mapping[str, Any] | None = None,
    ) -> None:
        """Write results.json: the run, its device, and the table's rows.

        One row per system and benchmark. `grading` is what rewards depend on (`mxjax.grading`), with the sandbox's
        level of model-written Python: "A", "B", "C", or None where none was run; `chosen` the run's checkpoint that was
        best in validation.
        """
        device = jax.devices()[0]
        self.write_json(
            "results.json",
            {
                "schema": 1,
                "command": command_line(),
                "config": config,
                "versions": {"mxjax": __version__, "jax": jax.__version__},
                "device": f"{jax.device_count()} x {device.device_kind}",
                "sandbox_level": grading["sandbox_level"],
                "grading": grading,
                "seed": seed,
                "rows": rows,
                "phases_s": phases_s,
                **({"chosen": chosen} if chosen else {}),
            },
        )

    def append(self, name: str, rows: Iterable[Any]) -> None:
        """Append rows to a jsonl file, which it makes if need be."""
        if not self._writes:
            return
        if self._lock is not None:
            self._lock.check()
        lines = "".join(json.dumps(plain(row)) + "\n" for row in rows)
        path = self.path / name
        make_folder(path.parent)
        with file_errors("write", path):
            if "://" in str(self.path):  # object stores cannot append
                path.write_text((path.read_text() if path.exists() else "") + lines)
            else:
                with path.open("a") as file:
                    file.write(lines)


def _call_record(segment: Segment, decode: Decode) -> dict[str, Any]:
    return {
        "role": segment.role,
        "call_id": segment.call_id,
        "parent": segment.parent,
        "prompt": decode(segment.prompt_token_ids),
        "reply": decode(segment.token_ids),
        "tokens": len(segment.token_ids),
        "finish_reason": segment.finish_reason,
        "prompt_token_ids": segment.prompt_token_ids,
        "token_ids": segment.token_ids,
        "model_logprobs": segment.model_logprobs,
    }


def _execution_record(execution: Execution, decode: Decode) -> dict[str, Any]:
    return {
        "index": execution.index,
        "status": execution.status,
        "reason": execution.reason,
        "correct": execution.correct,
        "format": execution.format,
        "reward": execution.reward,
        "answer": getattr(execution.result, "content", ""),
        "calls": [_call_record(segment, decode) for segment in execution.segments],
    }


def question_record(question: Question) -> dict[str, Any]:
    """A question as JSON, with a count and digest of its tests.

    The tests are hidden, and may be many megabytes.
    """
    record = plain(dataclasses.replace(question, tests=None))
    if question.tests is not None:
        text = json.dumps(plain(question.tests), sort_keys=True)
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
        record["tests"] = {"count": len(question.tests), "digest": digest}
    return record


def tree_record(tree: QuestionTree, decode: Decode, decode_design: Decode | None = None) -> dict[str, Any]:
    """A tree as JSON, its calls also as text.

    `decode_design` is for the designer, if its tokenizer differs.
    """
    designs = [
        {
            "index": design.index,
            "source": design.source,
            "error": design.error,
            "call": None if design.segment is None else _call_record(design.segment, decode_design or decode),
            "executions": [_execution_record(execution, decode) for execution in design.executions],
        }
        for design in tree.designs
    ]
    return plain({"question": question_record(tree.question), "step": tree.step, "designs": designs})


def tree_text(record: Mapping[str, Any]) -> str:
    """A tree's record as a transcript for terminals.

    It has each design, then the calls and the reward of each execution.
    """
    question = record["question"]
    lines = [f"QUESTION {question['id']}: {question['text']}", f"gold: {question['gold']}", ""]
    for design in record["designs"]:
        lines += [f"== design {design['index']} ==", design["source"].strip(), ""]
        if design["error"]:
            lines += [f"rejected: {design['error']}", ""]
            continue
        for execution in design["executions"]:
            lines.append(f"-- execution {design['index']}.{execution['index']} --")
            for call in execution["calls"]:
                lines += [f"[{call['call_id']}] < {call['prompt']}", f"[{call['call_id']}] > {call['reply']}"]
            lines.append(
                f"answer: {execution['answer']!r}  reward {execution['reward']:.2f} (correct {execution['correct']:g}, "
                f"format {execution['format']:g}) {execution['status']} {execution['reason']}\n"
            )
    return shown("\n".join(lines))


def progress_bar(quiet: bool = False) -> Progress:
    """A progress display with count, times and a `note` field.

    The note has the current figures.
    """
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=Console(stderr=True),
        disable=quiet or jax.process_index() != 0,
    )


def progress_of(bar: Progress, task: TaskID, note: str = "") -> Callable[[int, float], None]:
    """A function that shows `(done, accuracy)` on a progress display.

    It writes them after `note`.
    """
    return lambda done, accuracy: bar.update(task, completed=done, note=f"{note}{accuracy:.1%} right")
