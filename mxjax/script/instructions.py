"""The instructions on values.

These cover the stack, names, operators, displays, attributes, items, text and imports.

Each is a function `op(machine, frame, argument)`. It returns a true value when another frame is now on top or the
task waits, so that the machine looks again. Where script code must run (a dunder method, a generator), it is entered
as a call whose result is delivered to this frame's stack, exactly where the instruction would have put it.
"""

from __future__ import annotations

from types import GeneratorType

from mxjax.script import attributes, exceptions, formatting, keys, subscripts
from mxjax.script.exceptions import may_raise
from mxjax.script.iteration import host_iterator, take_all
from mxjax.script.types import update_dict as merge
from mxjax.script.values import (
    NOTHING,
    PENDING,
    UNBOUND,
    Generator,
    Instance,
    Module,
    Raised,
    Set,
    Slice,
    plain,
    type_name,
)

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
    """Move the stack top below the next `count - 1` values."""
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
    return exceptions.make(
        "UnboundLocalError", f"cannot access local variable '{name}' where it is not associated with a value"
    )


def load_global(m, frame, name):
    if name in m.globals:
        frame.stack.append(m.globals[name])
    elif name in m.builtins:
        frame.stack.append(m.builtins[name])
    else:
        raise NameError(f"name '{name}' is not defined")


def store_global(m, frame, name):
    m.globals[name] = frame.stack.pop()


def delete_global(m, frame, name):
    if name not in m.globals:
        raise NameError(f"name '{name}' is not defined")
    del m.globals[name]


def load_name(m, frame, argument):
    """Look up a name from a class body.

    Searches its own namespace, then a captured cell, then the globals.
    """
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
    own = False
    for item in items:
        own = keys.hashable(m, item) or own
    if own:
        m.start(_set_of_keys(m, items))
        return True
    stack.append(Set(items))


def _set_of_keys(m, items):
    made = Set()
    yield from keys.put(m, made.items, [(item, None) for item in items])
    return made


def build_dict(m, frame, count):
    """Make a dict of the top `count` pairs."""
    stack = frame.stack
    m.allocate(64 + 140 * count)
    pairs = stack[len(stack) - 2 * count :]
    del stack[len(stack) - 2 * count :]
    result: dict = {}
    for at in range(0, 2 * count, 2):
        key = pairs[at]
        if keys.hashable(m, key):
            m.start(_dict_of_keys(m, result, list(zip(pairs[at::2], pairs[at + 1 :: 2]))))
            return True
        result[key] = pairs[at + 1]
    stack.append(result)


def _dict_of_keys(m, result, pairs):
    yield from keys.put(m, result, pairs)
    return result


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
    own = keys.hashable(m, value)
    m.allocate(100)
    target = frame.stack[-depth]
    if len(target) >= m.limits.items:
        m.need_items(len(target) + 1)
    if own:
        m.start(_quiet(keys.put(m, target.items, [(value, None)])))
        return True
    target.items[value] = None


def map_item(m, frame, depth):
    value = frame.stack.pop()
    key = frame.stack.pop()
    own = keys.hashable(m, key)
    m.allocate(140)
    target = frame.stack[-depth]
    if len(target) >= m.limits.items:
        m.need_items(len(target) + 1)
    if own:
        m.start(_quiet(keys.put(m, target, [(key, value)])))
        return True
    target[key] = value


def extend_items(m, frame, kind):
    """`[*values]` and `{*values}`: extend the container below with the iterable on top.

    The container is left on the stack.
    """
    value = frame.stack.pop()
    m.start(_extend(m, frame.stack.pop(), value, kind))
    return True


def _extend(m, target, value, kind):
    items = yield from take_all(m, value)
    m.need_items(len(target) + len(items))
    if kind == "list":
        target.extend(items)
    else:
        yield from keys.put(m, target.items, [(item, None) for item in items])
    return target


def to_tuple(m, frame, argument):
    frame.stack.append(tuple(frame.stack.pop()))


def update_dict(m, frame, for_call):
    value = frame.stack.pop()
    target = frame.stack[-1]
    if type(value) is Instance and not isinstance(plain(value), dict):
        m.start(_update_from_object(m, frame, value, for_call))
        return True
    value = plain(value)
    if not isinstance(value, dict):
        raise TypeError(f"'{type_name(value)}' object is not a mapping")
    m.need_entries(len(target) + len(value))
    if keys.hash_again(m, value):
        m.start(_quiet(keys.put(m, target, list(value.items()))))
        return True
    if for_call:
        for key in value:
            if type(key) is not str:
                raise TypeError("keywords must be strings")
            if key in target:
                raise TypeError(f"got multiple values for keyword argument '{key}'")
    target.update(value)


def _update_from_object(m, frame, value: Instance, for_call):
    """Replace an object with `keys` and `__getitem__` by the corresponding dict."""
    if value.cls.lookup("keys") is UNBOUND:
        raise TypeError(f"'{type_name(value)}' object is not a mapping")
    made: dict = {}
    yield from merge(m, made, value, {})
    frame.ip -= 1
    return made


def unpack(m, frame, shape):
    """Replace the top by a sequence with one item per target.

    `spread` then takes it apart: (before, starred, after).
    """
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
    """Replace the sequence on top by its items, the first one topmost."""
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
    running = attributes.store(m, owner, name, value)
    if running is not None:
        m.start(_quiet(running))
        return True


def delete_attr(m, frame, name):
    running = attributes.delete(m, frame.stack.pop(), name)
    if running is not None:
        m.start(_quiet(running))
        return True


@may_raise(KeyError, IndexError)
def load_item(m, frame, argument):
    stack = frame.stack
    key = stack.pop()
    owner = stack.pop()
    kind = type(owner)
    if kind is dict and type(key) is str and len(key) < 1000:
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
    """Run a statement's requests and leave nothing on the stack."""
    yield from gen
    return NOTHING


# Text and modules


def format_value(m, frame, conversion):
    """One field of an f-string.

    Value and specification are on the stack; the text is left.
    """
    spec = frame.stack.pop()
    value = frame.stack.pop()
    if not spec and not conversion:
        kind = type(value)
        if kind is str:
            frame.stack.append(value)
            return None
        if kind is int:
            m.charge(1)
            frame.stack.append(formatting.int_text(m, value))
            return None
    m.start(formatting.field(m, value, conversion, spec))
    return True


def build_string(m, frame, count):
    stack = frame.stack
    parts = stack[-count:]
    del stack[-count:]
    m.need_string(sum(map(len, parts)), all(map(str.isascii, parts)))
    stack.append("".join(parts))


def import_(m, frame, argument):
    """Import a module; with `top`, bind the root of a dotted name."""
    name, top = argument
    return _imported(m, frame, (name, name.split(".")[0]) if top else (name,), lambda module: module)


def import_from(m, frame, argument):
    module_name, name = argument

    def member(module: Module):
        value = module.members.get(name, UNBOUND)
        if value is UNBOUND:
            raise ImportError(f"cannot import name '{name}' from '{module_name}'")
        return value

    return _imported(m, frame, (module_name,), member)


def import_all(m, frame, name):
    def bind(module: Module):
        m.globals.update(module.public)
        return NOTHING

    return _imported(m, frame, (name,), bind)


def _imported(m, frame, names: tuple[str, ...], take):
    """Push the result of `take` for the last of the named modules.

    Modules that are new are made.
    """
    if all(name in m.imported for name in names):
        m.deliver(take(m.imported[names[-1]]))
        return None
    m.start(_import(m, names, take))
    return True


def _import(m, names: tuple[str, ...], take):
    for name in names:
        if name in m.imported:
            continue
        make = m.modules.get(name)
        if make is None:
            raise ModuleNotFoundError(f"No module named '{name}'")
        if type(make) is Module:
            m.imported[name] = make
        else:
            made = make(m)
            m.imported[name] = (yield from made) if type(made) is GeneratorType else made
    return take(m.imported[names[-1]])
