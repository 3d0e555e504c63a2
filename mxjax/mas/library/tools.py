"""Tools: the registry for script functions, and handles of host tools.

Scripts fill the registry; the handles are opaque.
"""

from __future__ import annotations

import json

from mxjax.mas.library.core import MANAGED, native_class, tool_request
from mxjax.mas.prompts import fill
from mxjax.script import exceptions, formatting
from mxjax.script.frames import Invoke
from mxjax.script.keys import hashable
from mxjax.script.modules.json_ import dumps
from mxjax.script.values import Instance, Module, Native, Raised, brief

PYTHON = "python_execute"
RUN_PROGRAM = "run_program"  # what an ensemble compares programs with; neither agents nor scripts can call it
_NONE: dict = {}


def init_registry(m, self):
    m.allocate(300)
    self.fields["tools"] = {}


def tools_of(registry) -> dict:
    """The tools in a registry by name; {} for anything else."""
    tools = registry.fields.get("tools") if type(registry) is Instance and REGISTRY in registry.cls.mro else None
    return tools if isinstance(tools, dict) else _NONE


def register(m, self, name, func=None, description="", parameters=None):
    if type(name) is not str:
        raise TypeError("the name of a tool must be a string")
    m.allocate(600)
    self.fields["tools"] = tools_of(self) or {}
    self.fields["tools"][name] = {
        "name": name,
        "func": func,
        "description": description,
        "parameters": parameters or {},
    }


def get_tool(m, self, name):
    hashable(m, name)
    return tools_of(self).get(name)


def list_tools(m, self):
    m.need_items(len(tools_of(self)))
    return list(tools_of(self))


def get_tool_schemas(m, self):
    m.allocate(1000 * len(tools_of(self)))
    return [
        {
            "type": "function",
            "function": {key: tool.get(key) for key in ("name", "description", "parameters")},
        }
        for tool in tools_of(self).values()
        if isinstance(tool, dict)
    ]


def call_tool(m, self, name, arguments=None, **kwargs):
    """Call a tool from a script; host tools suspend."""
    hashable(m, name)
    tool = tools_of(self).get(name)
    if type(name) is not str or not isinstance(tool, dict):
        raise ValueError(f"Tool '{brief(name)}' not found")
    if arguments is not None and not isinstance(arguments, dict):
        raise TypeError("call_tool() takes the arguments of a tool by name, or all of them as one dict")
    arguments = {**(arguments or {}), **kwargs}
    if is_host_tool(m, name):
        return (yield from host_tool(m, name, arguments, _next_turn(m)))
    return (yield Invoke(tool.get("func"), (), arguments))


def _next_turn(m) -> int:
    place = m.task.frame.place
    place.children += 1
    return place.children


def host_tool(m, name: str, arguments: dict, turn: int):
    """The output of a host tool.

    Its error becomes a RuntimeError of the script.
    """
    reply = yield tool_request(m, name, arguments, turn)
    m.allocate(len(reply.text))
    if reply.error:
        raise RuntimeError(reply.error)
    return reply.text


REGISTRY = native_class(
    "ToolRegistry",
    None,
    {
        "__init__": init_registry,
        "register": register,
        "register_tool": register,
        "get_tool": get_tool,
        "list_tools": list_tools,
        "get_tool_schemas": get_tool_schemas,
        "call_tool": call_tool,
        **MANAGED,
    },
)


def is_host_tool(m, name: str) -> bool:
    """Whether the harness offers scripts a tool of this name."""
    return name in m.host.tools and name != RUN_PROGRAM


def python_tool(m, registry) -> bool:
    """Whether an agent with this registry can run Python."""
    return PYTHON in tools_of(registry) and is_host_tool(m, PYTHON)


def usable(m, registry) -> dict[str, dict]:
    """The tools that an agent can call by name.

    These are the tools of the host, and functions of the script.
    """
    registered = tools_of(registry)
    m.charge(len(registered))
    return registered and {
        name: tool
        for name, tool in registered.items()
        if type(name) is str and isinstance(tool, dict) and (is_host_tool(m, name) or is_script_tool(m, name, tool))
    }


def is_script_tool(m, name: str, tool: dict) -> bool:
    """Whether a tool is a script function, not a host tool."""
    return not is_host_tool(m, name) and tool.get("func") is not None and tool["func"] is not UNAVAILABLE


def describe_tools(m, tools: dict[str, dict]):
    """The schemas of tools as JSON, for a prompt."""
    lines = []
    for name, tool in tools.items():
        host = m.host.tools.get(name)
        shown = {
            "name": name,
            "description": tool.get("description") or (host.description if host else ""),
            "parameters": tool.get("parameters") or (dict(host.parameters) if host else {}),
        }
        try:
            lines.append((yield from dumps(m, shown, ensure_ascii=False)))
        except TypeError as error:
            exceptions.convert(error)  # a value that JSON does not have, or a fault of ours
            lines.append(json.dumps({"name": name}))
    return "\n".join(lines)


def run_tool(m, tools: dict[str, dict], name: str, arguments: dict, turn: int):
    """Run the tool that an agent named; return its reply text.

    There is a text to go back to the agent whatever happens.
    """
    prompts = m.host.prompts
    tool = tools.get(name)
    if tool is None:
        return fill(prompts.unknown_tool, name=name)
    try:
        if is_host_tool(m, name):
            output = yield from host_tool(m, name, arguments, turn)
        else:
            output = yield Invoke(tool.get("func"), (), arguments)
            output = yield from formatting.to_str(m, output)
    except Raised as error:
        if exceptions.EXCEPTION not in error.value.cls.mro:
            raise
        return fill(prompts.tool_failed, name=name, error=exceptions.describe(error.value))
    except RuntimeError as error:
        exceptions.convert(error)
        return fill(prompts.tool_failed, name=name, error=str(error))
    return fill(prompts.tool_result, name=name, output=output)


# The reference's environments


def _environment(name: str, methods: tuple[str, ...]):
    def init(m, self, *args, **kwargs):
        return None

    return native_class(name, None, {"__init__": init, **{method: _execute for method in methods}, **MANAGED})


def _execute(m, self, code="", timeout=None):
    """Run Python from a script itself."""
    if not is_host_tool(m, PYTHON):
        raise RuntimeError("python_execute is not available")
    return host_tool(m, PYTHON, {"code": code}, _next_turn(m))


UNAVAILABLE = Native("tool", lambda m, *args, **kwargs: "")
MATH_ENVIRONMENT = _environment("MathEnvironment", ("execute", "run", "python_execute"))
CODE_ENVIRONMENT = _environment("CodeEnvironment", ("execute", "run", "python_execute"))
PYTHON_EXECUTE = Native(PYTHON, lambda m, code="", timeout=None: _execute(m, None, code, timeout))
ENVIRONMENTS = {
    "utils": Module("utils", {}),
    "utils.environments": Module("utils.environments", {}),
    "utils.environments.math_env": Module(
        "utils.environments.math_env", {"MathEnvironment": MATH_ENVIRONMENT, PYTHON: PYTHON_EXECUTE}
    ),
    "utils.environments.code_env": Module(
        "utils.environments.code_env", {"CodeEnvironment": CODE_ENVIRONMENT, PYTHON: PYTHON_EXECUTE}
    ),
}
