"""Find the script in what a designer wrote."""

from __future__ import annotations

import re

from mxjax.fences import Fence, fences
from mxjax.mas.library.texts import blocks
from mxjax.script.errors import CompileError

_IMPORT = re.compile(r"^[ \t]*(?:from|import)[ \t]+workflow\b", re.MULTILINE)
_BUILDS = re.compile(r"(?:Workflow|AgentGraph|create_simple_chain)[ \t]{0,4}\(")
_RUNS = re.compile(r"\.run[ \t]{0,4}\(")


class DesignError(CompileError):
    """A text that is no runnable design.

    See `CompileError` for `line`, `column`, `kind` and `reason`.
    """


def parse_design(text: str) -> str:
    """The source of the script in `text`; DesignError(kind="missing") when there is none.

    Looked for in this order: the last `<code>` block (a fence inside it, else its raw text), the last Python fence,
    the last generic fence, the text from the first import of the library if it both builds and runs a workflow.
    """
    if not isinstance(text, str):
        raise DesignError(1, 1, "missing", f"a design must be text, got {type(text).__name__}")
    found = [inner for inner, _ in blocks(text, "code")] or text.split("<code>", 1)[1:]
    for block in reversed(found):
        fenced = fences(block)
        source = _last_script(fenced) if fenced else block
        if source.strip():
            return _trim(source)
    if source := _last_script(fences(text)):
        return _trim(source)
    start = _IMPORT.search(text)
    if start:
        source = text[start.start() :]
        if _BUILDS.search(source) and _RUNS.search(source):
            return _trim(source)
    raise DesignError(1, 1, "missing", "the text holds no script: no <code> block, no fence, no import of the library")


def _last_script(found: list[Fence]) -> str:
    """The last non-empty Python fence, or the best substitute.

    Failing that, the last fence of no language, else of any; "" if all are empty.
    """
    filled = [fence for fence in found if fence.content.strip()]
    for wanted in (lambda fence: fence.is_python, lambda fence: not fence.info, lambda fence: True):
        if chosen := list(filter(wanted, filled)):
            return chosen[-1].content
    return ""


def _trim(source: str) -> str:
    return source.strip("\r\n").rstrip() + "\n"
