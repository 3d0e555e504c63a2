"""A separate process that compiles.

The TPU's compiler reads its settings once, when it is loaded.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile

from ml_collections import ConfigDict

from mxjax.checks import check_config
from mxjax.config import to_json
from mxjax.errors import UserError
from mxjax.plan.plan import make_plan, model_config
from mxjax.plan.text import advice, table
from mxjax.plan.tpu import GIB, parse_slice
from mxjax.terminal import say

MARK = "mxjax plan: "  # before each message, since libraries may print too


def run(config: ConfigDict, name: str, topology: str, cpu: bool) -> int:
    """Print the table and the verdict.

    Returns 0 if the run fits, 1 if not.
    """
    check_config(config)
    where = parse_slice(topology)
    model_config(config)
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1", "TPU_SKIP_MDS_QUERY": "1"}
    if cpu:
        count = f"--xla_force_host_platform_device_count={where.chips}"
        environment["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {count}"
    request = json.dumps({"config": to_json(config), "name": name, "topology": str(where), "cpu": cpu})
    answer = _answer([sys.executable, "-m", __spec__.name], request, environment)
    if "error" in answer:
        raise UserError(answer["error"])
    say(answer["table"])
    say(answer["verdict"])
    return 0 if answer["fits"] else 1


def _answer(command: list[str], request: str, environment: dict[str, str]) -> dict:
    """The last message of the compiling process.

    Its notes are passed on to standard error as they come.
    """
    answer = {}
    with tempfile.TemporaryFile("w+") as log:
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environment
        ) as child:
            assert child.stdin and child.stdout
            child.stdin.write(request)
            child.stdin.close()
            for line in child.stdout:
                if line.startswith(MARK):
                    answer = json.loads(line.removeprefix(MARK))
                    if "note" in answer:
                        say(answer["note"], file=sys.stderr)
        if child.returncode or "note" in answer or not answer:
            log.seek(0)
            errors = log.read().strip()
            say(errors, file=sys.stderr)  # with the traceback, if there is one
            reason = (errors.splitlines() or ["it ended without a word"])[-1]
            raise UserError(f"the compiling process failed: {reason}")
    return answer


def main() -> None:
    """Serve one request in the compiling process.

    It is read from standard input; JSON lines go to standard output.
    """
    request = json.load(sys.stdin)

    def tell(**message) -> None:
        sys.stdout.write(MARK + json.dumps(message) + "\n")
        sys.stdout.flush()

    config = ConfigDict(request["config"])
    try:
        plan = make_plan(config, parse_slice(request["topology"]), request["cpu"], lambda text: tell(note=text))
    except UserError as error:
        tell(error=str(error))
        return
    compiler = "XLA for CPU, simulated" if request["cpu"] else f"libtpu {importlib.metadata.version('libtpu')}"
    peak, hbm = plan.peak(plan.worst) / GIB, plan.slice.chip.hbm_bytes / GIB
    verdict = f"fits: at most {peak:.2f} of {hbm:.2f} GiB, in {plan.worst}" if plan.fits else advice(plan, config)
    tell(fits=plan.fits, table=table(plan, request["name"], compiler), verdict=verdict)


if __name__ == "__main__":
    main()
