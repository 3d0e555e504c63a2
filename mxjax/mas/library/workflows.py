"""What runs nodes in order: workflows, with conditions or loops, and graphs."""

from __future__ import annotations

from mxjax.mas.interpreter.builtins import truth
from mxjax.mas.interpreter.containers import append
from mxjax.mas.interpreter.frames import Invoke
from mxjax.mas.interpreter.operators import hashable
from mxjax.mas.interpreter.values import Instance, Native, brief
from mxjax.mas.library.core import (
    USER_INPUT,
    content_text,
    error_text,
    get_latest_message,
    is_error,
    message,
    native_class,
    new_context,
    node_name,
    node_request,
    node_result,
)


def init_workflow(m, self, name="workflow", **config):
    m.allocate(400)
    self.fields.update(name=name, nodes=[], config=config)


def _list(self, field: str = "nodes") -> list:
    items = self.fields.get(field)
    if type(items) is not list:
        raise TypeError(f"the {field} of a workflow must be a list")
    return items


def add_node(m, self, node):
    append(m, _list(self), node)
    return self


def add_nodes(m, self, nodes):
    for node in nodes if type(nodes) in (list, tuple) else [nodes]:
        add_node(m, self, node)
    return self


def run(m, self, input_message="", initial_state=None):
    """Runs on a fresh context, and notes what is returned: that is what the execution is judged by."""
    frame = m.task.frame
    frame.place = frame.place.child(node_name(self))
    context = new_context(m, (), initial_state if isinstance(initial_state, dict) else None)
    given = input_message
    if type(given) is not Instance or "content" not in given.fields:
        given = message(m, given, USER_INPUT)
    context.fields["messages"].append(given)
    self.fields["context"] = context
    result = yield from self.cls.lookup("__execute__").fn(m, self, context)
    host = m.host
    host.runs += 1
    host.failed = error_text(result) if is_error(result) else ""
    host.returned = yield from content_text(m, result)
    return result


def execute_all(m, self, context):
    m.need_items(len(_list(self)))
    for node in list(_list(self)):
        made = node_result((yield node_request(node, context)))
        if is_error(made):
            return made
    return get_latest_message(m, context)


WORKFLOW = native_class(
    "Workflow",
    None,
    {"__init__": init_workflow, "add_node": add_node, "add_nodes": add_nodes, "run": run, "__execute__": execute_all},
)

# Conditions


def add_conditional_node(m, self, node, condition=None):
    append(m, _list(self), (node, condition))
    return self


def execute_conditional(m, self, context):
    m.need_items(len(_list(self)))
    for item in list(_list(self)):
        node, condition = item if type(item) is tuple and len(item) == 2 else (item, None)
        if condition is not None and not (yield from truth(m, (yield Invoke(condition, (context,))))):
            continue
        made = node_result((yield node_request(node, context)))
        if is_error(made):
            return made
    return get_latest_message(m, context)


CONDITIONAL = native_class(
    "ConditionalWorkflow", WORKFLOW, {"add_node": add_conditional_node, "__execute__": execute_conditional}
)

# Loops


def init_loop(m, self, name="loop_workflow", max_iterations=10, **config):
    init_workflow(m, self, name, **config)
    self.fields.update(max_iterations=max_iterations, loop_condition=None)


def set_loop_condition(m, self, condition):
    self.fields["loop_condition"] = condition
    return self


def execute_loop(m, self, context):
    most = self.fields.get("max_iterations")
    for _ in range(most if type(most) is int else 10):
        m.charge(1)
        condition = self.fields.get("loop_condition")
        if condition is not None and not (yield from truth(m, (yield Invoke(condition, (context,))))):
            break
        made = yield from execute_all(m, self, context)
        if is_error(made):
            return made
    return get_latest_message(m, context)


LOOP = native_class(
    "LoopWorkflow",
    WORKFLOW,
    {"__init__": init_loop, "set_loop_condition": set_loop_condition, "__execute__": execute_loop},
)

# Graphs


def init_graph(m, self, name="agent_graph", max_steps=50, **config):
    init_workflow(m, self, name, **config)
    self.fields.update(nodes={}, edges={}, routes={}, entry=None, finish=[], max_steps=max_steps)


def _known(self, name):
    if type(name) is not str or name not in self.fields["nodes"]:
        raise ValueError(f"the graph {node_name(self)} has no node '{brief(name)}'")


def add_graph_node(m, self, name, node):
    m.allocate(140)
    if type(name) is not str:
        raise TypeError("the name of a node in a graph must be a string")
    self.fields["nodes"][name] = node
    return self


def add_edge(m, self, src, dst, condition=None):
    m.allocate(300)
    hashable(m, src)
    self.fields["edges"].setdefault(src, []).append((dst, condition))
    return self


def add_conditional_edges(m, self, src, routing_func, mapping=None):
    m.allocate(200)
    hashable(m, src)
    self.fields["routes"][src] = (routing_func, mapping)
    return self


def set_entry_point(m, self, name):
    _known(self, name)
    self.fields["entry"] = name
    return self


def set_finish_point(m, self, name):
    _known(self, name)
    self.fields["finish"].append(name)
    return self


def execute_graph(m, self, context):
    """Walks from the entry; stops at a finish point, an error, where no edge leads on, or after `max_steps`."""
    nodes = self.fields.get("nodes")
    if not isinstance(nodes, dict) or not nodes:
        raise ValueError(f"the graph {node_name(self)} has no nodes")
    name = self.fields.get("entry") or next(iter(nodes))
    most = self.fields.get("max_steps")
    for _ in range(most if type(most) is int else 50):
        _known(self, name)
        made = node_result((yield node_request(nodes[name], context)))
        if is_error(made) or name in self.fields["finish"]:
            return made
        name = yield from _next_node(m, self, name, context)
        if name is None:
            return made
    return get_latest_message(m, context)


def _next_node(m, self, name: str, context):
    """The node after `name`, or None."""
    routes = self.fields.get("routes")
    if isinstance(routes, dict) and name in routes:
        function, mapping = routes[name]
        chosen = yield Invoke(function, (context,))
        hashable(m, chosen)
        if isinstance(mapping, dict):
            chosen = mapping.get(chosen, chosen)
        if type(chosen) is str and chosen in self.fields["nodes"]:
            return chosen
        if chosen is None or (type(chosen) is str and chosen in ("END", "__end__", "end")):
            return None
        raise ValueError(f"the routing function of '{name}' named '{brief(chosen)}', which is no node")
    for target, condition in self.fields["edges"].get(name, ()):
        if condition is None or (yield from truth(m, (yield Invoke(condition, (context,))))):
            return target
    return None


GRAPH = native_class(
    "AgentGraph",
    WORKFLOW,
    {
        "__init__": init_graph, "add_node": add_graph_node, "add_edge": add_edge,
        "add_conditional_edges": add_conditional_edges, "set_entry_point": set_entry_point,
        "set_finish_point": set_finish_point, "__execute__": execute_graph,
    },
)  # fmt: skip


def create_simple_chain(m, *pairs, name="simple_chain"):
    """A graph that runs (name, node) pairs in order."""
    graph = yield Invoke(GRAPH, (name,))
    before = None
    for label, node in pairs:
        add_graph_node(m, graph, label, node)
        if before is None:
            set_entry_point(m, graph, label)
        else:
            add_edge(m, graph, before, label)
        before = label
    if before is not None:
        set_finish_point(m, graph, before)
    return graph


CREATE_SIMPLE_CHAIN = Native("create_simple_chain", create_simple_chain)
