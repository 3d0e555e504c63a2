"""Finds the script in what a designer wrote."""

from __future__ import annotations

import re

from mxjax.fences import program_fence
from mxjax.mas.errors import DesignError
from mxjax.mas.library.texts import blocks

_INLINE = re.compile(r"[^\s`~]+[ \t]*```(?:python|py)[ \t]*\r?\n(.*?)(?:```|\Z)", re.DOTALL)
_IMPORT = re.compile(r"^[ \t]*(?:from|import)[ \t]+workflow\b", re.MULTILINE)
_BUILDS = re.compile(r"(?:Workflow|AgentGraph|create_simple_chain)[ \t]{0,4}\(")
_RUNS = re.compile(r"\.run[ \t]{0,4}\(")


def parse_design(text: str) -> str:
    """The source of the script in `text`; DesignError(kind="missing") when there is none.

    Looked for in this order: the last `<code>` block (a fence inside it, else its raw text); the last Python fence,
    which may open in the middle of a line; the last fence of no named language; the text from the first import of the
    library if it both builds and runs a workflow.
    """
    if not isinstance(text, str):
        raise DesignError(1, 1, "missing", f"a design must be text, got {type(text).__name__}")
    found = [inner for inner, _ in blocks(text, "code")] or text.split("<code>", 1)[1:]
    for block in reversed(found):
        fence = program_fence(block)
        source = block if fence is None else fence.content
        if source.strip():
            return _trim(source)
    fence = program_fence(text)
    inline = _INLINE.findall(text) if fence is None or not fence.is_python else ()
    if inline or fence is not None:
        return _trim(inline[-1] if inline else fence.content)
    start = _IMPORT.search(text)
    if start:
        source = text[start.start() :]
        if _BUILDS.search(source) and _RUNS.search(source):
            return _trim(source)
    raise DesignError(1, 1, "missing", "the text holds no script: no <code> block, no fence, no import of the library")


def _trim(source: str) -> str:
    return source.strip("\r\n").rstrip() + "\n"
