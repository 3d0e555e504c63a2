"""Compile a parsed script into instructions.

Any construct that is not on the list is refused with its line.
"""

from __future__ import annotations

import ast

from mxjax.script import control, instructions
from mxjax.script.code import Code, Signature
from mxjax.script.exceptions import EXCEPTIONS
from mxjax.script.expressions import IN_PLACE
from mxjax.script.machine import EXCEPT, FINALLY
from mxjax.script.metering import Limits
from mxjax.script.patterns import Patterns
from mxjax.script.unit import Label, Loop, Unit, check_name, refuse


def compile_tree(tree: ast.Module, scopes, limits: Limits, modules) -> Code:
    """The code of a module with its `analyse`d scopes.

    `modules` are the names that may be imported from. Raises CompileError.
    """
    return Compiler(scopes, limits, modules).module(tree)


class Compiler(Patterns):
    """Walk the tree once, writing into `self.unit`."""

    def __init__(self, scopes, limits: Limits, modules):
        self.scopes = scopes
        self.limits = limits
        self.modules = modules
        self.in_try = 0

    def module(self, tree: ast.Module) -> Code:
        self.unit = unit = Unit("<script>", self.scopes[tree])
        self.body(tree.body)
        unit.emit(instructions.load_const, None)
        unit.emit(control.return_)
        return unit.finish()

    def body(self, statements):
        for statement in statements:
            self.statement(statement)

    def statement(self, node: ast.stmt):
        method = getattr(self, f"stmt_{type(node).__name__}", None)
        if method is None:
            raise refuse(node, f"{type(node).__name__} is not part of the script language")
        self.unit.line = node.lineno
        method(node)

    # Simple statements

    def stmt_Pass(self, node):
        pass

    def stmt_Global(self, node):
        pass

    def stmt_Nonlocal(self, node):
        pass

    def stmt_Expr(self, node):
        if not (isinstance(node.value, ast.Constant) and type(node.value.value) is str):
            self.expr(node.value)
            self.unit.emit(instructions.pop)

    def stmt_Assign(self, node):
        self.expr(node.value)
        for target in node.targets[:-1]:
            self.unit.emit(instructions.dup)
            self.assign(target)
        self.assign(node.targets[-1])

    def stmt_AnnAssign(self, node):
        if self.unit.scope.kind == "class" and isinstance(node.target, ast.Name):
            self.unit.emit(control.annotate, (node.target.id, ast.unparse(node.annotation)[:80]))
        if node.value is not None:
            self.expr(node.value)
            self.assign(node.target)

    def stmt_AugAssign(self, node):
        unit, target = self.unit, node.target
        operator = IN_PLACE[type(node.op)]
        if isinstance(target, ast.Name):
            self.expr_Name(target)
            self.expr(node.value)
            unit.emit(instructions.binary, operator)
            unit.store(target.id)
        elif isinstance(target, ast.Attribute):
            check_name(target.attr, target)
            self.expr(target.value)
            unit.emit(instructions.dup)
            unit.emit(instructions.load_attr, target.attr)
            self.expr(node.value)
            unit.emit(instructions.binary, operator)
            unit.emit(instructions.rotate, 2)
            unit.emit(instructions.store_attr, target.attr)
        else:
            self.expr(target.value)
            self.expr(target.slice)
            unit.emit(instructions.dup_two)
            unit.emit(instructions.load_item)
            self.expr(node.value)
            unit.emit(instructions.binary, operator)
            unit.emit(instructions.rotate, 3)
            unit.emit(instructions.store_item)

    def assign(self, target: ast.expr):
        """Store the top of the stack in `target`."""
        unit = self.unit
        unit.line = target.lineno
        if isinstance(target, ast.Name):
            check_name(target.id, target)
            unit.store(target.id)
        elif isinstance(target, ast.Attribute):
            check_name(target.attr, target)
            self.expr(target.value)
            unit.emit(instructions.store_attr, target.attr)
        elif isinstance(target, ast.Subscript):
            self.expr(target.value)
            self.expr(target.slice)
            unit.emit(instructions.store_item)
        elif isinstance(target, ast.Tuple | ast.List):
            self.unpack(target)
        else:
            raise refuse(target, f"cannot assign to {type(target).__name__}", "syntax")

    def unpack(self, target):
        starred = [i for i, item in enumerate(target.elts) if isinstance(item, ast.Starred)]
        if len(starred) > 1:
            raise refuse(target, "multiple starred expressions in assignment", "syntax")
        before = starred[0] if starred else len(target.elts)
        self.unit.emit(instructions.unpack, (before, bool(starred), len(target.elts) - before - len(starred)))
        self.unit.emit(instructions.spread)
        for item in target.elts:
            self.assign(item.value if isinstance(item, ast.Starred) else item)

    def stmt_Delete(self, node):
        for target in node.targets:
            self.delete(target)

    def delete(self, target):
        unit = self.unit
        if isinstance(target, ast.Name):
            unit.delete(target.id)
        elif isinstance(target, ast.Attribute):
            check_name(target.attr, target)
            self.expr(target.value)
            unit.emit(instructions.delete_attr, target.attr)
        elif isinstance(target, ast.Subscript):
            self.expr(target.value)
            self.expr(target.slice)
            unit.emit(instructions.delete_item)
        elif isinstance(target, ast.Tuple | ast.List):
            for item in target.elts:
                self.delete(item)

    def stmt_Assert(self, node):
        unit, fine = self.unit, Label()
        self.branch(node.test, fine, True)
        unit.emit(instructions.load_const, EXCEPTIONS["AssertionError"])
        if node.msg is not None:
            self.expr(node.msg)
        unit.emit(control.call, 0 if node.msg is None else 1)
        unit.emit(control.raise_, 1)
        unit.place(fine)

    def stmt_Raise(self, node):
        parts = [part for part in (node.exc, node.cause) if part is not None]
        self.exprs(parts)
        self.unit.line = node.lineno
        self.unit.emit(control.raise_, len(parts))

    # Control flow

    def stmt_If(self, node):
        unit, other, end = self.unit, Label(), Label()
        self.branch(node.test, other, False)
        for_checkers = "TYPE_CHECKING" in (getattr(node.test, "id", ""), getattr(node.test, "attr", ""))
        self.in_try += for_checkers  # it never runs, so that its imports need not exist
        self.body(node.body)
        self.in_try -= for_checkers
        if node.orelse:
            unit.emit(control.jump, end)
        unit.place(other)
        self.body(node.orelse)
        unit.place(end)

    def stmt_While(self, node):
        unit, again, done, end = self.unit, Label(), Label(), Label()
        unit.place(again)
        self.branch(node.test, done, False)
        self.loop_body(node.body, again, end)
        unit.emit(control.jump, again)
        unit.place(done)
        self.body(node.orelse)
        unit.place(end)

    def stmt_For(self, node):
        self.for_loop(node, control.get_iter)

    def stmt_AsyncFor(self, node):
        self.for_loop(node, control.get_async_iter)

    def for_loop(self, node, get_iter):
        unit, again, leave, done, end = self.unit, Label(), Label(), Label(), Label()
        self.expr(node.iter)
        unit.emit(get_iter)
        unit.place(again)
        unit.emit(control.for_iter, (done, False))
        self.assign(node.target)
        self.loop_body(node.body, again, leave)
        unit.emit(control.jump, again)
        unit.place(leave)
        unit.emit(instructions.pop)
        unit.emit(control.jump, end)
        unit.place(done)
        self.body(node.orelse)
        unit.place(end)

    def loop_body(self, body, again: Label, leave: Label):
        self.unit.loops.append(Loop(again, leave, self.unit.blocks))
        self.body(body)
        self.unit.loops.pop()

    def stmt_Break(self, node):
        self.leave_loop(node, "break")

    def stmt_Continue(self, node):
        self.leave_loop(node, "continue")

    def leave_loop(self, node, word: str):
        unit = self.unit
        if not unit.loops:
            raise refuse(node, f"'{word}' outside loop", "syntax")
        loop = unit.loops[-1]
        target = loop.leave if word == "break" else loop.again
        if unit.blocks == loop.blocks:
            unit.emit(control.jump, target)
        else:
            unit.emit(control.leave_blocks, (target, loop.blocks))

    def stmt_Return(self, node):
        if self.unit.scope.kind != "function":
            raise refuse(node, "'return' outside function", "syntax")
        if node.value is None:
            self.unit.emit(instructions.load_const, None)
        else:
            self.expr(node.value)
        self.unit.emit(control.return_)

    def stmt_Try(self, node):
        unit, final = self.unit, Label()
        if node.finalbody:
            unit.emit(control.setup, (FINALLY, final))
            unit.blocks += 1
        self.try_except(node) if node.handlers else self.body((*node.body, *node.orelse))
        if node.finalbody:
            unit.emit(control.enter_finally)
            unit.place(final)
            self.body(node.finalbody)
            unit.emit(control.end_finally)
            unit.blocks -= 1

    def try_except(self, node):
        unit, handler, end = self.unit, Label(), Label()
        unit.emit(control.setup, (EXCEPT, handler))
        unit.blocks += 1
        self.in_try += 1
        self.body(node.body)
        self.in_try -= 1
        unit.emit(control.pop_block)
        unit.blocks -= 1
        self.body(node.orelse)
        unit.emit(control.jump, end)
        unit.place(handler)
        unit.blocks += 1
        for clause in node.handlers:
            self.except_clause(clause, end)
        unit.emit(control.raise_, 0)
        unit.blocks -= 1
        unit.place(end)

    def except_clause(self, clause, end: Label):
        unit, other = self.unit, Label()
        unit.line = clause.lineno
        if clause.type is not None:
            self.expr(clause.type)
            unit.emit(control.match_exception)
            unit.emit(control.jump_if_false, other)
        if clause.name:
            check_name(clause.name, clause)
            unit.emit(instructions.dup)
            unit.store(clause.name)
        self.body(clause.body)
        if clause.name:
            unit.emit(instructions.load_const, None)
            unit.store(clause.name)
            unit.delete(clause.name)
        unit.emit(control.pop_block)
        unit.emit(control.jump, end)
        unit.place(other)

    def stmt_With(self, node):
        self.with_items(node.items, node.body, False)

    def stmt_AsyncWith(self, node):
        self.with_items(node.items, node.body, True)

    def with_items(self, items, body, asynchronous: bool):
        if not items:
            self.body(body)
            return
        unit, final, item = self.unit, Label(), items[0]
        self.expr(item.context_expr)
        unit.emit(control.with_enter, ("__aenter__", "__aexit__") if asynchronous else ("__enter__", "__exit__"))
        if asynchronous:
            unit.emit(control.await_)
        if item.optional_vars is not None:
            self.assign(item.optional_vars)
        else:
            unit.emit(instructions.pop)
        unit.emit(control.setup, (FINALLY, final))
        unit.blocks += 1
        self.with_items(items[1:], body, asynchronous)
        unit.emit(control.enter_finally)
        unit.place(final)
        unit.emit(control.with_exit)
        if asynchronous:
            unit.emit(control.await_)
        unit.emit(control.to_bool)
        unit.emit(control.with_end)
        unit.emit(control.end_finally)
        unit.blocks -= 1

    # Definitions

    def stmt_FunctionDef(self, node):
        self.define(node, "generator" if _yields(node) else "plain")

    def stmt_AsyncFunctionDef(self, node):
        self.define(node, "async_generator" if _yields(node) else "coroutine")

    def define(self, node, kind: str):
        check_name(node.name, node)
        self.exprs(node.decorator_list)

        def body():
            self.unit.doc = ast.get_docstring(node, clean=False)
            self.body(node.body)
            self.unit.emit(instructions.load_const, None)
            self.unit.emit(control.return_)

        self.function(node, node.name, kind, body)
        for _ in node.decorator_list:
            self.unit.emit(control.call, 1)
        self.unit.store(node.name)

    def function(self, node, name: str, kind: str, body):
        """Emit the creation of a function with the code of `body`."""
        outer, arguments = self.unit, node.args
        parameters = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        parameters += [extra for extra in (arguments.vararg, arguments.kwarg) if extra is not None]
        names = [parameter.arg for parameter in parameters]
        for parameter in parameters:
            check_name(parameter.arg, node)
            if names.count(parameter.arg) > 1:
                raise refuse(node, f"duplicate argument {parameter.arg!r} in function definition", "syntax")
        self.exprs(arguments.defaults)
        kw_defaults = [
            (parameter.arg, default)
            for parameter, default in zip(arguments.kwonlyargs, arguments.kw_defaults)
            if default is not None
        ]
        self.exprs(default for _, default in kw_defaults)
        signature = Signature(
            positional=tuple(p.arg for p in (*arguments.posonlyargs, *arguments.args)),
            positional_only=len(arguments.posonlyargs),
            keyword_only=tuple(p.arg for p in arguments.kwonlyargs),
            varargs=arguments.vararg is not None,
            varkw=arguments.kwarg is not None,
        )
        scope = self.scopes[node]
        self.unit = inner = Unit(name, scope, kind, signature, self.qualified(outer, name))
        inner.line = node.lineno
        if parameters and isinstance(parameters[0].annotation, ast.Name):
            inner.annotation = parameters[0].annotation.id
        body()
        self.unit = outer
        outer.line = node.lineno
        outer.emit(
            control.make_function,
            (inner.finish(), len(arguments.defaults), tuple(n for n, _ in kw_defaults), outer.captured(scope)),
        )

    def qualified(self, outer: Unit, name: str) -> str:
        """The qualified name of a definition in `outer`."""
        if outer.scope.kind == "module":
            return name
        return f"{outer.qualname}.{name}" if outer.kind == "class" else f"{outer.qualname}.<locals>.{name}"

    def stmt_ClassDef(self, node):
        check_name(node.name, node)
        outer = self.unit
        self.exprs(node.decorator_list)
        if any(keyword.arg is None for keyword in node.keywords) or any(isinstance(b, ast.Starred) for b in node.bases):
            raise refuse(node, "a class statement cannot take starred arguments")
        self.exprs((*node.bases, *(keyword.value for keyword in node.keywords)))
        scope = self.scopes[node]
        self.unit = inner = Unit(node.name, scope, "class", qualname=self.qualified(outer, node.name))
        if (doc := ast.get_docstring(node, clean=False)) is not None:
            inner.emit(instructions.load_const, doc)
            inner.emit(instructions.store_name, ("__doc__", None))
        self.body(node.body)
        inner.emit(instructions.load_const, None)
        inner.emit(control.return_)
        self.unit = outer
        outer.line = node.lineno
        keywords = tuple(keyword.arg for keyword in node.keywords)
        outer.emit(control.build_class, (inner.finish(), outer.captured(scope), node.name, len(node.bases), keywords))
        for _ in node.decorator_list:
            outer.emit(control.call, 1)
        outer.store(node.name)

    # Imports

    def stmt_Import(self, node):
        for alias in node.names:
            self.known_module(alias.name, node)
            self.unit.emit(instructions.import_, (alias.name, alias.asname is None))
            self.unit.store(alias.asname or alias.name.split(".")[0])

    def stmt_ImportFrom(self, node):
        name = node.module or ""
        if node.level:
            raise refuse(node, "relative imports are not available to a design", "import")
        if name == "__future__":
            return
        self.known_module(name, node)
        for alias in node.names:
            if alias.name == "*":
                self.unit.emit(instructions.import_all, name)
                continue
            check_name(alias.name, node)
            self.unit.emit(instructions.import_from, (name, alias.name))
            self.unit.store(alias.asname or alias.name)

    def known_module(self, name: str, node):
        if name not in self.modules and not self.in_try:
            raise refuse(node, f"the module {name!r} is not available to a design", "import")


def _yields(function) -> bool:
    """Whether `yield` occurs in a function itself, not in one inside it."""
    stack = list(function.body)
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Yield | ast.YieldFrom):
            return True
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            stack.extend(ast.iter_child_nodes(node))
    return False
