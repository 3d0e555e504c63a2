"""Designs: finding, checking and running the scripts that build multi-agent systems.

A script is written by a model and is therefore hostile until shown otherwise: it is never executed by Python, but
compiled and interpreted here, with every resource metered, and it stops at each call of an agent until a reply is put
in.
"""

from mxjax.mas.check import CheckedDesign, check
from mxjax.mas.execution import ScriptRun, run, start
from mxjax.mas.graph import Edge, Graph, Node, Step, describe, graph, pattern, trace
from mxjax.mas.limits import Limits
from mxjax.mas.parse import DesignError, parse_design
from mxjax.mas.prompts import Prompts, designer_messages, load_prompts
from mxjax.mas.records import AgentCall, Reply, Result, Tool, ToolCall
from mxjax.mas.replay import record, replay
from mxjax.mas.uses import use_shares

__all__ = [
    "AgentCall",
    "CheckedDesign",
    "DesignError",
    "Edge",
    "Graph",
    "Limits",
    "Node",
    "Prompts",
    "Reply",
    "Result",
    "ScriptRun",
    "Step",
    "Tool",
    "ToolCall",
    "check",
    "describe",
    "designer_messages",
    "graph",
    "load_prompts",
    "parse_design",
    "pattern",
    "record",
    "replay",
    "run",
    "start",
    "trace",
    "use_shares",
]
