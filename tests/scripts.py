"""Helpers for the tests of scripts: run one in CPython and in the machine, answer its calls, compare what is left."""

import collections
import contextlib
import decimal
import io
import pathlib
import re

from mxjax import mas
from mxjax.script.values import Set

HEAD = "from workflow import *\n"


def shown(value, depth=0):
    """The text of a value of plain types, the same for both languages; None for any other value."""
    if value is None or type(value) in (bool, int, float, str):
        return repr(value)
    if depth > 20:
        return None
    if type(value) is Set or isinstance(value, set | frozenset):
        parts = sorted(shown(item, depth + 1) or "" for item in getattr(value, "items", value))
    elif isinstance(value, dict):
        parts = [shown(part, depth + 1) for pair in value.items() for part in pair]
    elif type(value) in (list, tuple, collections.deque):
        parts = [shown(item, depth + 1) for item in value]
    else:
        return None
    return None if None in parts or "" in parts else f"{len(parts)}({', '.join(parts)})"


def values(names, apart=()):
    """The plain global variables of a program that has ended, as lines, `apart` from some."""
    plain = {name: shown(value) for name, value in names.items() if name[:2] != "__"}
    return "".join(f"{name} = {plain[name]}\n" for name in sorted(plain) if plain[name] and name not in apart)


def read_snippets(name):
    """The snippets of a file in one of these folders, by the name over each."""
    text = (pathlib.Path(__file__).parent / name).read_text()
    found = dict(re.findall(r"^### ([^\n]+)\n(.*?)(?=^### |\Z)", text, re.DOTALL | re.MULTILINE))
    assert len(found) == text.count("### ")
    return found


def cpython(source, final=False, apart=(), names=None):
    """What CPython prints for a snippet; an uncaught exception is its last line, before the `final` values."""
    out = io.StringIO()
    names = {"__name__": "__main__", **(names or {})}
    with contextlib.redirect_stdout(out), decimal.localcontext(decimal.Context()):
        try:
            exec(compile(source, "<snippet>", "exec"), names)
        except Exception as error:
            print(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
    return out.getvalue() + (values(names, apart) if final else "")


def machine(source, limits=None, seed=0, final=False, apart=()):
    """What the machine prints for a snippet; an uncaught exception is its last line, before the `final` values."""
    run = mas.start(mas.check(source, limits), "q", seed=seed)
    assert run.result is not None
    ended = told(run)
    limited = run.result.status == "limit"
    return ended + (values(run._machine.globals, ("question", *apart)) if final and not limited else "")


def told(run):
    """What a run that has ended printed; the limit or the exception that ended it is its last line."""
    if run.result.status == "limit":
        return run.printed + f"limit: {run.result.reason}\n"
    if run.result.status == "error" and run.result.reason.startswith("line "):
        return run.printed + run.result.reason.split(": ", 1)[1] + "\n"
    return run.printed


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
