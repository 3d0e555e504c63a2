"""The machine that runs compiled scripts: metered, suspendable, on explicit stacks.

It never recurses on the host's stack and never consults a clock. A run is a set of tasks; it stops when every task
waits for a reply from outside or has ended, and goes on when replies are put in (`resume`). Anything that a script
computes goes through `call`, `charge` and `allocate`, so that what it may use is bounded before it is used.
"""

from __future__ import annotations

from types import GeneratorType
from typing import Any

from mxjax.script import exceptions, measure
from mxjax.script.arguments import bind
from mxjax.script.classes import construct
from mxjax.script.code import Code
from mxjax.script.errors import LimitExceeded
from mxjax.script.exceptions import binds_arguments, may_raise
from mxjax.script.frames import (
    Completion,
    Emit,
    Frame,
    Invoke,
    NativeFrame,
    Next,
    Outcome,
    Place,
    Task,
    Throw,
)
from mxjax.script.metering import Limits, Meter
from mxjax.script.scheduler import Scheduler
from mxjax.script.values import (
    EXHAUSTED,
    NOTHING,
    PENDING,
    UNBOUND,
    BoundMethod,
    BuiltinType,
    Cell,
    Class,
    Function,
    Generator,
    HostIterator,
    Instance,
    Native,
    Raised,
    type_name,
)

EXCEPT, FINALLY, HANDLER = "except", "finally", "handler"
DELEGATED = "delegated"  # marks the yield of a `yield from`


class Machine(Scheduler):
    """State of one execution.

    `host` and the counters that a `meter` adds belong to the embedder.
    """

    __slots__ = (
        "builtins",
        "globals",
        "host",
        "imported",
        "limits",
        "measured_at",
        "meter",
        "modules",
        "printed",
        "printed_chars",
        "seed",
    )
    holds = ()

    def __init__(
        self,
        code: Code,
        limits: Limits,
        builtins: dict[str, Any],
        modules: dict[str, Any],
        names: dict[str, Any],
        meter: Meter | None = None,
    ):
        self.limits = limits
        self.measured_at = 3 * limits.live_bytes // 2
        self.builtins = builtins
        self.modules = modules
        self.imported: dict[str, Any] = {}
        self.globals = names
        self.meter = meter or Meter()
        self.printed: list[str] = []
        self.printed_chars = 0
        self.seed = 0
        self.host: Any = None
        frame = Frame(code, [UNBOUND] * code.slots, None, Place(None, "", 0))
        super().__init__(Task(frame, None, self.meter))

    # Metering

    def charge(self, amount: int):
        """Use fuel; none is ever given back, whatever the size."""
        if amount < 0:
            return
        meter = self.meter
        meter.fuel += amount
        if meter.fuel > self.limits.fuel:
            raise LimitExceeded("fuel")

    def allocate(self, size: int):
        """Account for `size` bytes about to be allocated.

        Every 64 bytes, counted over all allocations so far, cost one unit of fuel.
        """
        if size < 0:
            return
        meter = self.meter
        before = meter.allocated
        meter.allocated = allocated = before + size
        meter.fuel = fuel = meter.fuel + (allocated >> 6) - (before >> 6)
        if fuel > self.limits.fuel:
            raise LimitExceeded("fuel")
        if allocated > self.measured_at and not self.task.private:
            if size <= self.limits.live_bytes:
                meter.allocated = size + measure.live_bytes(self)
            if meter.allocated > self.limits.live_bytes:
                raise LimitExceeded("live_bytes")

    def need_string(self, length: int, ascii: bool = True):
        """Account for a string of `length` characters about to be made.

        A string that is not `ascii` takes four bytes for each character.
        """
        if length > self.limits.string_chars:
            raise LimitExceeded("string_chars")
        self.allocate(64 + (length if ascii else 4 * length))

    def need_items(self, count: int):
        """Account for a container of `count` items about to be made."""
        if count > self.limits.items:
            raise LimitExceeded("items")
        self.charge(count >> 2)
        self.allocate(64 + 40 * count)

    def need_entries(self, count: int):
        """Account for a new dict or set of `count` entries."""
        self.need_items(count)
        self.allocate(70 * count)

    def need_int(self, bits: int):
        """Account for an integer of `bits` bits about to be made."""
        if bits > self.limits.int_bits:
            raise LimitExceeded("int_bits")
        self.charge((bits >> 6) + (bits * bits >> 20))
        self.allocate(bits >> 3)

    def need_printed(self, length: int):
        """Account for a number of characters of output."""
        self.charge(length >> 4)
        self.printed_chars += length
        if self.printed_chars > self.limits.printed_chars:
            raise LimitExceeded("printed_chars")

    # Running

    def run(self, task: Task):
        """Run one task until it waits or ends."""
        if task.closing is not None:
            self.add_up(task, task.closing)
        self.task = task
        self.meter = meter = task.meter
        task.waiting = False
        most = self.limits.fuel
        try:
            while task.frame is not None and not task.waiting:
                frame = task.frame
                try:
                    if type(frame) is Frame:
                        ops = frame.code.ops
                        while True:
                            meter.fuel = fuel = meter.fuel + 1
                            if fuel > most:
                                raise LimitExceeded("fuel")
                            ip = frame.ip
                            frame.ip = ip + 1
                            handler, argument = ops[ip]
                            if handler(self, frame, argument):
                                break
                    else:
                        self.pump(frame)
                except Raised as error:
                    self.unwind(error.value)
                except exceptions.HOST_ERRORS as error:
                    self.unwind(exceptions.convert(error))
        except LimitExceeded as error:
            if not task.private:
                raise
            task.limit, task.frame = error.name, None
        except MemoryError:
            raise LimitExceeded("live_bytes") from None
        if task.frame is None and task.group is not None:
            self.leave_group(task.group)
        elif task.frame is None:
            self.spawned.pop(task, None)

    # Frames

    def enter(self, frame):
        """Put a frame on top of the running task."""
        task = self.task
        task.depth += 1
        if task.depth > self.limits.depth:
            raise LimitExceeded("depth")
        task.frame = frame

    def leave(self, frame):
        """Take the top frame off the running task."""
        self.task.depth -= 1
        self.task.frame = frame.back
        if frame.generator is not None:
            frame.generator.running = False
            frame.generator.frame = None

    def deliver(self, value):
        """Hand a value to the frame that is now on top."""
        task = self.task
        top = task.frame
        if top is None:
            task.outcome = Outcome(value)
        elif type(top) is not Frame:
            top.inbox = value
        elif value is not NOTHING:
            top.stack.append(value)

    def finish(self, frame, value):
        """Return `value` from the top frame."""
        if frame.generator is None:
            self.task.depth -= 1
            self.task.frame = frame.back
            self.deliver(value)
            return
        self.leave(frame)
        frame.generator.returned = value
        frame.generator = None
        top = self.task.frame
        if type(top) is Frame:
            top.stack.pop()
            top.ip, delegated = top.code.ops[top.ip - 1][1]
            if delegated:
                top.stack.append(value)
        else:
            top.inbox = EXHAUSTED

    def pump(self, frame: NativeFrame):
        """Advance a generator of ours until it waits, calls or ends.

        The call is one of script code.
        """
        value, error = frame.inbox, frame.error
        frame.inbox = frame.error = None
        if type(value) is LimitExceeded:
            raise value
        gen = frame.gen
        while True:
            try:
                request = gen.send(value) if error is None else gen.throw(Raised(error))
            except StopIteration as stop:
                self.finish(frame, stop.value)
                return
            except BaseException:
                self.leave(frame)
                raise
            error = None
            try:
                kind = type(request)
                if kind is Invoke:
                    value = self.call(request.fn, request.args, request.kwargs)
                elif kind is Next:
                    value = self.advance(request.iterator, request.value)
                elif kind is Throw:
                    value = self.throw(request.generator, request.error)
                elif kind is Emit:
                    self.emit(frame, request.value)
                    return
                else:
                    self.wait(request)
                    return
            except Raised as raised:
                error = raised.value
                continue
            except exceptions.HOST_ERRORS as host:
                error = exceptions.convert(host)
                continue
            if value is PENDING:
                return

    def emit(self, frame, value):
        """Yield `value` from a generator frame to its consumer."""
        self.task.depth -= 1
        self.task.frame = frame.back
        frame.back = None
        frame.generator.running = False
        self.deliver(value)

    @may_raise(RuntimeError)
    def advance(self, iterator, value=None):
        """The next value of an iterator, EXHAUSTED or PENDING.

        PENDING means that a frame has to run for it.
        """
        if type(iterator) is HostIterator:
            return next(iterator.source, EXHAUSTED)
        if type(iterator) is not Generator:
            raise TypeError(f"'{type_name(iterator)}' object is not an iterator")
        frame = iterator.frame
        if iterator.running:
            raise ValueError("generator already executing")
        if frame is None:
            iterator.returned = None
            return EXHAUSTED
        frame.back = self.task.frame
        self.enter(frame)
        iterator.running = True
        if type(frame) is Frame:
            if frame.ip:
                frame.stack.append(value)
            elif value is not None:
                raise TypeError("can't send non-None value to a just-started generator")
        return PENDING

    def throw(self, generator: Generator, error: Instance):
        """Raise `error` where a generator of the script is suspended.

        Returns PENDING, or what the generator raises at once.
        """
        frame = generator.frame
        if generator.running:
            raise ValueError("generator already executing")
        if type(frame) is not Frame or not frame.ip:
            generator.frame = None
            raise Raised(error)
        frame.back = self.task.frame
        self.enter(frame)
        generator.running = True
        inner = frame.stack[-1] if frame.code.ops[frame.ip - 1][1] is DELEGATED else None
        if type(inner) is Generator and inner.frame is not None:
            frame.ip -= 1
            return self.throw(inner, error)
        self.unwind(error)
        return PENDING

    # Calls

    @binds_arguments
    def call(self, fn, args: tuple, kwargs: dict | None = None):
        """Call a script value; return its result or PENDING.

        PENDING means that a frame was entered, whose result will be delivered.
        """
        hops = 0
        while True:
            kind = type(fn)
            if kind is Native:
                result = fn.fn(self, *args, **kwargs) if kwargs else fn.fn(self, *args)
                return self.start(result) if type(result) is GeneratorType else result
            if kind is Function:
                return self.call_function(fn, args, kwargs)
            if kind is BuiltinType:
                result = fn.make(self, *args, **kwargs) if kwargs else fn.make(self, *args)
                return self.start(result) if type(result) is GeneratorType else result
            if kind is Class:
                if fn.meta is None:
                    return self.instantiate(fn, args, kwargs)
                fn, args = fn.meta.lookup("__call__"), (fn, *args)
                if fn is UNBOUND:
                    return self.instantiate(args[0], args[1:], kwargs)
                continue
            if kind is BoundMethod:
                method, owner = fn.function, fn.owner
            else:
                method, owner = fn.cls.lookup("__call__") if kind is Instance else UNBOUND, fn
            if method is UNBOUND or hops == 8:
                raise TypeError(f"'{type_name(fn)}' object is not callable")
            fn, args, hops = method, (owner, *args), hops + 1

    def start(self, gen):
        """Enter a generator of ours as a call."""
        top = self.task.frame
        self.enter(NativeFrame(gen, top, top.place))
        return PENDING

    def call_function(self, function: Function, args: tuple, kwargs: dict | None):
        """Enter a script function, or make its generator."""
        if self.task.private:  # its node was changed after it began; the order of replies must not show
            raise RuntimeError("a node was changed while it ran beside others")
        code = function.code
        slots = bind(self, function, args, kwargs)
        for index in code.cells:
            slots[index] = Cell(slots[index])
        if code.frees:
            for index, cell in zip(code.frees, function.closure):
                slots[index] = cell
        top = self.task.frame
        frame = Frame(code, slots, top, top.place)
        self.allocate(256 + 8 * code.slots)
        if code.kind == "plain":
            self.enter(frame)
            return PENDING
        self.allocate(600 + 8 * code.slots)
        generator = Generator(frame, code.kind, awaitable=code.kind == "coroutine")
        if code.kind != "coroutine":
            frame.generator = generator
        frame.back = None
        return generator

    @binds_arguments
    def instantiate(self, cls: Class, args: tuple, kwargs: dict | None):
        """A new object of a class; PENDING if code must run first."""
        self.allocate(160)
        hook = cls.lookup("__class_call__")
        if hook is not UNBOUND:
            return self.call(hook, (cls, *args), kwargs)
        if cls.constructed or cls.abstract:
            return self.start(construct(self, cls, args, kwargs))
        instance = self.new_instance(cls)
        if exceptions.BASE in cls.mro:
            self.allocate(200)
            instance.fields["args"] = args
        init = cls.lookup("__init__")
        if init is UNBOUND:
            if (args or kwargs) and "args" not in instance.fields:
                raise TypeError(f"{cls.name}() takes no arguments")
            return instance
        if type(init) is Native:
            work = init.fn(self, instance, *args, **kwargs) if kwargs else init.fn(self, instance, *args)
            if type(work) is not GeneratorType:
                return _initialised(instance, work)
        else:
            work = _asked(Invoke(init, (instance, *args), kwargs))
        return self.start(_initialise(instance, work))

    def new_instance(self, cls: Class) -> Instance:
        """An object of a class before anything initialised it."""
        return Instance(cls, {})

    # Exceptions

    def unwind(self, error: Instance):
        """Pop frames until one handles `error`.

        With none left, the task ends with the error.
        """
        task = self.task
        first = True
        while task.frame is not None:
            frame = task.frame
            if type(frame) is NativeFrame:
                frame.error = error
                return
            if first and (line := frame.code.lines[frame.ip - 1]):  # our own code in the language has no lines
                task.line = line
                first = False
            if self.complete(frame, Completion("raise", error)):
                return
            self.leave(frame)
            if frame.generator is not None:
                frame.generator = None
                if error.cls.name == "StopIteration":
                    error = exceptions.make("RuntimeError", "generator raised StopIteration")
        task.outcome = Outcome(error=error)

    def complete(self, frame: Frame, completion: Completion) -> bool:
        """Leave blocks of `frame` for `completion`.

        Returns False when an exception finds no handler in this frame.
        """
        kind = completion.kind
        while frame.blocks:
            if kind == "jump" and len(frame.blocks) <= completion.depth:
                break
            block, target, height, saved = frame.blocks.pop()
            del frame.stack[height:]
            if block is HANDLER:
                frame.handling = saved
            elif block is FINALLY or kind == "raise":
                frame.blocks.append((HANDLER, 0, height, frame.handling))
                if kind == "raise":
                    frame.handling = completion.value
                frame.stack.append(completion if block is FINALLY else completion.value)
                frame.ip = target
                return True
        if kind == "jump":
            frame.ip = completion.value
            return True
        if kind == "return":
            self.finish(frame, completion.value)
            return True
        return False


def _asked(request):
    """A generator of ours that makes one request."""
    return (yield request)


def _initialise(instance: Instance, work):
    """The instance, once its `__init__` has run."""
    return _initialised(instance, (yield from work))


def _initialised(instance: Instance, result) -> Instance:
    if result is not None:
        raise TypeError(f"__init__() should return None, not '{type_name(result)}'")
    return instance
