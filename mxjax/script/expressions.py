"""Compile expressions."""

from __future__ import annotations

import ast
from collections.abc import Callable

from mxjax.script import comparison, control, instructions, operators
from mxjax.script.code import Signature
from mxjax.script.machine import DELEGATED
from mxjax.script.metering import Limits
from mxjax.script.scopes import Scope
from mxjax.script.unit import Label, Unit, check_name, refuse
from mxjax.script.values import ELLIPSIS

BINARY = {
    ast.Add: (operators.add, "__iadd__"),
    ast.Sub: (operators.subtract, "__isub__"),
    ast.Mult: (operators.multiply, "__imul__"),
    ast.Div: (operators.divide, "__itruediv__"),
    ast.FloorDiv: (operators.floor_divide, "__ifloordiv__"),
    ast.Mod: (operators.modulo, "__imod__"),
    ast.Pow: (operators.power, "__ipow__"),
    ast.MatMult: (operators.matrix_multiply, "__imatmul__"),
    ast.LShift: (operators.left_shift, "__ilshift__"),
    ast.RShift: (operators.right_shift, "__irshift__"),
    ast.BitAnd: (operators.and_, "__iand__"),
    ast.BitOr: (operators.or_, "__ior__"),
    ast.BitXor: (operators.xor, "__ixor__"),
}
IN_PLACE = {kind: operators.in_place(operator, method) for kind, (operator, method) in BINARY.items()}
UNARY = {ast.USub: operators.negative, ast.UAdd: operators.positive, ast.Invert: operators.invert}
COMPARE = {
    ast.Eq: comparison.equals,
    ast.NotEq: comparison.differs,
    ast.Lt: comparison.ordering("<"),
    ast.LtE: comparison.ordering("<="),
    ast.Gt: comparison.ordering(">"),
    ast.GtE: comparison.ordering(">="),
    ast.In: comparison.contains,
    ast.NotIn: comparison.contains,
}
_CONVERSIONS = {-1: "", 115: "s", 114: "r", 97: "a"}


class Expressions:
    """The half of the compiler for expressions.

    The other half provides what is not defined here.

    Attributes:
      unit: the code under construction.
      scopes: where the names of each module, class and function live.
    """

    unit: Unit
    scopes: dict[ast.AST, Scope]
    limits: Limits

    def assign(self, target: ast.expr):
        """Emit code that stores the top of the stack in `target`."""
        raise NotImplementedError

    def body(self, statements: list[ast.stmt]):
        """Emit the code of statements."""
        raise NotImplementedError

    def function(self, node, name: str, kind: str, body: Callable[[], None]):
        """Emit code that leaves a new function on the stack."""
        raise NotImplementedError

    def expr(self, node: ast.expr):
        """Emit code that leaves the value of `node` on the stack."""
        method = getattr(self, f"expr_{type(node).__name__}", None)
        if method is None:
            raise refuse(node, f"{type(node).__name__} is not part of the script language")
        self.unit.line = node.lineno
        method(node)

    def exprs(self, nodes):
        for node in nodes:
            self.expr(node)

    def expr_Constant(self, node):
        value = node.value
        if value is Ellipsis:
            value = ELLIPSIS
        elif type(value) in (bytes, complex):
            raise refuse(node, f"{type(value).__name__} literals are not part of the script language")
        elif type(value) is int and value.bit_length() > self.limits.int_bits:
            raise refuse(node, "this integer is too large", "too_large")
        self.unit.emit(instructions.load_const, value)

    def expr_Name(self, node):
        check_name(node.id, node)
        self.unit.load(node.id)

    def expr_NamedExpr(self, node):
        self.expr(node.value)
        self.unit.emit(instructions.dup)
        self.unit.store(node.target.id)

    def expr_Attribute(self, node):
        check_name(node.attr, node)
        self.expr(node.value)
        self.unit.emit(instructions.load_attr, node.attr)

    def expr_Subscript(self, node):
        self.expr(node.value)
        self.expr(node.slice)
        self.unit.emit(instructions.load_item)

    def expr_Slice(self, node):
        for part in (node.lower, node.upper, node.step):
            if part is None:
                self.unit.emit(instructions.load_const, None)
            else:
                self.expr(part)
        self.unit.emit(instructions.build_slice)

    def expr_Starred(self, node):
        raise refuse(node, "a starred expression cannot stand here", "syntax")

    def expr_BinOp(self, node):
        self.expr(node.left)
        self.expr(node.right)
        self.unit.line = node.lineno
        self.unit.emit(instructions.binary, BINARY[type(node.op)][0])

    def expr_UnaryOp(self, node):
        self.expr(node.operand)
        if isinstance(node.op, ast.Not):
            self.unit.emit(control.to_bool)
            self.unit.emit(control.not_)
        else:
            self.unit.emit(instructions.unary, UNARY[type(node.op)])

    def expr_BoolOp(self, node):
        end = Label()
        jump = control.jump_if_false if isinstance(node.op, ast.And) else control.jump_if_true
        for value in node.values[:-1]:
            self.expr(value)
            self.unit.emit(instructions.dup)
            self.unit.emit(jump, end)
            self.unit.emit(instructions.pop)
        self.expr(node.values[-1])
        self.unit.place(end)

    def expr_Compare(self, node):
        self.expr(node.left)
        clean, end = Label(), Label()
        for index, (op, right) in enumerate(zip(node.ops, node.comparators)):
            last = index == len(node.ops) - 1
            self.expr(right)
            self.unit.line = node.lineno
            if not last:
                self.unit.emit(instructions.dup)
                self.unit.emit(instructions.rotate, 3)
            self.compare(op)
            if not last:
                self.unit.emit(instructions.dup)
                self.unit.emit(control.jump_if_false, clean)
                self.unit.emit(instructions.pop)
        if len(node.ops) > 1:
            self.unit.emit(control.jump, end)
            self.unit.place(clean)
            self.unit.emit(instructions.rotate, 2)
            self.unit.emit(instructions.pop)
            self.unit.place(end)

    def compare(self, op: ast.cmpop):
        if isinstance(op, ast.Is | ast.IsNot):
            self.unit.emit(instructions.is_, isinstance(op, ast.IsNot))
            return
        self.unit.emit(instructions.binary, COMPARE[type(op)])
        if isinstance(op, ast.NotIn):
            self.unit.emit(control.not_)

    def branch(self, node: ast.expr, target: Label, when: bool):
        """Jump to `target` if the truth of `node` is `when`.

        Falls through otherwise.
        """
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            self.branch(node.operand, target, not when)
        elif isinstance(node, ast.BoolOp):
            decisive = isinstance(node.op, ast.Or)
            after = Label()
            for value in node.values[:-1]:
                self.branch(value, target if decisive is when else after, decisive)
            self.branch(node.values[-1], target, when)
            self.unit.place(after)
        else:
            self.expr(node)
            self.unit.emit(control.jump_if_true if when else control.jump_if_false, target)

    def expr_IfExp(self, node):
        other, end = Label(), Label()
        self.branch(node.test, other, False)
        self.expr(node.body)
        self.unit.emit(control.jump, end)
        self.unit.place(other)
        self.expr(node.orelse)
        self.unit.place(end)

    # Containers

    def expr_List(self, node):
        self.sequence(node.elts, instructions.build_list, "list")

    def expr_Tuple(self, node):
        if any(isinstance(item, ast.Starred) for item in node.elts):
            self.sequence(node.elts, instructions.build_list, "list")
            self.unit.emit(instructions.to_tuple)
        else:
            self.sequence(node.elts, instructions.build_tuple, "list")

    def expr_Set(self, node):
        self.sequence(node.elts, instructions.build_set, "set")

    def sequence(self, items, build, kind: str):
        """A display of `items`, some of which may be starred."""
        first = next((i for i, item in enumerate(items) if isinstance(item, ast.Starred)), len(items))
        self.exprs(items[:first])
        self.unit.emit(build, first)
        for item in items[first:]:
            if isinstance(item, ast.Starred):
                self.expr(item.value)
                self.unit.emit(instructions.extend_items, kind)
            else:
                self.expr(item)
                self.unit.emit(instructions.append_item if kind == "list" else instructions.add_item, 1)

    def expr_Dict(self, node):
        pairs = list(zip(node.keys, node.values))
        first = next((i for i, (key, _) in enumerate(pairs) if key is None), len(pairs))
        for key, value in pairs[:first]:
            self.expr(key)
            self.expr(value)
        self.unit.emit(instructions.build_dict, first)
        for key, value in pairs[first:]:
            if key is None:
                self.expr(value)
                self.unit.emit(instructions.update_dict, False)
            else:
                self.expr(key)
                self.expr(value)
                self.unit.emit(instructions.map_item, 1)

    # Text

    def expr_JoinedStr(self, node):
        for value in node.values:
            self.expr(value)
        if not node.values:
            self.unit.emit(instructions.load_const, "")
        elif len(node.values) > 1:
            self.unit.emit(instructions.build_string, len(node.values))

    def expr_FormattedValue(self, node):
        self.expr(node.value)
        if node.format_spec is None:
            self.unit.emit(instructions.load_const, "")
        else:
            self.expr(node.format_spec)
        self.unit.emit(instructions.format_value, _CONVERSIONS[node.conversion])

    # Calls

    def expr_Call(self, node):
        names = [keyword.arg for keyword in node.keywords]
        for keyword in node.keywords:
            if keyword.arg is not None:
                check_name(keyword.arg, node)
                if names.count(keyword.arg) > 1:
                    raise refuse(node, f"keyword argument repeated: {keyword.arg}", "syntax")
        if None in names or any(isinstance(item, ast.Starred) for item in node.args):
            self.call_spread(node)
            return
        count = len(node.args) + len(names)
        if isinstance(node.func, ast.Attribute):
            check_name(node.func.attr, node)
            self.expr(node.func.value)
            self.exprs((*node.args, *(keyword.value for keyword in node.keywords)))
            self.unit.line = node.lineno
            self.unit.emit(control.call_method, (node.func.attr, count, tuple(names)))
            return
        self.expr(node.func)
        if isinstance(node.func, ast.Name) and node.func.id == "super" and not count:
            count = self.implicit_super(node)
        self.exprs((*node.args, *(keyword.value for keyword in node.keywords)))
        self.unit.line = node.lineno
        if names:
            self.unit.emit(control.call_kw, (count, tuple(names)))
        else:
            self.unit.emit(control.call, count)

    def implicit_super(self, node) -> int:
        """Put the two implicit arguments of `super()` on the stack."""
        if "__class__" not in self.unit.scope.frees or not self.unit.signature.positional:
            raise refuse(node, "super() without arguments needs a method around it", "syntax")
        self.unit.load("__class__")
        self.unit.load(self.unit.signature.positional[0])
        return 2

    def call_spread(self, node):
        self.expr(node.func)
        self.sequence(node.args, instructions.build_list, "list")
        self.unit.emit(instructions.build_dict, 0)
        for keyword in node.keywords:
            if keyword.arg is None:
                self.expr(keyword.value)
            else:
                self.unit.emit(instructions.load_const, keyword.arg)
                self.expr(keyword.value)
                self.unit.emit(instructions.build_dict, 1)
            self.unit.emit(instructions.update_dict, True)
        self.unit.line = node.lineno
        self.unit.emit(control.call_spread)

    # Functions within expressions

    def expr_Lambda(self, node):
        def body():
            self.expr(node.body)
            self.unit.emit(control.return_)

        self.function(node, "<lambda>", "plain", body)

    def expr_ListComp(self, node):
        self.comprehension(
            node,
            "<listcomp>",
            instructions.build_list,
            lambda depth: self.collect(node, instructions.append_item, depth),
        )

    def expr_SetComp(self, node):
        self.comprehension(
            node, "<setcomp>", instructions.build_set, lambda depth: self.collect(node, instructions.add_item, depth)
        )

    def expr_DictComp(self, node):
        def collect(depth):
            self.expr(node.key)
            self.expr(node.value)
            self.unit.emit(instructions.map_item, depth)

        self.comprehension(node, "<dictcomp>", instructions.build_dict, collect)

    def expr_GeneratorExp(self, node):
        def emit(depth):
            self.expr(node.elt)
            self.unit.emit(control.yield_)
            self.unit.emit(instructions.pop)

        self.comprehension(node, "<genexpr>", None, emit)

    def collect(self, node, add, depth: int):
        self.expr(node.elt)
        self.unit.emit(add, depth)

    def comprehension(self, node, name: str, build, collect):
        """Call a function that builds the result.

        Its one argument is the first iterable.
        """
        outer = self.unit
        scope = self.scopes[node]
        generators = "async_generator" if any(part.is_async for part in node.generators) else "generator"
        kind = "plain" if build else generators
        inner = Unit(name, scope, kind, Signature(positional=(".0",)))
        inner.line = node.lineno
        self.unit = inner
        if build:
            inner.emit(build, 0)
        self.comprehension_loops(node.generators, 0, collect)
        if not build:
            inner.emit(instructions.load_const, None)
        inner.emit(control.return_)
        self.unit = outer
        outer.emit(control.make_function, (inner.finish(), 0, (), outer.captured(scope)))
        self.expr(node.generators[0].iter)
        outer.emit(control.call, 1)

    def comprehension_loops(self, generators, index: int, collect):
        if index == len(generators):
            collect(index + 1)
            return
        unit, generator = self.unit, generators[index]
        if index:
            self.expr(generator.iter)
        else:
            unit.load(".0")
        unit.emit(control.get_async_iter if generator.is_async else control.get_iter)
        again, done = Label(), Label()
        unit.place(again)
        unit.emit(control.for_iter, (done, False))
        self.assign(generator.target)
        for test in generator.ifs:
            self.branch(test, again, False)
        self.comprehension_loops(generators, index + 1, collect)
        unit.emit(control.jump, again)
        unit.place(done)

    # Generators and coroutines

    def check_yield(self, node):
        """Refuse `yield` anywhere but in the body of a function."""
        if self.unit.scope.kind != "function" or not self.unit.kind.endswith("generator"):
            raise refuse(node, "'yield' outside the body of a def; define a function for it", "syntax")

    def expr_Yield(self, node):
        self.check_yield(node)
        if node.value is None:
            self.unit.emit(instructions.load_const, None)
        else:
            self.expr(node.value)
        self.unit.emit(control.yield_)

    def expr_YieldFrom(self, node):
        self.check_yield(node)
        if self.unit.kind == "async_generator":
            raise refuse(node, "'yield from' inside async function", "syntax")
        unit, again, done = self.unit, Label(), Label()
        self.expr(node.value)
        unit.emit(control.get_iter)
        unit.emit(instructions.load_const, None)
        unit.place(again)
        unit.emit(control.yield_from, (done, True))
        unit.emit(control.yield_, DELEGATED)
        unit.emit(control.jump, again)
        unit.place(done)

    def expr_Await(self, node):
        self.expr(node.value)
        self.unit.emit(control.await_)
