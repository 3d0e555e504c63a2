"""What a job runs once the walls stand: a program, a program's functions on call, tests of another job, or a session.

Nothing here protects anything: a hostile program shares this process and may change all of it. What it can reach
through descriptor 3 is read by the trainer as data, never believed.
"""

import _sitebuiltins
import ast
import asyncio.selector_events
import atexit
import builtins
import io
import linecache
import os
import sys
import threading
import traceback
import types

import wire

CHANNEL = 3
NAME = "<program>"


def main(payload: dict, report: int) -> None:
    """Runs a payload, `{"kind": ..., "source": ...}`, and exits; says on `report` when its source has compiled."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        errors = "backslashreplace" if name == "stderr" else "surrogateescape"
        stream = open(number, mode, encoding="utf-8", errors=errors, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    sys.argv = [NAME]
    _offer_site()
    code = 1
    try:
        program = _compile(payload["source"])
        os.write(report, b"R")
        os.close(report)
        _KINDS[payload["kind"]](program, payload)
        threading._shutdown()
        code = 0
    except SystemExit as stop:
        code = _exit_code(stop)
    except BaseException:
        _show_error()
    _leave(code)


def _offer_site() -> None:
    """What `site` gives every program; it is not imported, since it would look for packages."""
    for name in ("exit", "quit"):
        setattr(builtins, name, _sitebuiltins.Quitter(name, "Ctrl-D (i.e. EOF)"))
    for name in ("copyright", "credits", "license"):
        setattr(builtins, name, _sitebuiltins._Printer(name, "See https://www.python.org"))
    builtins.help = _sitebuiltins._Helper()


class _PipeEnd:
    """An end of a pipe with the few methods of a socket that an event loop uses to wake itself."""

    def __init__(self, fd: int):
        self._fd = fd

    def fileno(self) -> int:
        return self._fd

    def recv(self, size: int) -> bytes:
        return os.read(self._fd, size)

    def send(self, data: bytes) -> int:
        return os.write(self._fd, data)

    def close(self) -> None:
        os.close(self._fd)


def _make_self_pipe(loop) -> None:
    """Gives an event loop a pipe to wake itself by, since a job has no sockets."""
    loop._ssock, loop._csock = map(_PipeEnd, os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC))
    loop._internal_fds += 1
    loop._add_reader(loop._ssock.fileno(), loop._read_from_self)


asyncio.selector_events.BaseSelectorEventLoop._make_self_pipe = _make_self_pipe

# What LiveCodeBench puts before an answer in LeetCode's format, builtins last, so that `pow` stays Python's own
_USUAL_IMPORTS = (
    "string re datetime collections heapq bisect copy math random statistics itertools functools operator io sys json "
    "typing builtins"
)


def _usual_imports() -> dict:
    """The names that an answer in LeetCode's format may use without importing them."""
    names = {}
    modules = _USUAL_IMPORTS.split()
    for name in modules:
        module = __import__(name)
        public = getattr(module, "__all__", None) or [key for key in vars(module) if not key.startswith("_")]
        names.update((key, getattr(module, key)) for key in public)
    names.update((name, sys.modules[name]) for name in modules if name not in ("datetime", "copy", "bisect"))
    return names


def _compile(source: str):
    linecache.cache[NAME] = (len(source), None, source.splitlines(keepends=True), NAME)
    return compile(source, NAME, "exec", dont_inherit=True)


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
    """The traceback as Python would print it, without the frames of this file."""
    kind, error, frames = sys.exc_info()
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    try:
        traceback.print_exception(kind, error, frames)
    except BaseException:
        os.write(2, kind.__name__.encode() + b"\n")


def _leave(code: int) -> None:
    """Ends the process as the interpreter would, less the clean-up of modules."""
    try:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        code = code or 120
    os._exit(code)


def _script(program, payload: dict) -> None:
    exec(program, _module("__main__"))


def _functions(program, payload: dict) -> None:
    """Answers calls of the program's functions, [base, attributes, arguments, keywords], until the trainer hangs up.

    A base is a global name or a handle from an earlier reply. A name that is no global is looked for in a class
    `Solution`, as LeetCode's format has it; such a program finds the usual imports made.
    """
    namespace = _module("program")
    if "Solution" in program.co_names:
        namespace.update(_usual_imports())
    _set_up(payload, namespace)
    exec(program, namespace)
    kept = []

    def keep(value) -> int:
        kept.append(value)
        return len(kept) - 1

    def call(base, attributes, arguments, keywords):
        target = base
        if type(base) is str:
            is_method = base not in namespace and "Solution" in namespace
            target = getattr(namespace["Solution"](), base) if is_method else namespace[base]
        for attribute in attributes:
            target = getattr(target, attribute)
        return list(target) if keywords is None else target(*arguments, **keywords)

    channel = open(CHANNEL, "r+b", buffering=0)  # noqa: SIM115
    for line in io.BufferedReader(channel, 1 << 16):
        try:
            reply = {"value": call(*wire.loads(line, kept.__getitem__))}
        except Exception as error:
            reply = {"error": [_builtin_name(error), _text(error)]}
        sys.stdout.flush()
        _send(wire.dumps(reply, keep))


def _set_up(payload: dict, namespace: dict) -> None:
    """Runs what a question gives to every program, such as the imports of its text."""
    if payload.get("setup"):
        exec(compile(payload["setup"], "<setup>", "exec", dont_inherit=True), namespace)


def _builtin_name(error: Exception) -> str:
    """The builtin exception that an error is, or descends from."""
    return next(kind.__name__ for kind in type(error).__mro__ if vars(builtins).get(kind.__name__) is kind)


def _text(error: Exception) -> str:
    try:
        return str(error)[:500]
    except Exception:
        return ""


def _together(program, payload: dict) -> None:
    """Runs a program and its tests in one namespace; says on the channel that they came to their end.

    A program that shares its process with its tests can pretend that they did: such passes count where the config
    says so, and nowhere else.
    """
    namespace = _module("__main__")
    _set_up(payload, namespace)
    exec(program, namespace)
    exec(_compile(payload["prelude"]), namespace)
    exec(_compile(payload["check"]), namespace)
    _send(wire.dumps("ended"))


def _tests(program, payload: dict) -> None:
    """Runs test code; a global name that it uses and does not define is a function of the program under test.

    So are `functions`, whatever else they may be: a program may call its function `sum`.
    """
    namespace = _module("__main__")
    exec(_compile(payload["prelude"]), namespace)
    lines = io.BufferedReader(open(CHANNEL, "r+b", buffering=0), 1 << 16)  # noqa: SIM115
    defined = {*namespace, *vars(builtins)}
    for name in (_names(program) - defined) | set(payload["functions"]):
        namespace[name] = Remote(lines, name)
    exec(program, namespace)


def _names(code) -> set[str]:
    inner = (_names(constant) for constant in code.co_consts if isinstance(constant, types.CodeType))
    return set(code.co_names).union(*inner)


class Remote:
    """A function, or anything else that is not plain data, of the program under test, which runs in another job.

    `_base` is a global name there, or the handle of a value that stayed there; `_path` attributes of it.
    """

    def __init__(self, lines, base, path=()):
        self.__dict__.update(_lines=lines, _base=base, _path=path)

    def __call__(self, *arguments, **keywords):
        return self._ask(list(arguments), keywords)

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return Remote(self._lines, self._base, (*self._path, name))

    def __setattr__(self, name, value):
        _refuse("an attribute that is set")

    def __iter__(self):
        return iter(self._ask([], None))

    def _ask(self, arguments, keywords):
        try:
            base = self._base if type(self._base) is str else Remote(self._lines, self._base)
            _send(wire.dumps([base, list(self._path), arguments, keywords], _handle_of))
        except wire.NotPlain as error:
            _refuse(str(error))
        kind, content = self._reply()
        if kind == "error":
            raise _raised(*content)
        return content

    def _reply(self):
        """("value", a value) or ("error", (name, text)); a reply of any other shape is the program's failure."""
        try:
            ((kind, content),) = wire.loads(self._lines.readline(), lambda number: Remote(self._lines, number)).items()
            if kind == "value":
                return kind, content
            name, text = content
            if kind == "error" and type(name) is type(text) is str:
                return kind, (name, text)
        except Exception:
            pass
        _send(wire.dumps({"broken": ""}))
        os._exit(1)


def _raised(name: str, text: str) -> Exception:
    """The program's exception as tests see it.

    Those by which Python's own loops end become RuntimeError: a program that raised StopIteration would end the loop
    of a test that should have failed.
    """
    kind = vars(builtins).get(name)
    ends_loops = name in ("StopIteration", "StopAsyncIteration")
    if ends_loops or not (isinstance(kind, type) and issubclass(kind, Exception)):
        return RuntimeError(f"{name}: {text}")
    try:
        return kind(text)
    except TypeError:  # UnicodeDecodeError and others are not made from a text
        return RuntimeError(f"{name}: {text}")


def _refuse(what: str) -> None:
    """Says that these tests cannot be run apart from the program, and ends."""
    _send(wire.dumps({"not plain": what}))
    os._exit(1)


def _handle_of(value) -> int:
    if type(value) is Remote and type(value._base) is int and not value._path:
        return value._base
    raise wire.NotPlain(f"an argument of type {type(value).__name__}")


def _send(line: bytes) -> None:
    view = memoryview(line)
    while view:
        view = view[os.write(CHANNEL, view) :]


def _session(program, payload: dict) -> None:
    """Runs cell after cell in one namespace; the value of a last expression is printed, errors are printed."""
    namespace = _module("__main__")
    channel = open(CHANNEL, "r+b", buffering=0)  # noqa: SIM115
    for line in io.BufferedReader(channel, 1 << 16):
        try:
            _cell(wire.loads(line), namespace)
        except SystemExit as stop:
            _exit_code(stop)
        except BaseException:
            _show_error()
        sys.stdout.flush()
        sys.stderr.flush()
        _send(wire.dumps("done"))


def _cell(source: str, namespace: dict) -> None:
    linecache.cache[NAME] = (len(source), None, source.splitlines(keepends=True), NAME)
    tree = compile(source, NAME, "exec", ast.PyCF_ONLY_AST)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, NAME, "exec"), namespace)
    if last is not None:
        value = eval(compile(ast.Expression(last.value), NAME, "eval"), namespace)
        if value is not None:
            print(repr(value))


_KINDS = {
    "script": _script, "functions": _functions, "tests": _tests, "together": _together, "session": _session,
}  # fmt: skip
