"""What runs nodes in order: workflows, with conditions or loops, and graphs."""

from __future__ import annotations

from mxjax.mas.library.core import (
    MANAGED,
    USER_INPUT,
    add_message,
    content_text,
    copy_context,
    error_text,
    get_latest_message,
    is_error,
    message,
    native_class,
    new_context,
    node_name,
    node_request,
    node_result,
    part,
)
from mxjax.mas.library.groups import gathered
from mxjax.mas.library.nodes import calls_bound
from mxjax.script.builtins import truth
from mxjax.script.containers import append
from mxjax.script.frames import MEMBER_BYTES, Invoke
from mxjax.script.keys import hashable
from mxjax.script.values import Instance, Native, brief


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
        m.charge(1)
        add_node(m, self, node)
    return self


def run(m, self, input_message="", initial_state=None):
    """Run on a fresh context, and note what is returned.

    The execution is judged by what is returned.
    """
    frame = m.task.frame
    frame.place = frame.place.child(node_name(self))
    context = new_context(m, (), initial_state if isinstance(initial_state, dict) else None)
    given = input_message
    if type(given) is not Instance or "content" not in given.fields:
        given = message(m, given, USER_INPUT)
    context.fields["messages"].append(given)
    self.fields["context"] = context
    m.host.reached(frame.place, self)
    result = yield from self.cls.lookup("__execute__").fn(m, self, context)
    host = m.host
    host.runs += 1
    host.failed = error_text(result) if is_error(result) else ""
    host.returned = yield from content_text(m, result)
    host.left(frame.place, host.returned)
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
    {
        "__init__": init_workflow,
        "add_node": add_node,
        "add_nodes": add_nodes,
        "run": run,
        "__execute__": execute_all,
        **MANAGED,
    },
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


def init_loop(m, self, *limit, name="loop_workflow", max_iterations=10, **config):
    """By position come `max_iterations`, or a name and `max_iterations`."""
    if limit and type(limit[0]) is str:
        name, limit = limit[0], limit[1:]
    if len(limit) > 1:
        raise TypeError("LoopWorkflow() takes max_iterations, or a name and max_iterations")
    max_iterations = limit[0] if limit else max_iterations
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

END = ("END", "__end__", "end")  # targets of edges that lead out of a graph


def init_graph(m, self, name="agent_graph", max_steps=50, **config):
    init_workflow(m, self, name, **config)
    self.fields.update(nodes={}, edges={}, routes={}, entry=None, finish=[], max_steps=max_steps)


def _known(self, name):
    if type(name) is not str or name not in part(self, "nodes", dict):
        raise ValueError(f"the graph {node_name(self)} has no node '{brief(name)}'")


def _edges(self, name) -> list[tuple]:
    """The edges that leave a node: (target, condition or None)."""
    return _pairs(self, part(self, "edges", dict).get(name, []))


def _route(self, name) -> tuple | None:
    """A node's routing function and mapping; None without one."""
    route = part(self, "routes", dict).get(name)
    return None if route is None else _pairs(self, [route])[0]


def _pairs(self, found) -> list[tuple]:
    if type(found) is not list or not all(type(pair) is tuple and len(pair) == 2 for pair in found):
        raise TypeError(f"the graph {node_name(self)} takes its edges from add_edge() and add_conditional_edges()")
    return found


def add_graph_node(m, self, name, node):
    m.allocate(140)
    if type(name) is not str:
        raise TypeError("the name of a node in a graph must be a string")
    part(self, "nodes", dict)[name] = node
    return self


def add_edge(m, self, src, dst, condition=None):
    m.allocate(300)
    hashable(m, src)
    _edges(self, src)
    part(self, "edges", dict).setdefault(src, []).append((dst, condition))
    return self


def add_conditional_edges(m, self, src, routing_func, mapping=None):
    m.allocate(200)
    hashable(m, src)
    part(self, "routes", dict)[src] = (routing_func, mapping)
    return self


def set_entry_point(m, self, name):
    _known(self, name)
    self.fields["entry"] = name
    return self


def set_finish_point(m, self, name):
    _known(self, name)
    part(self, "finish", list).append(name)
    return self


def execute_graph(m, self, context):
    """Walk the graph from its entry.

    The walk goes along the first edge that holds, and along all edges without a condition at once.

    Branches that so arise step together: their nodes see the messages so far, not each other's, and share the state;
    the next step begins when all nodes of this one have answered. A node that another branch can still lead to waits
    for it, so that branches meet where their edges do. A branch ends at a finish point or where no edge leads on, the
    walk at an error, after `max_steps` nodes, or with its last branch; it returns the last message of a finish point,
    else the last of all.
    """
    nodes = self.fields.get("nodes")
    if not isinstance(nodes, dict) or not nodes:
        raise ValueError(f"the graph {node_name(self)} has no nodes")
    here = [self.fields.get("entry") or next(iter(nodes))]
    most = self.fields.get("max_steps")
    left = most if type(most) is int else 50
    finished = ended = None
    while here and left > 0:
        ready = _ready(m, self, here)[:left]
        left -= len(ready)
        here = [name for name in here if name not in ready]
        for name, seen, made in (yield from _step(m, self, nodes, ready, context)):
            if is_error(made):
                return made
            if name in part(self, "finish", list):
                finished = made
                continue
            ended = made
            here += [after for after in (yield from _next_nodes(m, self, name, seen)) if after not in here]
    return finished or (get_latest_message(m, context) if here else ended)


def _step(m, self, nodes: dict, names: list[str], context):
    """Run independent nodes of a graph; return (name, context, message) of each.

    The context is the one that the node saw.
    """
    for name in names:
        _known(self, name)
    if len(names) == 1:
        return [(names[0], context, node_result((yield node_request(nodes[names[0]], context))))]
    m.allocate(MEMBER_BYTES * len(names))
    seen = [copy_context(m, context) for _ in names]
    for copied in seen:
        copied.fields["state"] = part(context, "state", dict)
    jobs = [(nodes[name], copied) for name, copied in zip(names, seen)]
    made = yield from gathered(m, jobs, calls_bound)
    for item in made:
        add_message(m, context, item)
    return list(zip(names, seen, made))


def _ready(m, self, here: list[str]) -> list[str]:
    """The waiting nodes that no other branch can still lead to.

    These are nodes at which branches stand; all of those, if there is none.
    """
    if len(here) == 1:
        return here
    ahead = {name: _reachable(m, self, name) for name in here}
    return [name for name in here if not any(name in ahead[other] for other in here if other != name)] or here


def _reachable(m, self, start: str) -> set[str]:
    """The nodes reachable from `start`, ignoring conditions."""
    nodes, found, stack = part(self, "nodes", dict), {}, [start]
    while stack:
        name = stack.pop()
        if name in part(self, "finish", list):
            continue
        targets = [target for target, _ in _edges(self, name)]
        if (route := _route(self, name)) is not None:
            targets = list(route[1].values() if isinstance(route[1], dict) else nodes)
        m.charge(1 + len(targets))
        for target in targets:
            if type(target) is str and target in nodes and target not in found:
                found[target] = True
                stack.append(target)
    return set(found)


def _next_nodes(m, self, name: str, context):
    """The nodes after `name`: none, one, or the start of each branch."""
    if (route := _route(self, name)) is not None:
        function, mapping = route
        chosen = yield Invoke(function, (context,))
        hashable(m, chosen)
        if isinstance(mapping, dict):
            chosen = mapping.get(chosen, chosen)
        if chosen is None or _is_end(self, chosen):
            return []
        if type(chosen) is str and chosen in part(self, "nodes", dict):
            return [chosen]
        raise ValueError(f"the routing function of '{name}' named '{brief(chosen)}', which is no node")
    edges = _edges(self, name)
    m.charge(len(edges))
    for target, condition in edges:
        if condition is None:
            targets = [target for target, condition in edges if condition is None and not _is_end(self, target)]
            for target in targets:
                _known(self, target)
            return list(dict.fromkeys(targets))
        if (yield from truth(m, (yield Invoke(condition, (context,))))):
            return [] if _is_end(self, target) else [target]
    return []


def _is_end(self, target) -> bool:
    """Whether an edge leads out of the graph."""
    return type(target) is str and target in END and target not in part(self, "nodes", dict)


GRAPH = native_class(
    "AgentGraph",
    WORKFLOW,
    {
        "__init__": init_graph,
        "add_node": add_graph_node,
        "add_edge": add_edge,
        "add_conditional_edges": add_conditional_edges,
        "set_entry_point": set_entry_point,
        "set_finish_point": set_finish_point,
        "__execute__": execute_graph,
    },
)


def create_simple_chain(m, *pairs, name="simple_chain"):
    """A graph that runs (name, node) pairs in order."""
    graph = yield Invoke(GRAPH, (name,))
    before = None
    for pair in pairs:
        if type(pair) not in (list, tuple) or len(pair) != 2:
            raise TypeError(f"create_simple_chain() takes (name, node) pairs, not {brief(pair)}")
        label, node = pair
        m.charge(5)
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
