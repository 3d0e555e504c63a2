"""Calls between two jobs, line by line over the trainer.

One holds a program and one its tests. Plain values travel as they are. Anything else stays where it is, and the other
side has a `Remote` for it; of the tests' values only functions do, since a program could tell a `Remote` from anything
else. Nothing is believed here: a program may send what it likes, and what is no message is an error.
"""

import builtins
import functools
import io
import os
import threading
import types

import wire

CHANNEL = 3
_FUNCTIONS = (types.FunctionType, types.MethodType, types.BuiltinFunctionType, functools.partial)
_ENDS_A_LOOP = (StopIteration, StopAsyncIteration)


class Peer:
    """One end of the channel.

    Those values of the tests that stay there have negative numbers, the program's others.
    """

    def __init__(self, holds_tests=False, names=None):
        """`names(text)` is the value of a global name of the program."""
        self._holds_tests, self._names = holds_tests, names
        self._kept = []
        self._lines = lines()
        self._lock = threading.RLock()

    def serve(self, done) -> None:
        """Answer requests until the trainer hangs up.

        `done()` is called before each reply.
        """
        for line in self._lines:
            reply = self._reply(line)
            done()
            send(reply)

    def ask(self, *request):
        """The value that the other side has for a request.

        Raises what it raises.
        """
        with self._lock:
            try:
                line = wire.dumps({"ask": list(request)}, self._number)
            except wire.NotPlain as error:
                if self._holds_tests:
                    refuse(str(error))
                raise
            send(line)
            while True:
                line = self._lines.readline()
                kind, content = wire.message(line, self._value)
                if kind != "ask":
                    break
                send(self._reply(line))
        if kind == "error":
            raise _error(*content)
        return content

    def _reply(self, line) -> bytes:
        try:
            _, request = wire.message(line, self._value)
            answer = {"value": self._do(*request)}
        except Exception as error:
            answer = {"error": [type(error).__name__, str(error)[:500]]}
        try:
            return wire.dumps(answer, self._number)
        except wire.NotPlain as error:
            if self._holds_tests:
                refuse(str(error))
            return wire.dumps({"error": ["TypeError", str(error)[:500]]})

    def _do(self, what, target, *more):
        if self._holds_tests and (what != "call" or not any(target is kept for kept in self._kept)):
            raise TypeError("only functions that were passed can be called")
        if type(target) is str:
            target = self._names(target)
        if what == "global":
            return target
        if what == "items":
            return list(target)
        if what == "get":
            return getattr(target, *more)
        if what == "set":
            return setattr(target, *more)
        arguments, keywords = more
        return target(*arguments, **keywords)

    def _number(self, value):
        """What stands on the line for a value that is not plain."""
        if type(value) is Remote and value._peer is self and value._number is not None:
            return value._number
        if self._holds_tests:
            name = getattr(value, "__name__", None)
            if type(name) is str and vars(builtins).get(name) is value:
                return name
            if not isinstance(value, _FUNCTIONS):
                raise wire.NotPlain(f"an argument of type {type(value).__name__}")
        self._kept.append(value)
        return -len(self._kept) if self._holds_tests else len(self._kept) - 1

    def _value(self, number):
        if type(number) is str:
            if self._holds_tests:
                raise wire.NotPlain("a builtin of the program")
            return vars(builtins)[number]
        if (number < 0) is self._holds_tests:
            return self._kept[-1 - number if number < 0 else number]
        return Remote(self, number)


class Remote:
    """A value of the other side that is not plain.

    Without a number, a name that means nothing there.
    """

    def __init__(self, peer, number, name=""):
        self.__dict__.update(_peer=peer, _number=number, _target=name or self)

    def __call__(self, *arguments, **keywords):
        return self._peer.ask("call", self._target, list(arguments), keywords)

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return self._peer.ask("get", self._target, name)

    def __setattr__(self, name, value):
        self._peer.ask("set", self._target, name, value)

    def __iter__(self):
        return iter(self._peer.ask("items", self._target))


def named(peer, name):
    """The value of a global name of the program.

    Plain, a `Remote`, or one that says when used that it is missing.
    """
    try:
        return peer.ask("global", name)
    except Exception:
        return Remote(peer, None, name)


def _error(name, text) -> Exception:
    """The exception of the other side as one of Python's own.

    One that would end a loop unseen is a RuntimeError.
    """
    kind = vars(builtins).get(name)
    if isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, _ENDS_A_LOOP):
        try:
            return kind(text)
        except Exception:  # UnicodeDecodeError and its like are made of more than a text
            pass
    return RuntimeError(f"{name}: {text}")


def refuse(what) -> None:
    """Say that these tests need the program's own process, and end."""
    send(wire.dumps({"apart": what}))
    os._exit(1)


def lines():
    """What the other side sends, line by line."""
    return io.BufferedReader(open(CHANNEL, "r+b", buffering=0), 1 << 16)


def send(line) -> None:
    view = memoryview(line)
    while view:
        view = view[os.write(CHANNEL, view) :]
