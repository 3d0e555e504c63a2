"""What a job runs once the walls stand.

A program, a program's functions on call, tests of another job, or a session. Nothing here protects anything: a hostile
program shares this process and may change all of it. What it can reach through descriptor 3 is read by the trainer as
data, never believed.
"""

import ast
import atexit
import builtins
import io
import linecache
import os
import sys
import threading
import traceback
import types

import peer
import ready
import wire

NAME = "<program>"
_usual: dict = {}


def prepare() -> None:
    """Make ready, in the warm process, what jobs find in their interpreter."""
    ready.make_ready()
    _usual.update(ready.usual_builtins())


def main(payload: dict, report: int) -> None:
    """Run a payload, `{"kind": ..., "source": ...}`, and exits.

    Says on `report` when its source has compiled.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        errors = "backslashreplace" if name == "stderr" else "surrogateescape"
        stream = open(number, mode, encoding="utf-8", errors=errors, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    sys.argv = [NAME]
    code = 1
    try:
        program = _compile(payload["source"])
        os.write(report, b"R")
        os.close(report)
        _KINDS[payload["kind"]](program, payload)
        threading._shutdown()  # type: ignore[attr-defined]  # private, so absent from typeshed
        code = 0
    except SystemExit as stop:
        code = _exit_code(stop)
    except BaseException:
        _show_error()
    _leave(code)


def _compile(source: str, name: str = NAME):
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    return compile(source, name, "exec", dont_inherit=True)


def _module(name: str) -> dict:
    module = types.ModuleType(name)
    sys.modules[name] = module
    return module.__dict__


def _exit_code(stop: SystemExit) -> int:
    if stop.code is None or isinstance(stop.code, int):
        return (stop.code or 0) & 255
    print(stop.code, file=sys.stderr)
    return 1


def _show_error() -> None:
    """The traceback as Python prints it, without frames of this file."""
    kind, error, frames = sys.exc_info()
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    try:
        traceback.print_exception(kind, error, frames)
    except BaseException:
        os.write(2, type(error).__name__.encode() + b"\n")


def _leave(code: int) -> None:
    """End the process as the interpreter would, less the clean-up of modules."""
    try:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        code = code or 120
    os._exit(code)


def _script(program, payload: dict) -> None:
    namespace = _module("__main__")
    exec(_compile(payload.get("setup", ""), "<setup>"), namespace)
    exec(program, namespace)


def _functions(program, payload: dict) -> None:
    """Answer requests for the program's values until the trainer hangs up.

    A name that the program does not define is looked for in a class `Solution`, as LeetCode's format has it, whose
    methods belong to a new instance at each call.
    """
    namespace = _module("program")
    if payload["usual"]:
        namespace["__builtins__"] = _usual
        sys.setrecursionlimit(ready.RECURSION)
    exec(_compile(payload["setup"], "<setup>"), namespace)
    before = dict(namespace)
    exec(program, namespace)

    def names(name):
        value = namespace.get(name, before)
        solution = namespace.get("Solution")
        if solution is not None and hasattr(solution, name) and (value is before or value is before.get(name, before)):
            return lambda *arguments, **keywords: getattr(solution(), name)(*arguments, **keywords)
        if value is before:
            raise NameError(f"name {name!r} is not defined")
        return value

    peer.Peer(names=names).serve(sys.stdout.flush)


def _tests(program, payload: dict) -> None:
    """Run test code.

    A global name that it uses and does not define is of the program under test. So are `functions`, whatever else they
    may be: a program may call its function `sum`.
    """
    namespace = _module("__main__")
    exec(_compile(payload["prelude"], "<prelude>"), namespace)
    theirs = peer.Peer(holds_tests=True)
    defined = {*namespace, *vars(builtins)}
    for name in sorted((_names(program) - defined) | set(payload["functions"])):
        namespace[name] = peer.named(theirs, name)
    try:
        exec(program, namespace)
    except SystemExit as stop:  # of the tests themselves: an exception of the program is never one
        if stop.code not in (None, 0):
            raise
    peer.send(wire.dumps({"end": None}))


def _names(code) -> set[str]:
    inner = (_names(constant) for constant in code.co_consts if isinstance(constant, types.CodeType))
    return set(code.co_names).union(*inner)


def _together(program, payload: dict) -> None:
    """Run tests in the namespace of the program itself.

    The program can do to them what it likes.
    """
    namespace = _module("__main__")
    exec(_compile(payload["setup"], "<setup>"), namespace)
    exec(program, namespace)
    exec(_compile(payload["prelude"], "<prelude>"), namespace)
    exec(_compile(payload["check"], "<check>"), namespace)
    peer.send(wire.dumps({"end": None}))


def _session(program, payload: dict) -> None:
    """Run cell after cell in one namespace.

    The value of a last expression is printed, errors are printed.
    """
    namespace = _module("__main__")
    channel = open(peer.CHANNEL, "r+b", buffering=0)  # noqa: SIM115
    for line in io.BufferedReader(channel, 1 << 16):
        try:
            _cell(wire.loads(line), namespace)
        except SystemExit as stop:
            _exit_code(stop)
        except BaseException:
            _show_error()
        sys.stdout.flush()
        sys.stderr.flush()
        peer.send(wire.dumps("done"))


def _cell(source: str, namespace: dict) -> None:
    linecache.cache[NAME] = (len(source), None, source.splitlines(keepends=True), NAME)
    tree = compile(source, NAME, "exec", ast.PyCF_ONLY_AST)  # a frame of `ast.parse` would be shown
    assert isinstance(tree, ast.Module)
    last = tree.body[-1] if tree.body else None
    if isinstance(last, ast.Expr):
        tree.body.pop()
    exec(compile(tree, NAME, "exec"), namespace)
    if isinstance(last, ast.Expr):
        value = eval(compile(ast.Expression(last.value), NAME, "eval"), namespace)
        if value is not None:
            print(repr(value))


_KINDS = {"script": _script, "functions": _functions, "tests": _tests, "together": _together, "session": _session}
