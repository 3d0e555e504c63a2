"""Helpers for the tests of `mxjax.mas`: run a snippet in CPython and in the machine, answer calls, build scripts."""

import contextlib
import io

from mxjax import mas

HEAD = "from workflow import *\n"


def cpython(source):
    """What CPython prints for a snippet; an uncaught exception is its last line."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        try:
            exec(compile(source, "<snippet>", "exec"), {"__name__": "__main__"})
        except Exception as error:
            print(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
    return out.getvalue()


def machine(source, limits=None, seed=0):
    """What the machine prints for a snippet; an uncaught exception is its last line."""
    run = mas.start(mas.check(source, limits), "q", seed=seed)
    assert run.result is not None
    text = run.printed
    if run.result.status == "limit":
        return text + f"limit: {run.result.reason}\n"
    if run.result.status == "error" and run.result.reason.startswith("line "):
        text += run.result.reason.split(": ", 1)[1] + "\n"
    return text


def boxed(value):
    """A reply with a final answer."""
    return f"FINAL ANSWER: \\boxed{{{value}}}"


def drive(source, answer, question="What is 1+1?", **options):
    """Runs a script with `answer(call)` for every call; the finished run and the batches of calls given out."""
    run = mas.start(mas.check(source, options.pop("check_limits", None)), question, **options)
    batches = []
    while run.result is None:
        batches.append(run.pending)
        run.advance({call.id: answer(call) for call in run.pending})
    return run, batches
