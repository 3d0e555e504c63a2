"""Finds the script in what a designer wrote."""

from __future__ import annotations

import re

from mxjax.mas.errors import DesignError
from mxjax.mas.library.texts import blocks

_PYTHON = re.compile(r"```(?:python|py)[ \t]*\r?\n(.*?)(?:```|\Z)", re.DOTALL)
_GENERIC = re.compile(r"```[^\n`]*\n(.*?)```", re.DOTALL)
_IMPORT = re.compile(r"^[ \t]*(?:from|import)[ \t]+workflow\b", re.MULTILINE)
_BUILDS = re.compile(r"(?:Workflow|AgentGraph|create_simple_chain)[ \t]{0,4}\(")
_RUNS = re.compile(r"\.run[ \t]{0,4}\(")


def parse_design(text: str) -> str:
    """The source of the script in `text`; DesignError(kind="missing") when there is none.

    Looked for in this order: the last `<code>` block (a fence inside it, else its raw text), the last python fence,
    the last generic fence, the text from the first import of the library if it both builds and runs a workflow.
    """
    if not isinstance(text, str):
        raise DesignError(1, 1, "missing", f"a design must be text, got {type(text).__name__}")
    found = [inner for inner, _ in blocks(text, "code")] or text.split("<code>", 1)[1:]
    for block in reversed(found):
        fenced = _PYTHON.findall(block) or _GENERIC.findall(block)
        source = fenced[-1] if fenced else block
        if source.strip():
            return _trim(source)
    for pattern in (_PYTHON, _GENERIC):
        fenced = [source for source in pattern.findall(text) if source.strip()]
        if fenced:
            return _trim(fenced[-1])
    start = _IMPORT.search(text)
    if start:
        source = text[start.start() :]
        if _BUILDS.search(source) and _RUNS.search(source):
            return _trim(source)
    raise DesignError(1, 1, "missing", "the text holds no script: no <code> block, no fence, no import of the library")


def _trim(source: str) -> str:
    return source.strip("\r\n").rstrip() + "\n"
