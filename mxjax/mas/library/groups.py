"""Groups of independent nodes, and the sharing of remaining calls among them."""

from __future__ import annotations

from mxjax.mas.library.core import is_error, is_message, messages_of, node_name, run_node
from mxjax.mas.limits import Meter
from mxjax.script.errors import LimitExceeded
from mxjax.script.frames import Gather, Group, Later, Task
from mxjax.script.values import Instance, Raised


def gathered(m, jobs: list[tuple[Instance, Instance]], bound):
    """The messages of independent (node, context) pairs.

    The contexts hold the same messages.

    `bound(node)` is the most calls that a node can make if it runs no script code, else None. When all are bounded,
    calls are reserved for each, and each goes on by itself as replies come in. Where what is left does not suffice for
    all that they could make, each gets a share, and one that has used its share waits (see `share_out`).

    Nodes that run script code go on in rounds. So do nodes whose calls do not fit where sharing them would be unfair to
    others (beside the group, in `asyncio.gather`) or in vain (more nodes than calls).
    """
    yield from free_call(m)
    task, place, left = m.task, m.task.frame.place, m.meter.calls_left
    bounds = [bound(m, node) for node, _ in jobs]
    private = None not in bounds and _holds_text(m, jobs[0][1])
    alone = task is m.root and not m.spawned
    shared = task.private or (alone and len(jobs) <= left)
    private = private and (shared or sum(bounds) <= left)
    if task.private and (not private or left <= 0):  # a script changed a node while it ran, or no call is left
        raise LimitExceeded("agent_calls")
    places = [place.child(node_name(node)) for node, _ in jobs]
    members = [(run_node(m, *job, inner), inner) for job, inner in zip(jobs, places)]
    outcomes = yield Gather(members, private, shares(bounds, max(0, left)) if private else None)
    for outcome in outcomes:
        if outcome.error is not None:
            raise Raised(outcome.error)
    return [outcome.value for outcome in outcomes]


def _holds_text(m, context) -> bool:
    """Whether reading a context's messages runs no code of the script."""
    messages = messages_of(context)
    m.charge(len(messages) >> 4)
    return all(is_message(item) and (type(item.fields.get("content")) is str or is_error(item)) for item in messages)


def shares(bounds: list[int], left: int) -> list[int]:
    """The bounds if they fit in `left`, else equal shares of it.

    What a smaller bound leaves goes to the others.
    """
    given = [0] * len(bounds)
    for done, index in enumerate(sorted(range(len(bounds)), key=bounds.__getitem__)):
        given[index] = min(bounds[index], left // (len(bounds) - done))
        left -= given[index]
    return given


def free_call(m):
    """Wait while there is no call.

    Either groups beside this node have reserved them, or a member has used its share.
    """
    while m.meter.reserved and m.meter.calls_left <= 0:
        m.charge(1)
        yield Later()
    if m.task.private and m.meter.calls_left <= 0:
        yield Later()


def share_out(m) -> bool:
    """Share out the unused calls of groups; return whether any member waited.

    The calls are those that members did not use; they go to members that wait for one.

    To be called when no reply is awaited: all members have then ended or wait, whatever the order of replies was. The
    calls of each outermost group go to its waiting members in equal parts, or one to each of the first in structural
    order. With none left, the members go on without, and meet the limit.
    """
    around = {task: _groups_around(task) for task in sorted(task for task in m.arrived if task.private)}
    m.arrived = [task for task in m.arrived if not task.private]
    for outermost in dict.fromkeys(groups[-1] for groups in around.values()):
        tasks = [task for task, groups in around.items() if groups[-1] is outermost]
        inner = dict.fromkeys(group for task in tasks for group in around[task])
        left = max(0, outermost.reserved - sum(map(_used, inner)))
        for group in inner:
            if group is not outermost:
                _meter(group.parent).most_calls = 0  # what it had left is given out with the rest
        going = tasks[: left or len(tasks)]
        for task in going:
            meter = _meter(task)
            meter.most_calls = meter.agent_calls + left // len(going)
        m.free.extend(going)
        m.arrived.extend(tasks[len(going) :])
    return bool(around)


def _groups_around(task: Task) -> list[Group]:
    """The groups of private members that a task is in, innermost first."""
    groups = []
    while task.private and task.group is not None:
        groups.append(task.group)
        task = task.group.parent
    return groups


def _used(group: Group) -> int:
    """The calls that the members of a group made.

    Those of groups in it that have not ended are left out.
    """
    assert isinstance(group.start, Meter)
    return sum(_meter(task).agent_calls for task in group.tasks) - len(group.tasks) * group.start.agent_calls


def _meter(task: Task) -> Meter:
    assert isinstance(task.meter, Meter), "designs run with a meter that counts calls"
    return task.meter
