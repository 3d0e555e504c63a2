"""The importable modules of the library.

Every name can be had from each of them.
"""

from __future__ import annotations

from mxjax.mas.library import nodes, tools, workflows
from mxjax.mas.library.agent import AGENT
from mxjax.mas.library.budget import BUDGET
from mxjax.mas.library.core import CONTEXT, MESSAGE, MESSAGE_TYPE, WORKFLOW_NODE
from mxjax.script.values import Class, Module, Native

_CLASSES = (
    WORKFLOW_NODE,
    MESSAGE,
    MESSAGE_TYPE,
    CONTEXT,
    AGENT,
    nodes.ENSEMBLE,
    nodes.REFLECTION,
    nodes.DEBATE,
    nodes.ROUTER,
    workflows.WORKFLOW,
    workflows.CONDITIONAL,
    workflows.LOOP,
    workflows.GRAPH,
    tools.REGISTRY,
    tools.MATH_ENVIRONMENT,
    tools.CODE_ENVIRONMENT,
)
NAMES: dict[str, Class | Native] = {
    **{cls.name: cls for cls in _CLASSES},
    "create_simple_chain": workflows.CREATE_SIMPLE_CHAIN,
    "create_keyword_router": Native("create_keyword_router", nodes.create_keyword_router),
    tools.PYTHON: tools.PYTHON_EXECUTE,
    **BUDGET,
}
_PARTS = ("core", "nodes", "workflow", "graph")
WORKFLOW_MODULE = Module("workflow", dict(NAMES))
LIBRARY = {
    "workflow": WORKFLOW_MODULE,
    **{f"workflow.{part}": Module(f"workflow.{part}", NAMES) for part in _PARTS},
    **tools.ENVIRONMENTS,
}
WORKFLOW_MODULE.members.update({part: LIBRARY[f"workflow.{part}"] for part in _PARTS})
