"""Telemetry of language use in designs, and of refusals.

The words are from a bounded vocabulary.

Told from the source alone, so that a design counts whether or not its executions got there. What is not in the
vocabulary is "other", so that no text of a design becomes the name of a metric.
"""

from __future__ import annotations

import ast
import builtins
import collections
import functools
import re
import sys
import types
from collections.abc import Iterable

from mxjax.mas.check import CheckedDesign, check
from mxjax.mas.library.modules import LIBRARY, NAMES
from mxjax.mas.limits import Limits
from mxjax.mas.machines import ALL_MODULES

_OFTEN_ASKED_FOR = """
    anthropic bs4 dotenv httpx jax langchain langgraph llama_index matplotlib networkx nltk numpy openai pandas pydantic
    requests scipy seaborn sklearn spacy sympy tenacity torch tqdm transformers yaml
"""
_MODULES = frozenset({*ALL_MODULES, *sys.stdlib_module_names, *_OFTEN_ASKED_FOR.split()})
_KINDS = frozenset(
    (
        "argument",
        "calls",
        "forbidden",
        "graph",
        "import",
        "missing",
        "name",
        "prompt_too_long",
        "syntax",
        "too_large",
        "unsupported",
    )
)
_TYPES = (object, type, int, str, list, dict, type(sys), types.FunctionType, types.FrameType, BaseException)
_DUNDERS = frozenset(name for kind in _TYPES for name in dir(kind) if name.startswith("__")) | {
    "__builtins__",
    "__del__",
    "__delete__",
    "__file__",
    "__import__",
    "__index__",
    "__path__",
    "__set__",
    "__set_name__",
}
_WORDS = ("bytes", "complex", "generators")  # of what is no kind of node
_CONSTRUCTS: dict[str, tuple[type[ast.AST], ...]] = {
    "assert": (ast.Assert,),
    "async": (ast.AsyncFunctionDef, ast.AsyncWith, ast.Await),
    "class": (ast.ClassDef,),
    "comprehension": (ast.ListComp, ast.SetComp, ast.DictComp),
    "del": (ast.Delete,),
    "f-string": (ast.JoinedStr,),
    "for": (ast.For,),
    "function": (ast.FunctionDef, ast.AsyncFunctionDef),
    "generator": (ast.Yield, ast.YieldFrom, ast.GeneratorExp),
    "global": (ast.Global,),
    "if": (ast.If, ast.IfExp),
    "lambda": (ast.Lambda,),
    "match": (ast.Match,),
    "nonlocal": (ast.Nonlocal,),
    "raise": (ast.Raise,),
    "slice": (ast.Slice,),
    "star": (ast.Starred,),
    "try": (ast.Try,),
    "walrus": (ast.NamedExpr,),
    "while": (ast.While,),
    "with": (ast.With, ast.AsyncWith),
}
_MODULE = re.compile(r"the module '([\w.]+)'")
_DUNDER = re.compile(r"the name '(__\w+__)'")
_NODE = re.compile(r"(\w+)(?: literals)? (?:is|are) not part of the script language")
_BUILTIN = re.compile(r"(\w+) is not available to a design;")


@functools.lru_cache(maxsize=1024)
def uses(checked: CheckedDesign) -> frozenset[str]:
    """Names of modules, constructs and library objects that a script uses.

    Constructs are "class", "decorator", and so on.
    """
    found: set[str] = set()
    read: set[str] = set()
    from_library: dict[str, str] = {}
    for node in ast.walk(checked.tree):
        found.update(name for name, kinds in _CONSTRUCTS.items() if isinstance(node, kinds))
        if getattr(node, "decorator_list", ()):
            found.add("decorator")
        if isinstance(node, ast.ClassDef) and node.bases:
            found.add("subclass")
        if isinstance(node, ast.Import):
            found.update(_module(alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.add(_module(node.module or ""))
            if node.module in LIBRARY:
                from_library.update({a.asname or a.name: a.name for a in node.names if a.name in NAMES})
                from_library.update({name: name for name in NAMES if node.names[0].name == "*"})
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            read.add(node.id)
        elif isinstance(node, ast.Attribute) and node.attr in NAMES:
            found.add(node.attr)
    return frozenset(found | {from_library[name] for name in read if name in from_library})


def _module(name: str) -> str:
    name = name if name in ALL_MODULES else name.split(".")[0]
    return name if name in _MODULES else "other"


def refused(kind: str, reason: str) -> str:
    """Why a text is no design: "import numpy", "syntax", ...

    It is told from the kind and the sentence of its `DesignError`.
    """
    if kind == "import" and (found := _MODULE.search(reason)):
        return f"import {_module(found[1])}"
    if kind == "forbidden" and (found := _DUNDER.search(reason)):
        return found[1] if found[1] in _DUNDERS else "forbidden"
    if kind == "unsupported" and (found := _NODE.search(reason)):
        return found[1] if hasattr(ast, found[1]) or found[1] in _WORDS else "unsupported"
    if kind == "name" and (found := _BUILTIN.search(reason)) and hasattr(builtins, found[1]):
        return f"{found[1]}()"
    return kind if kind in _KINDS else "other"


def use_shares(trees: Iterable, limits: Limits | None = None) -> dict[str, float]:
    """Shares of a step's designs, as metrics.

    What no design used or was refused for is left out.

    `design_uses/<name>` is the share of those that can run, `design_refused/<what>` that of all. `limits` are those
    under which the designs were checked.
    """
    designs = [design for tree in trees for design in tree.designs]
    sources = [design.source for design in designs if not design.error]
    used = collections.Counter(name for source in sources for name in uses(check(source, limits)))
    why = collections.Counter(refused(design.error_kind, design.error) for design in designs if design.error)
    return {
        **{f"design_uses/{name}": count / len(sources) for name, count in sorted(used.items())},
        **{f"design_refused/{what}": count / len(designs) for what, count in sorted(why.items())},
    }
