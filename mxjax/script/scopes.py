"""Where each name of a script lives, decided before code generation.

A name lives in a slot, in a cell shared by closures, or globally.

One walk over the tree collects what every scope binds and uses; resolving then follows Python's rules (class bodies are
skipped by the functions in them, comprehensions are functions, `:=` in a comprehension binds outside it).
"""

from __future__ import annotations

import ast

from mxjax.script.errors import CompileError

COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


class Scope:
    """One module, class body, function or comprehension.

    `slots` maps a name to its index in the frame; a slot holds the value itself, or a cell if the name is in `cells`
    (owned here, captured by an inner function) or in `frees` (owned outside).
    """

    def __init__(self, kind: str, parent: Scope | None):
        self.kind = kind
        self.parent = parent
        self.comprehension = False
        self.iterated: set[str] = set()  # what a comprehension binds for each item
        self.bound: dict[str, None] = {}
        self.used: set[str] = set()
        self.globals: set[str] = set()
        self.nonlocals: set[str] = set()
        self.slots: dict[str, int] = {}
        self.cells: set[str] = set()
        self.frees: dict[str, None] = {}
        self.children: list[Scope] = []
        if parent is not None:
            parent.children.append(self)

    def place(self, name: str) -> str:
        """Where `name` is found: "slot", "cell", "global" or "name".

        With "name", a class body searches the outer scopes last.
        """
        if name in self.globals or self.kind == "module":
            return "global"
        if self.kind == "class" and name not in self.nonlocals and name != "__class__":
            return "name"
        if name in self.frees or name in self.cells:
            return "cell"
        return "slot" if name in self.bound else "global"

    def owns(self, name: str) -> bool:
        """Whether a function nested here may capture `name` from this scope."""
        if self.kind == "class":
            return name == "__class__"
        return self.kind == "function" and name in self.bound and name not in self.nonlocals | self.globals


def analyse(tree: ast.Module) -> dict[ast.AST, Scope]:
    """The scopes of the module and all functions, classes and comprehensions."""
    walker = _Walker()
    module = Scope("module", None)
    walker.scopes[tree] = module
    walker.visit_all(tree.body, module)
    for scope in walker.scopes.values():
        _resolve(scope)
    for scope in walker.scopes.values():
        for name in (*scope.bound, *scope.frees):
            scope.slots.setdefault(name, len(scope.slots))
    return walker.scopes


def _resolve(scope: Scope):
    """Find the owner of each name that `scope` does not bind.

    A cell is threaded from the owner to here.
    """
    for name in sorted(scope.used | scope.nonlocals):
        if name in scope.globals or scope.kind == "module":
            continue
        if name in scope.bound and name not in scope.nonlocals and scope.kind == "function":
            continue
        path = [scope]
        owner = scope.parent
        while owner is not None and not owner.owns(name):
            path.append(owner)
            owner = owner.parent
        if owner is None:
            continue
        owner.cells.add(name)
        owner.bound.setdefault(name)
        for between in path:
            between.frees.setdefault(name)


class _Walker:
    def __init__(self):
        self.scopes: dict[ast.AST, Scope] = {}

    def visit_all(self, nodes, scope: Scope):
        for node in nodes:
            if node is not None:
                self.visit(node, scope)

    def visit(self, node: ast.AST, scope: Scope):
        if isinstance(node, FUNCTIONS):
            self.function(node, scope)
        elif isinstance(node, COMPREHENSIONS):
            self.comprehension(node, scope)
        elif isinstance(node, ast.ClassDef):
            self.class_(node, scope)
        else:
            self.simple(node, scope)

    def simple(self, node: ast.AST, scope: Scope):
        if isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Load):
                self.use(node.id, scope)
            else:
                scope.bound.setdefault(node.id)
        elif isinstance(node, ast.NamedExpr):
            self.visit(node.value, scope)
            target = scope
            while target.comprehension:
                if node.target.id in target.iterated:
                    self.refuse(node, f"cannot rebind comprehension iteration variable {node.target.id!r}")
                assert target.parent is not None, "a comprehension stands in a scope"
                target = target.parent
            if target is not scope and target.kind == "class":
                self.refuse(node, "within a comprehension cannot be used in a class body")
            target.bound.setdefault(node.target.id)
            scope.used.add(node.target.id)
            if target is not scope:
                scope.globals.update({node.target.id} if target.kind == "module" else ())
                scope.nonlocals.update({node.target.id} if target.kind == "function" else ())
        elif isinstance(node, ast.Global):
            self.declare(node, scope, scope.globals)
        elif isinstance(node, ast.Nonlocal):
            self.declare(node, scope, scope.nonlocals)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                scope.bound.setdefault((alias.asname or alias.name).split(".")[0])
        elif isinstance(node, ast.AnnAssign):
            self.visit_all((node.target, node.value), scope)
        else:
            for name in (getattr(node, "name", None), getattr(node, "rest", None)):
                if isinstance(name, str):
                    scope.bound.setdefault(name)
            self.visit_all(ast.iter_child_nodes(node), scope)

    def refuse(self, node, why: str):
        raise CompileError(node.lineno, node.col_offset + 1, "syntax", f"assignment expression {why}")

    def use(self, name: str, scope: Scope):
        scope.used.add(name)
        if name == "super" and scope.kind == "function":
            scope.used.add("__class__")

    def declare(self, node, scope: Scope, where: set[str]):
        for name in node.names:
            if name in scope.bound or name in scope.used:
                word = "global" if isinstance(node, ast.Global) else "nonlocal"
                raise CompileError(
                    node.lineno, node.col_offset + 1, "syntax", f"name {name!r} is used before its {word} declaration"
                )
            where.add(name)
            if isinstance(node, ast.Nonlocal) and not self.has_owner(name, scope):
                raise CompileError(
                    node.lineno, node.col_offset + 1, "syntax", f"no binding for nonlocal {name!r} found"
                )

    def has_owner(self, name: str, scope: Scope) -> bool:
        owner = scope.parent
        while owner is not None:
            if owner.kind == "function":
                return True
            owner = owner.parent
        return False

    def function(self, node, scope: Scope):
        arguments = node.args
        self.visit_all((*arguments.defaults, *arguments.kw_defaults), scope)
        self.visit_all(getattr(node, "decorator_list", ()), scope)
        if not isinstance(node, ast.Lambda):
            scope.bound.setdefault(node.name)
        inner = self.scopes[node] = Scope("function", scope)
        for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
            inner.bound[argument.arg] = None
        for argument in (arguments.vararg, arguments.kwarg):
            if argument is not None:
                inner.bound[argument.arg] = None
        self.visit_all([node.body] if isinstance(node, ast.Lambda) else node.body, inner)

    def class_(self, node: ast.ClassDef, scope: Scope):
        self.visit_all((*node.bases, *(k.value for k in node.keywords), *node.decorator_list), scope)
        scope.bound.setdefault(node.name)
        inner = self.scopes[node] = Scope("class", scope)
        self.visit_all(node.body, inner)

    def comprehension(self, node, scope: Scope):
        first, *rest = node.generators
        for generator in node.generators:
            for part in ast.walk(generator.iter):
                if isinstance(part, ast.NamedExpr):
                    self.refuse(part, "cannot be used in a comprehension iterable expression")
        self.visit(first.iter, scope)
        inner = self.scopes[node] = Scope("function", scope)
        inner.comprehension = True
        targets = (part for generator in node.generators for part in ast.walk(generator.target))
        inner.iterated = {part.id for part in targets if isinstance(part, ast.Name)}
        inner.bound[".0"] = None
        self.visit_all((first.target, *first.ifs), inner)
        for generator in rest:
            self.visit_all((generator.target, generator.iter, *generator.ifs), inner)
        results = (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,)
        self.visit_all(results, inner)
