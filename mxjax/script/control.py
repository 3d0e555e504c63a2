"""The control-flow instructions.

These are jumps, iteration, calls, classes, exceptions and context managers.

They follow the same convention as those of `instructions`.
"""

from __future__ import annotations

from mxjax.script import attributes, classes, exceptions, tasks
from mxjax.script.coroutines import ASYNCHRONOUS, iterate_async
from mxjax.script.exceptions import may_raise
from mxjax.script.frames import Completion, Frame, Invoke
from mxjax.script.iteration import host_iterator, iterate
from mxjax.script.machine import HANDLER
from mxjax.script.values import (
    EXHAUSTED,
    PENDING,
    UNBOUND,
    BoundMethod,
    Cell,
    Function,
    Generator,
    Instance,
    Raised,
    plain,
    type_name,
)

# Jumps


def _truth(m, frame):
    """Replace the top of the stack by a value of known truth.

    Returns True if a call was entered to find it.
    """
    value = frame.stack[-1]
    if type(value) is not Instance:
        return False
    for name in ("__bool__", "__len__"):
        method = value.cls.lookup(name)
        if method is not UNBOUND:
            frame.stack.pop()
            frame.ip -= 1
            result = m.call(method, (value,))
            if result is not PENDING:
                frame.stack.append(result)
            return True
    if value.cls.plain is not None:
        frame.stack[-1] = bool(plain(value))
    return False


def jump(m, frame, target):
    frame.ip = target


def jump_if_false(m, frame, target):
    value = frame.stack[-1]
    if type(value) is Instance and _truth(m, frame):
        return True
    if not frame.stack.pop():
        frame.ip = target


def jump_if_true(m, frame, target):
    value = frame.stack[-1]
    if type(value) is Instance and _truth(m, frame):
        return True
    if frame.stack.pop():
        frame.ip = target


def to_bool(m, frame, argument):
    """Replace the top of the stack by its truth.

    For `not`, and for the tests of `and` and `or`.
    """
    if _truth(m, frame):
        return True
    frame.stack[-1] = bool(frame.stack[-1])


def not_(m, frame, argument):
    frame.stack[-1] = not frame.stack[-1]


# Iteration


def get_iter(m, frame, argument):
    stack = frame.stack
    value = stack.pop()
    iterator = host_iterator(value)
    if iterator is not None:
        stack.append(iterator)
        return None
    if type(value) is Generator and not value.awaitable and value.name != ASYNCHRONOUS:
        stack.append(value)
        return None
    m.start(iterate(m, value))
    return True


def get_async_iter(m, frame, argument):
    m.start(iterate_async(m, frame.stack.pop()))
    return True


@may_raise(RuntimeError)
def for_iter(m, frame, argument):
    """Push the next value, or drop the iterator and jump: (target, False)."""
    stack = frame.stack
    iterator = stack[-1]
    if type(iterator) is Generator:
        if m.advance(iterator) is PENDING:
            return True
        value = EXHAUSTED
    else:
        value = next(iterator, EXHAUSTED)
    if value is EXHAUSTED:
        stack.pop()
        frame.ip = argument[0]
    else:
        stack.append(value)


def yield_(m, frame, argument):
    m.emit(frame, frame.stack.pop())
    return True


def yield_from(m, frame, argument):
    """Send the top of the stack to the iterator below it.

    When that ends, its result is left: (target, True).
    """
    stack = frame.stack
    sent = stack.pop()
    iterator = stack[-1]
    if type(iterator) is Generator:
        if m.advance(iterator, sent) is PENDING:
            return True
        value = EXHAUSTED
    elif sent is not None:
        raise AttributeError(f"'{type(iterator).__name__}' object has no attribute 'send'")
    else:
        value = next(iterator, EXHAUSTED)
    if value is EXHAUSTED:
        stack[-1] = None
        frame.ip = argument[0]
    else:
        stack.append(value)


def await_(m, frame, argument):
    """Run a coroutine, or the result of `__await__`, in place.

    Any other value (an agent's reply) is already there.
    """
    value = frame.stack[-1]
    if type(value) is not Generator or not value.awaitable:
        method = value.cls.lookup("__await__") if type(value) is Instance else UNBOUND
        if method is UNBOUND:
            return None
        frame.stack.pop()
        m.start(tasks.awaited(m, value))
        return True
    frame.stack.pop()
    inner, value.frame = value.frame, None
    if inner is None:
        raise RuntimeError("cannot reuse already awaited coroutine")
    inner.back = frame
    inner.place = frame.place  # of the task that runs it, whoever made it
    m.enter(inner)
    return True


# Functions and calls


def _finish_call(frame, result):
    if result is PENDING:
        return True
    frame.stack.append(result)
    return None


def call(m, frame, count):
    stack = frame.stack
    if count:
        args = tuple(stack[-count:])
        del stack[-count:]
    else:
        args = ()
    result = m.call(stack.pop(), args)
    if result is PENDING:
        return True
    stack.append(result)
    return None


def call_kw(m, frame, argument):
    """Call with `count` values on the stack, the last named by `names`."""
    count, names = argument
    stack = frame.stack
    values = stack[-count:]
    del stack[-count:]
    split = count - len(names)
    return _finish_call(frame, m.call(stack.pop(), tuple(values[:split]), dict(zip(names, values[split:]))))


def call_spread(m, frame, argument):
    kwargs = frame.stack.pop()
    args = frame.stack.pop()
    return _finish_call(frame, m.call(frame.stack.pop(), tuple(args), kwargs))


def call_method(m, frame, argument):
    """`owner.name(...)` without making a bound method."""
    name, count, names = argument
    stack = frame.stack
    if count:
        values = tuple(stack[-count:])
        del stack[-count:]
    else:
        values = ()
    kwargs = None
    if names:
        split = count - len(names)
        kwargs = dict(zip(names, values[split:]))
        values = values[:split]
    owner = stack.pop()
    function, bound = attributes.method(m, owner, name)
    if type(function) is Invoke:
        m.start(_call_found(function, values, kwargs))
        return True
    result = m.call(function, (owner, *values) if bound else values, kwargs)
    if result is PENDING:
        return True
    stack.append(result)
    return None


def _call_found(look_up: Invoke, args, kwargs):
    return (yield Invoke((yield look_up), args, kwargs))


def make_function(m, frame, argument):
    """Make a function from code, default values and captured slots.

    The `defaults` values and the keyword-only defaults are on the stack.
    """
    code, defaults, kw_names, captured = argument
    stack = frame.stack
    kw_defaults = {}
    for name in reversed(kw_names):
        kw_defaults[name] = stack.pop()
    positional = tuple(stack[len(stack) - defaults :])
    del stack[len(stack) - defaults :]
    m.allocate(128 + 8 * (defaults + len(captured)) + 100 * len(kw_names))
    closure = tuple(frame.slots[index] for index in captured)
    stack.append(Function(code, positional, kw_defaults, closure))


def return_(m, frame, argument):
    value = frame.stack.pop()
    if frame.blocks:
        m.complete(frame, Completion("return", value))
    else:
        m.finish(frame, value)
    return True


def build_class(m, frame, argument):
    """Run a class body in its own namespace and deliver the class."""
    code, captured, name, bases, keywords = argument
    stack = frame.stack
    values = stack[len(stack) - len(keywords) :]
    del stack[len(stack) - len(keywords) :]
    parents = stack[len(stack) - bases :]
    del stack[len(stack) - bases :]
    slots: list = [UNBOUND] * code.slots
    for index in code.cells:
        slots[index] = Cell()
    for index, source in zip(code.frees, captured):
        slots[index] = frame.slots[source]
    body = Frame(code, slots, None, frame.place, namespace={})
    m.start(classes.make_class(m, name, code.qualname, parents, body=body, keywords=dict(zip(keywords, values))))
    return True


def annotate(m, frame, argument):
    """Note `name: annotation` in a class body, for dataclasses."""
    name, annotation = argument
    frame.namespace.setdefault("__annotations__", {})[name] = annotation


# Context managers


def with_enter(m, frame, argument):
    """Push a context manager's exit method and its enter method's result.

    `argument` names the two methods.
    """
    enter, leave = argument
    manager = frame.stack.pop()
    function = special(m, manager, leave)
    entered = special(m, manager, enter)
    frame.stack.append(function)
    return _finish_call(frame, m.call(entered, ()))


def special(m, owner, name: str):
    """A method that a statement calls, bound to its owner."""
    try:
        function, bound = attributes.method(m, owner, name)
    except attributes.Missing:
        function, bound = None, False
    if function is None or type(function) is Invoke:
        protocol = "asynchronous context manager" if name.startswith("__a") else "context manager"
        raise TypeError(f"'{type_name(owner)}' object does not support the {protocol} protocol")
    return BoundMethod(function, owner) if bound else function


def with_exit(m, frame, argument):
    """Call `__exit__` for the completion on top; the result goes above both."""
    completion = frame.stack[-1]
    error = completion.value if completion is not None and completion.kind == "raise" else None
    args = (None, None, None) if error is None else (error.cls, error, None)
    return _finish_call(frame, m.call(frame.stack[-2], args))


def with_end(m, frame, argument):
    """Pop the result of `__exit__`; drop the exception if that is true."""
    handled = frame.stack.pop()
    completion = frame.stack.pop()
    dropped = handled and completion is not None and completion.kind == "raise"
    frame.stack[-1] = None if dropped else completion


# Exceptions


def setup(m, frame, argument):
    """Open a block: (EXCEPT or FINALLY, where its handler is)."""
    kind, target = argument
    frame.blocks.append((kind, target, len(frame.stack), None))


def pop_block(m, frame, argument):
    """Close a block; a handler's restores the exception handled before it."""
    block, _, height, saved = frame.blocks.pop()
    if block is HANDLER:
        frame.handling = saved
        del frame.stack[height:]


def enter_finally(m, frame, argument):
    """Fall into a `finally` body with nothing to resume after it."""
    frame.blocks.pop()
    frame.blocks.append((HANDLER, 0, len(frame.stack), frame.handling))
    frame.stack.append(None)


def end_finally(m, frame, argument):
    completion = frame.stack.pop()
    frame.handling = frame.blocks.pop()[3]
    if completion is None:
        return None
    if completion.kind == "raise":
        raise Raised(completion.value)
    m.complete(frame, completion)
    return True


def leave_blocks(m, frame, argument):
    """`break` or `continue` out of blocks: (target, number of blocks that stay)."""
    target, depth = argument
    m.complete(frame, Completion("jump", target, depth))
    return True


def match_exception(m, frame, argument):
    """Replace the class or tuple on top by whether it matches.

    It is matched against the exception below it.
    """
    wanted = frame.stack.pop()
    error = frame.stack[-1]
    if type(wanted) is tuple:
        m.charge(len(wanted))
    for cls in wanted if type(wanted) is tuple else (wanted,):
        if not exceptions.is_exception_class(cls):
            raise TypeError("catching classes that do not inherit from BaseException is not allowed")
        if cls in error.cls.mro:
            frame.stack.append(True)
            return
    frame.stack.append(False)


def raise_(m, frame, count):
    """`raise`, `raise error`, `raise error from cause`."""
    if count == 0:
        raise Raised(_handled(frame))
    cause = frame.stack.pop() if count == 2 else None
    error = frame.stack.pop()
    if exceptions.is_exception_class(error):
        m.start(_raise_class(frame, error, count, cause))
        return True
    if not exceptions.is_exception(error):
        raise TypeError("exceptions must derive from BaseException")
    if count == 2:
        error.fields["__cause__"] = cause
    raise Raised(_in_context(frame, error))


def _raise_class(frame, cls, count, cause):
    error = yield Invoke(cls)
    if count == 2:
        error.fields["__cause__"] = cause
    raise Raised(_in_context(frame, error))


def _in_context(frame, error):
    """The exception, with the one that was being handled as its context."""
    handled = frame.handling
    if handled is not None and handled is not error and handled.fields.get("__context__") is not error:
        error.fields["__context__"] = handled
    return error


def _handled(frame):
    while frame is not None:
        if getattr(frame, "handling", None) is not None:
            return frame.handling
        frame = frame.back
    return exceptions.make("RuntimeError", "No active exception to reraise")
