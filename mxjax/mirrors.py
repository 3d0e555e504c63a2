"""Metrics lines shown elsewhere: TensorBoard and Weights & Biases.

`metrics.jsonl` is the record. TensorBoard's files in the workdir and the project of Weights & Biases are made to agree
with it at each start, so that lines lost to a kill, or repeated by a continued run, appear exactly once.
"""

from __future__ import annotations

import importlib
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple

from etils import epath

from mxjax.errors import MissingPackage
from mxjax.files import read_json, write_text

Row = Mapping[str, Any]
WANDB = "wandb.json"  # of a workdir: the id of its run there


class Mirror(NamedTuple):
    """A place where metrics lines are shown.

    It has `send(number, line)`, the number counted from 0 in `metrics.jsonl`, and `close()`.
    """

    send: Callable[[int, Row], None]
    close: Callable[[], None]


def check_mirrors(tensorboard: bool, wandb: str) -> None:
    """Raise ImportError for a mirror that is not installed.

    The message has the command to install it.
    """
    for name in ("tensorboardX",) * bool(tensorboard) + ("wandb",) * bool(wandb):
        _module(name)


def to_tensorboard(workdir: epath.Path, lines: Sequence[Row]) -> Mirror:
    """TensorBoard's files in `tensorboard/`, written anew from the lines so far.

    Each later line is flushed.
    """
    module, folder = _module("tensorboardX"), workdir / "tensorboard"
    if folder.exists():
        folder.rmtree()
    writer = module.SummaryWriter(str(folder))

    def send(number: int, line: Row) -> None:
        for name, value in numbers(line).items():
            writer.add_scalar(name, value, line["step"])
        writer.flush()

    for number, line in enumerate(lines):
        send(number, line)
    return Mirror(send, writer.close)


def to_wandb(workdir: epath.Path, project: str, lines: Sequence[Row]) -> Mirror:
    """The run of this workdir in a project of Weights & Biases.

    An existing run is continued and gets the lines that it lacks. The number of a line is its step there, so that each
    is taken once.
    """
    module = _module("wandb")
    run = module.init(
        project=project, id=_run_id(workdir, project), resume="allow", name=workdir.name, dir=str(workdir)
    )
    has = run.step if run.resumed else 0  # how many lines are there

    def send(number: int, line: Row) -> None:
        if number >= has:
            run.log({**numbers(line), "step": line["step"]}, step=number, commit=True)

    for number, line in enumerate(lines):
        send(number, line)
    return Mirror(send, run.finish)


def numbers(line: Row) -> dict[str, float]:
    """The numbers of a metrics line, by names with its phase."""
    return {f"{line['phase']}/{name}": value for name, value in line.items() if isinstance(value, int | float)}


def _run_id(workdir: epath.Path, project: str) -> str:
    file = workdir / WANDB
    kept = read_json(file) if file.exists() else {}
    if kept.get("project") != project:
        kept = {"project": project, "id": secrets.token_hex(4)}
        write_text(file, json.dumps(kept) + "\n")
    return kept["id"]


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise MissingPackage(f"telemetry needs {error.name}; pip install 'mxjax[log]'") from None
