"""The instructions: one function each, `op(machine, frame, argument)`.

A handler returns a true value when another frame is now on top or the task waits, so that the machine looks again.
Whatever needs script code to run (a dunder method, a generator) is entered as a call whose result is delivered to this
frame's stack, exactly where the instruction would have put it.
"""

from __future__ import annotations

from types import GeneratorType

from mxjax.mas.interpreter import attributes, exceptions, operators, subscripts, text
from mxjax.mas.interpreter.frames import Frame, Invoke
from mxjax.mas.interpreter.iteration import host_iterator, iterate, take_all
from mxjax.mas.interpreter.machine import HANDLER, Completion
from mxjax.mas.interpreter.values import (
    EXHAUSTED,
    NOTHING,
    PENDING,
    UNBOUND,
    BoundMethod,
    Cell,
    Function,
    Generator,
    Instance,
    Module,
    Raised,
    Set,
    Slice,
    type_name,
)

_FLAT = frozenset({type(None), bool, int, float, str, list, tuple, dict, Set})


# Stack and names


def load_const(m, frame, argument):
    frame.stack.append(argument)


def pop(m, frame, argument):
    frame.stack.pop()


def dup(m, frame, argument):
    frame.stack.append(frame.stack[-1])


def dup_two(m, frame, argument):
    frame.stack.extend(frame.stack[-2:])


def rotate(m, frame, count):
    """Moves the top of the stack below the `count - 1` values under it."""
    stack = frame.stack
    stack.insert(-(count - 1), stack.pop())


def load_slot(m, frame, index):
    value = frame.slots[index]
    if value is UNBOUND:
        raise Raised(_unbound(frame, index))
    frame.stack.append(value)


def store_slot(m, frame, index):
    frame.slots[index] = frame.stack.pop()


def delete_slot(m, frame, index):
    if frame.slots[index] is UNBOUND:
        raise Raised(_unbound(frame, index))
    frame.slots[index] = UNBOUND


def load_cell(m, frame, index):
    value = frame.slots[index].value
    if value is UNBOUND:
        raise Raised(_unbound(frame, index))
    frame.stack.append(value)


def store_cell(m, frame, index):
    frame.slots[index].value = frame.stack.pop()


def delete_cell(m, frame, index):
    frame.slots[index].value = UNBOUND


def load_closure(m, frame, index):
    frame.stack.append(frame.slots[index])


def _unbound(frame, index):
    name = frame.code.slot_names[index]
    if index in frame.code.frees:
        message = f"cannot access free variable '{name}' where it is not associated with a value in enclosing scope"
        return exceptions.make("NameError", message)
    return exceptions.make("UnboundLocalError", f"cannot access local variable '{name}' where it is not associated with a value")


def load_global(m, frame, name):
    value = m.globals.get(name, UNBOUND)
    if value is UNBOUND:
        value = m.builtins.get(name, UNBOUND)
        if value is UNBOUND:
            raise NameError(f"name '{name}' is not defined")
    frame.stack.append(value)


def store_global(m, frame, name):
    m.globals[name] = frame.stack.pop()


def delete_global(m, frame, name):
    if name not in m.globals:
        raise NameError(f"name '{name}' is not defined")
    del m.globals[name]


def load_name(m, frame, argument):
    """Looks a name up from a class body: its own namespace, a captured cell, then globally."""
    name, index = argument
    value = frame.namespace.get(name, UNBOUND)
    if value is UNBOUND and index is not None:
        value = frame.slots[index].value
    if value is UNBOUND:
        return load_global(m, frame, name)
    frame.stack.append(value)


def store_name(m, frame, argument):
    frame.namespace[argument[0]] = frame.stack.pop()


def delete_name(m, frame, argument):
    if frame.namespace.pop(argument[0], UNBOUND) is UNBOUND:
        raise NameError(f"name '{argument[0]}' is not defined")


# Operators


def binary(m, frame, operator):
    stack = frame.stack
    right = stack.pop()
    left = stack.pop()
    result = operator(m, left, right)
    if type(result) is GeneratorType:
        m.start(result)
        return True
    stack.append(result)


def unary(m, frame, operator):
    result = operator(m, frame.stack.pop())
    if type(result) is GeneratorType:
        m.start(result)
        return True
    frame.stack.append(result)


def is_(m, frame, negated):
    right = frame.stack.pop()
    left = frame.stack.pop()
    frame.stack.append((left is right) is not negated)


# Jumps


def _truth(m, frame):
    """Replaces the top of the stack by a value whose truth the host knows; True if a call was entered to find it."""
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
    """Replaces the top of the stack by its truth, for `not` and for the tests of `and` and `or`."""
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
    if type(value) is Generator:
        stack.append(value)
        return None
    m.start(iterate(m, value))
    return True


def for_iter(m, frame, target):
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
        frame.ip = target
    else:
        stack.append(value)


def yield_(m, frame, argument):
    m.emit(frame, frame.stack.pop())
    return True


def await_(m, frame, argument):
    """Runs a coroutine in place; a value that is none (an agent's reply, a gathered list) is already there."""
    value = frame.stack[-1]
    if type(value) is not Generator or not value.awaitable:
        return None
    frame.stack.pop()
    inner, value.frame = value.frame, None
    if inner is None:
        raise RuntimeError("cannot reuse already awaited coroutine")
    inner.back = frame
    m.enter(inner)
    return True


# Building


def build_list(m, frame, count):
    _build(m, frame, count, list)


def build_tuple(m, frame, count):
    _build(m, frame, count, tuple)


def _build(m, frame, count, kind):
    stack = frame.stack
    m.allocate(64 + 40 * count)
    if count:
        items = kind(stack[-count:])
        del stack[-count:]
    else:
        items = kind()
    stack.append(items)


def build_set(m, frame, count):
    stack = frame.stack
    m.allocate(128 + 100 * count)
    items = stack[len(stack) - count :]
    del stack[len(stack) - count :]
    for item in items:
        operators.hashable(m, item)
    stack.append(Set(items))


def build_dict(m, frame, count):
    """Makes a dict of the top `count` pairs."""
    stack = frame.stack
    m.allocate(64 + 140 * count)
    pairs = stack[len(stack) - 2 * count :]
    del stack[len(stack) - 2 * count :]
    result = {}
    for at in range(0, 2 * count, 2):
        key = pairs[at]
        if type(key) is not str:
            operators.hashable(m, key)
        result[key] = pairs[at + 1]
    stack.append(result)


def build_slice(m, frame, count):
    parts = tuple(frame.stack[-3:])
    del frame.stack[-3:]
    frame.stack.append(Slice(parts))


def append_item(m, frame, depth):
    value = frame.stack.pop()
    target = frame.stack[-depth]
    m.allocate(40)
    if len(target) >= m.limits.items:
        m.need_items(len(target) + 1)
    target.append(value)


def add_item(m, frame, depth):
    value = frame.stack.pop()
    operators.hashable(m, value)
    m.allocate(100)
    target = frame.stack[-depth]
    if len(target) >= m.limits.items:
        m.need_items(len(target) + 1)
    target.items[value] = None


def map_item(m, frame, depth):
    value = frame.stack.pop()
    key = frame.stack.pop()
    operators.hashable(m, key)
    m.allocate(140)
    target = frame.stack[-depth]
    if len(target) >= m.limits.items:
        m.need_items(len(target) + 1)
    target[key] = value


def extend_items(m, frame, kind):
    """`[*values]` and `{*values}`: puts what iterates on top into the container below it, and leaves that."""
    value = frame.stack.pop()
    m.start(_extend(m, frame.stack.pop(), value, kind))
    return True


def _extend(m, target, value, kind):
    items = yield from take_all(m, value)
    m.need_items(len(target) + len(items))
    if kind == "list":
        target.extend(items)
    else:
        for item in items:
            operators.hashable(m, item)
            target.items[item] = None
    return target


def to_tuple(m, frame, argument):
    frame.stack.append(tuple(frame.stack.pop()))


def update_dict(m, frame, for_call):
    value = frame.stack.pop()
    target = frame.stack[-1]
    if not isinstance(value, dict):
        raise TypeError(f"'{type_name(value)}' object is not a mapping")
    m.need_items(len(target) + len(value))
    if for_call:
        for key in value:
            if type(key) is not str:
                raise TypeError("keywords must be strings")
            if key in target:
                raise TypeError(f"got multiple values for keyword argument '{key}'")
    target.update(value)


def unpack(m, frame, shape):
    """Makes the top a sequence with one item per target, which `spread` then takes apart: (before, starred, after)."""
    value = frame.stack[-1]
    kind = type(value)
    if (kind is tuple or kind is list) and not shape[1] and len(value) == shape[0]:
        return None
    m.start(_unpack(m, frame.stack.pop(), shape))
    return True


def _unpack(m, value, shape):
    before, starred, after = shape
    if host_iterator(value) is None and type(value) not in (Generator, Instance):
        raise TypeError(f"cannot unpack non-iterable {type_name(value)} object")
    items = yield from take_all(m, value)
    count = len(items)
    if starred:
        if count < before + after:
            raise ValueError(f"not enough values to unpack (expected at least {before + after}, got {count})")
        return (*items[:before], items[before : count - after], *items[count - after :])
    if count < before:
        raise ValueError(f"not enough values to unpack (expected {before}, got {count})")
    if count > before:
        raise ValueError(f"too many values to unpack (expected {before})")
    return tuple(items)


def spread(m, frame, argument):
    """Puts the items of the sequence on top on the stack, the first one on top."""
    frame.stack.extend(reversed(frame.stack.pop()))


# Attributes and items


def load_attr(m, frame, name):
    value = attributes.load(m, frame.stack.pop(), name)
    if value is PENDING:
        return True
    frame.stack.append(value)


def store_attr(m, frame, name):
    owner = frame.stack.pop()
    value = frame.stack.pop()
    if attributes.store(m, owner, name, value) is PENDING:
        return True


def delete_attr(m, frame, name):
    attributes.delete(m, frame.stack.pop(), name)


def load_item(m, frame, argument):
    stack = frame.stack
    key = stack.pop()
    owner = stack.pop()
    kind = type(owner)
    if kind is dict and type(key) is str:
        stack.append(owner[key])
        return None
    if kind is list and type(key) is int:
        stack.append(owner[key])
        return None
    result = subscripts.get_item(m, owner, key)
    if type(result) is GeneratorType:
        m.start(result)
        return True
    stack.append(result)


def store_item(m, frame, argument):
    stack = frame.stack
    key = stack.pop()
    owner = stack.pop()
    result = subscripts.set_item(m, owner, key, stack.pop())
    if type(result) is GeneratorType:
        m.start(_quiet(result))
        return True


def delete_item(m, frame, argument):
    key = frame.stack.pop()
    owner = frame.stack.pop()
    result = subscripts.delete_item(m, owner, key)
    if type(result) is GeneratorType:
        m.start(_quiet(result))
        return True


def _quiet(gen):
    """Runs a statement's requests and leaves nothing on the stack."""
    yield from gen
    return NOTHING


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
    return _finish_call(frame, m.call(stack.pop(), args))


def call_kw(m, frame, argument):
    """Calls with `count` values on the stack, of which the last ones go with `names`."""
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
    if function is PENDING:
        raise TypeError(f"property '{name}' must be read before it is called")
    return _finish_call(frame, m.call(function, (owner, *values) if bound else values, kwargs))


def make_function(m, frame, argument):
    """Makes a function of code, `defaults` values and keyword-only defaults on the stack, and captured slots."""
    code, defaults, kw_names, captured = argument
    stack = frame.stack
    kw_defaults = {}
    for name in reversed(kw_names):
        kw_defaults[name] = stack.pop()
    positional = tuple(stack[len(stack) - defaults :])
    del stack[len(stack) - defaults :]
    m.allocate(128)
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
    """Runs a class body in a namespace of its own; the class is delivered."""
    code, captured, name, bases, keywords = argument
    stack = frame.stack
    values = stack[len(stack) - len(keywords) :]
    del stack[len(stack) - len(keywords) :]
    parents = stack[len(stack) - bases :]
    del stack[len(stack) - bases :]
    slots = [UNBOUND] * code.slots
    for index in code.cells:
        slots[index] = Cell()
    for index, source in zip(code.frees, captured):
        slots[index] = frame.slots[source]
    body = Frame(code, slots, None, frame.place, namespace={})
    m.start(attributes.make_class(m, name, parents, body, dict(zip(keywords, values))))
    return True


def annotate(m, frame, argument):
    """Notes `name: annotation` in a class body, for dataclasses."""
    name, annotation = argument
    frame.namespace.setdefault("__annotations__", {})[name] = annotation


# Context managers


def with_enter(m, frame, argument):
    """Leaves the manager's `__exit__`, and above it what its `__enter__` returns."""
    manager = frame.stack.pop()
    function, bound = attributes.method(m, manager, "__exit__")
    frame.stack.append(BoundMethod(function, manager) if bound else function)
    function, bound = attributes.method(m, manager, "__enter__")
    return _finish_call(frame, m.call(function, (manager,) if bound else ()))


def with_exit(m, frame, argument):
    """Calls `__exit__` for the completion on top; the result goes above both."""
    completion = frame.stack[-1]
    error = completion.value if completion is not None and completion.kind == "raise" else None
    args = (None, None, None) if error is None else (error.cls, error, None)
    return _finish_call(frame, m.call(frame.stack[-2], args))


def with_end(m, frame, argument):
    """Drops the exception if `__exit__` said so."""
    if frame.stack.pop() and frame.stack[-1] is not None and frame.stack[-1].kind == "raise":
        frame.stack[-1] = None


# Exceptions


def setup(m, frame, argument):
    """Opens a block: (EXCEPT or FINALLY, where its handler is)."""
    kind, target = argument
    frame.blocks.append((kind, target, len(frame.stack), None))


def pop_block(m, frame, argument):
    """Closes a block; a handler's gives back the exception that was being handled before."""
    block, _, height, saved = frame.blocks.pop()
    if block is HANDLER:
        frame.handling = saved
        del frame.stack[height:]


def enter_finally(m, frame, argument):
    """Falls into a `finally` body with nothing to resume after it."""
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
    """Replaces the class or tuple on top by whether the exception below it matches."""
    wanted = frame.stack.pop()
    error = frame.stack[-1]
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
        m.start(_raise_class(error, cause))
        return True
    if not exceptions.is_exception(error):
        raise TypeError("exceptions must derive from BaseException")
    if cause is not None:
        error.fields["__cause__"] = cause
    raise Raised(error)


def _raise_class(cls, cause):
    error = yield Invoke(cls)
    if cause is not None:
        error.fields["__cause__"] = cause
    raise Raised(error)


def _handled(frame):
    while frame is not None:
        if getattr(frame, "handling", None) is not None:
            return frame.handling
        frame = frame.back
    return exceptions.make("RuntimeError", "No active exception to reraise")


# Text and modules


def format_value(m, frame, conversion):
    """One field of an f-string: value and specification on the stack, the text is left."""
    spec = frame.stack.pop()
    value = frame.stack.pop()
    if type(value) is str and not spec and not conversion:
        frame.stack.append(value)
        return None
    m.start(text.field(m, value, conversion, spec))
    return True


def build_string(m, frame, count):
    stack = frame.stack
    parts = stack[-count:]
    del stack[-count:]
    m.need_string(sum(map(len, parts)))
    stack.append("".join(parts))


def import_(m, frame, argument):
    """Imports a module; with `top`, binds the first part of a dotted name."""
    name, top = argument
    module = _module(m, name)
    frame.stack.append(_module(m, name.split(".")[0]) if top else module)


def import_from(m, frame, argument):
    module_name, name = argument
    value = _module(m, module_name).members.get(name, UNBOUND)
    if value is UNBOUND:
        raise ImportError(f"cannot import name '{name}' from '{module_name}'")
    frame.stack.append(value)


def import_all(m, frame, name):
    for key, value in _module(m, name).members.items():
        if not key.startswith("_"):
            m.globals[key] = value


def _module(m, name) -> Module:
    module = m.imported.get(name)
    if module is None:
        make = m.modules.get(name)
        if make is None:
            raise ModuleNotFoundError(f"No module named '{name}'")
        module = m.imported[name] = make(m) if callable(make) else make
    return module




# Patterns: each of these takes the subject and leaves `False`, or a tuple of parts and `True`


def match_sequence(m, frame, shape):
    before, starred, after = shape
    value = frame.stack.pop()
    count = len(value) if type(value) in (list, tuple) else -1
    if count < before + after or (count > before + after and not starred):
        frame.stack.append(False)
        return
    m.charge(count)
    middle = (list(value[before : count - after]),) if starred else ()
    frame.stack.append((*value[:before], *middle, *value[count - after :]))
    frame.stack.append(True)


def match_mapping(m, frame, argument):
    count, rest = argument
    stack = frame.stack
    keys = stack[len(stack) - count :]
    del stack[len(stack) - count :]
    value = stack.pop()
    for key in keys:
        operators.hashable(m, key)
    if not isinstance(value, dict) or any(key not in value for key in keys):
        stack.append(False)
        return
    m.charge(len(value))
    left = ({key: item for key, item in value.items() if key not in keys},) if rest else ()
    stack.append((*(value[key] for key in keys), *left))
    stack.append(True)


def match_class(m, frame, argument):
    count, names = argument
    cls = frame.stack.pop()
    value = frame.stack.pop()
    if not attributes.is_instance(m, value, cls):
        frame.stack.append(False)
        return
    if count and type(cls) is not Class:
        parts = (value,)
    else:
        fields = cls.members.get("__match_args__", ()) if count else ()
        parts = tuple(value.fields.get(name, UNBOUND) for name in (*fields[:count], *names))
    matched = len(parts) == count + len(names) and UNBOUND not in parts
    if matched:
        frame.stack.append(parts)
    frame.stack.append(matched)
