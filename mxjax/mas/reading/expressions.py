"""Expressions of a script, and what they make of other values."""

from __future__ import annotations

import ast
import itertools
import operator

from mxjax.mas.library.modules import LIBRARY, NAMES
from mxjax.mas.reading.shape import MOST_DEPTH, MOST_ITEMS, Flow, Node, Shape
from mxjax.mas.reading.values import (
    UNKNOWN,
    Bound,
    Choice,
    Env,
    Instance,
    Library,
    Result,
    Text,
    Unnamed,
    key_of,
    put_in,
)  # fmt: skip
from mxjax.script.values import Module

_NUMBERS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}


class Expressions(Shape):
    """Values of expressions; what they call is read by `Calls`."""

    def __init__(self):
        super().__init__()
        self._depth = 0
        self._loops = 0  # around what is read, of those that cannot be read item by item
        self._conditional = False
        self._env = Env({"__name__": "__main__"})
        self._fields: dict[str, object] = {}  # of whatever object, by name
        self._returned: list = []

    def value(self, node: ast.expr):
        """What is known of the value of an expression."""
        self._charge()
        self._depth += 1
        try:
            if self._depth > MOST_DEPTH:
                return UNKNOWN
            read = getattr(self, f"_value_{type(node).__name__}", None)
            if read is not None:
                return read(node)
            return self._held(
                [self.value(child) for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]
            )
        finally:
            self._depth -= 1

    def _value_Constant(self, node):
        value = node.value
        if isinstance(value, str):
            self._charge(len(value) // 64)
        return UNKNOWN if value is ... or (isinstance(value, int) and value.bit_length() > 63) else value

    def _value_Name(self, node):
        env = self._env
        while env is not None:
            if node.id in env.names:
                return env.names[node.id]
            env = env.outer
        return Library(node.id) if node.id in NAMES else UNKNOWN

    def _value_Attribute(self, node):
        return self._attribute(self.value(node.value), node.attr)

    def _attribute(self, owner, name: str):
        if isinstance(owner, Module):
            return self._member(name)
        if isinstance(owner, Instance) and name in owner.cls.methods:
            return Bound(owner, name)
        if isinstance(owner, Result):
            return owner
        if isinstance(owner, list | dict | str | Flow):
            return Bound(owner, name)
        return self._fields[name] if name in self._fields else Bound(owner, name)

    def _member(self, name: str):
        return Library(name) if name in NAMES else LIBRARY.get(f"workflow.{name}", UNKNOWN)

    def _value_Subscript(self, node):
        owner = self.value(node.value)
        key = self._slice(node.slice) if isinstance(node.slice, ast.Slice) else self.value(node.slice)
        if isinstance(owner, list) and isinstance(key, slice):
            self._charge(len(owner))
            return owner[key]
        if isinstance(owner, list) and isinstance(key, int) and -len(owner) <= key < len(owner):
            return owner[key]
        if isinstance(owner, dict) and key_of(key) in owner:
            return owner[key_of(key)]
        if isinstance(owner, dict | list):
            return self._choice(owner.values() if isinstance(owner, dict) else owner)
        return owner if isinstance(owner, str) else self._held([owner])

    def _slice(self, node: ast.Slice) -> slice:
        parts = [part and self.value(part) for part in (node.lower, node.upper, node.step)]
        known = all(part is None or (isinstance(part, int) and part) for part in parts[2:])
        known = known and all(part is None or isinstance(part, int) for part in parts)
        return slice(*parts) if known else slice(None)

    def _value_List(self, node):
        return self._arguments(node.elts)

    _value_Tuple = _value_Set = _value_List

    def _value_Dict(self, node):
        found = {}
        for key, value in zip(node.keys, node.values):
            given = self.value(value)
            if key is not None:
                put_in(found, self.value(key), given)
            elif isinstance(given, dict):
                self._charge(len(given))
                found.update(given)
        return found

    def _value_JoinedStr(self, node):
        return self._joined("", [self.value(part) for part in node.values])

    def _value_FormattedValue(self, node):
        return self.value(node.value)

    def _joined(self, separator: str, values: list) -> str:
        """The text that values make together, with `{...}` for those that are not known."""
        self._charge(len(values) + len(separator) * len(values) // 64)
        made = separator.join(
            str(value) if isinstance(value, int | float) else self._text(value) or ("" if value == "" else "{...}")
            for value in values
        )
        return self._filled(made, separator, *values)

    def _filled(self, text: str, *values) -> str:
        """A text that knows of which flows' results it was made."""
        flows = self._flows_in(*values)
        if flows:
            text = Text(text)
            text.flows = flows
        return text

    def _text(self, value) -> str:
        """The constant text of a value, or ""; one of several texts shows them all."""
        found = " or ".join(self._texts(value))
        self._charge(1 + len(found) // 64)
        return found

    def _texts(self, value) -> list[str]:
        """The texts that a value may be."""
        options = value.options if isinstance(value, Choice) else (value,)
        self._charge(len(options))
        return [option for option in options if isinstance(option, str)]

    def _value_BinOp(self, node):
        return self._operation(node.op, self.value(node.left), self.value(node.right))

    def _operation(self, op, left, right):
        if type(left) is int and type(right) is int and type(op) in _NUMBERS:
            made = _NUMBERS[type(op)](left, right)
            return made if made.bit_length() < 64 else UNKNOWN
        if isinstance(op, ast.Add) and isinstance(left, list) and isinstance(right, list):
            self._charge(len(left) + len(right))
            return left + right
        if isinstance(op, ast.Mult) and isinstance(left, list) and type(right) is int:
            self._charge(len(left) * max(0, min(right, MOST_ITEMS)))
            return left * min(right, MOST_ITEMS)
        if isinstance(op, ast.Add) and (self._texts(left) or self._texts(right)):
            return self._joined("", [left, right])
        return self._filled(left, left, right) if isinstance(left, str) else self._held([left, right])

    def _value_UnaryOp(self, node):
        value = self.value(node.operand)
        return -value if isinstance(node.op, ast.USub) and type(value) is int else UNKNOWN

    def _value_Compare(self, node):
        for part in (node.left, *node.comparators):
            self.value(part)
        return UNKNOWN

    def _value_BoolOp(self, node):
        return self._options(node.values[0], *node.values[1:])

    def _value_IfExp(self, node):
        self.value(node.test)
        return self._options(None, node.body, node.orelse)

    def _options(self, first, *rest):
        made = [] if first is None else [self.value(first)]
        conditional, self._conditional = self._conditional, True
        made += [self.value(part) for part in rest]
        self._conditional = conditional
        return self._choice(made)

    def _value_NamedExpr(self, node):
        value = self.value(node.value)
        self._bind(node.target, value)
        return value

    def _value_Await(self, node):
        return self.value(node.value)

    def _value_Yield(self, node):
        if node.value is not None:
            self._returned.append(self.value(node.value))
        return UNKNOWN

    def _value_YieldFrom(self, node):
        self._returned.append(self.value(node.value))
        return UNKNOWN

    def _value_Lambda(self, node):
        return self._function(node)

    def _value_ListComp(self, node):
        found: list = []
        outer, self._env = self._env, self._env.inner()
        self._generators(node.generators, lambda: found.append(self.value(node.elt)))
        self._env = outer
        return found

    _value_SetComp = _value_GeneratorExp = _value_ListComp

    def _value_DictComp(self, node):
        found: dict = {}
        outer, self._env = self._env, self._env.inner()
        self._generators(node.generators, lambda: put_in(found, self.value(node.key), self.value(node.value)))
        self._env = outer
        return found

    def _generators(self, generators, body):
        self._depth += 1
        if not generators:
            body()
        elif self._depth <= MOST_DEPTH:
            first, *rest = generators
            self._each(first.target, self.value(first.iter), lambda: self._generators(rest, body))
        self._depth -= 1

    # Values made of others

    def _choice(self, values):
        """One of these values."""
        options: dict = {}
        for value in values:
            for option in value.options if isinstance(value, Choice) else (value,):
                self._charge()
                options[key_of(option)] = option
        return next(iter(options.values())) if len(options) == 1 else Choice(tuple(options.values()))

    def _held(self, values):
        """Whatever nodes and results these values hold, when no more is known."""
        found: list = self._nodes_in(*values)
        flows = self._flows_in(*values)
        found += [Result(flows)] if flows else []
        return Choice(tuple(found)) if found else UNKNOWN

    def _flows_in(self, *values) -> tuple[Flow, ...]:
        """The flows whose results these values are made of, each once."""
        if not self._runs and not self._inner_runs:
            return ()
        found: dict[Flow, None] = {}
        seen: set[int] = set()
        stack = list(values)
        while stack:
            value = stack.pop()
            self._charge()
            if isinstance(value, Result | Text):
                found.update(dict.fromkeys(value.flows))
            elif isinstance(value, list | dict | Choice) and id(value) not in seen:
                seen.add(id(value))
                inner = value.options if isinstance(value, Choice) else value
                inner = list(inner.values() if isinstance(inner, dict) else inner)
                self._charge(len(inner))
                stack += [part for part in inner if isinstance(part, Result | Text | list | dict | Choice)]
        return tuple(found)

    def _nodes_in(self, *values) -> list[Node]:
        """The nodes that values hold, each once, in order."""
        found: dict[str, Node] = {}
        seen: set[int] = set()
        stack = [*reversed(values)]
        while stack:
            value = stack.pop()
            self._charge()
            if isinstance(value, Node):
                found.setdefault(value.id, value)
            elif isinstance(value, list | dict | Choice) and id(value) not in seen:
                seen.add(id(value))
                inner = value.options if isinstance(value, Choice) else value
                inner = list(inner.values() if isinstance(inner, dict) else inner)
                self._charge(len(inner))
                stack += [part for part in reversed(inner) if isinstance(part, Node | list | dict | Choice)]
        return list(found.values())

    def _items(self, value) -> list | None:
        """The items of an iterable, if they are known."""
        if isinstance(value, list):
            return list(value[: MOST_ITEMS + 1])
        if isinstance(value, dict):
            return [key if not isinstance(key, Unnamed) else UNKNOWN for key in itertools.islice(value, MOST_ITEMS + 1)]
        return list(value[: MOST_ITEMS + 1]) if isinstance(value, str) else None

    def _each(self, target, iterable, body):
        """Reads a body once for each item, or once if the items are not known."""
        items = self._items(iterable)
        unread = items is None or len(items) > MOST_ITEMS
        for item in [self._held([iterable])] if items is None else items[:MOST_ITEMS]:
            self._charge()
            self._loops += unread
            self._bind(target, item)
            body()
            self._loops -= unread

    def _bind(self, target, value):
        self._charge()
        if isinstance(target, ast.Name):
            self._env.shared.get(target.id, self._env).names[target.id] = value
        elif isinstance(target, ast.Attribute):
            self.value(target.value)
            self._fields[target.attr] = value
        elif isinstance(target, ast.Subscript):
            owner, key = self.value(target.value), self.value(target.slice)
            if isinstance(owner, dict):
                put_in(owner, key, value)
            elif isinstance(owner, list):
                owner.append(value)
        elif isinstance(target, ast.Starred):
            self._bind(target.value, value)
        elif isinstance(target, ast.Tuple | ast.List):
            items = self._items(value)
            known = items is not None and len(items) == len(target.elts)
            known = known and not any(isinstance(inner, ast.Starred) for inner in target.elts)
            rest = UNKNOWN if known else self._held([value])
            for index, inner in enumerate(target.elts):
                self._bind(inner, items[index] if known else rest)
