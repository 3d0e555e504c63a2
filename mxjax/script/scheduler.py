"""The order in which the tasks of a script run.

The tasks are the script itself, members of groups, and those that it starts beside itself.

The order is fixed, whatever the order in which replies arrive: private members go on as soon as their own reply is in,
all others in rounds, once every reply that the script waits for has arrived. The only clock is the script's own; it
moves when every task sleeps.
"""

from __future__ import annotations

import heapq
from collections import deque

from mxjax.script.errors import LimitExceeded
from mxjax.script.frames import Ask, Group, Later, NativeFrame, Park, Place, Task
from mxjax.script.metering import Limits


class Scheduler:
    """The tasks of one execution; base class of the machine.

    Attributes:
      root, task: the script's own task, and the one that runs.
      free: private tasks that can go on, in the order in which they became so.
      ready: the other tasks of this round, a heap in structural order; `arrived` those of the next round.
      woken: tasks that were parked, in the order in which they were woken; `sleeping` a heap by time of those asleep.
      spawned: tasks that belong to no group and have not ended.
      pending: requests that wait for a reply, by the id of their call; `asked` those since the last `settle`.
      outstanding: replies and private groups that tasks which are not private wait for.
      clock: seconds that the script has slept.
    """

    __slots__ = (
        "arrived",
        "asked",
        "clock",
        "free",
        "outstanding",
        "parks",
        "pending",
        "ready",
        "root",
        "sleeping",
        "spawned",
        "task",
        "woken",
    )
    holds = ()

    limits: Limits

    def __init__(self, root: Task):
        self.root = self.task = root
        self.free: deque[Task] = deque()
        self.ready: list[Task] = [root]
        self.arrived: list[Task] = []
        self.woken: deque[Task] = deque()
        self.sleeping: list[tuple[float, int, Task]] = []  # when, in which `Park`, who
        self.spawned: dict[Task, None] = {}
        self.pending: dict[str, Ask] = {}
        self.asked: list[Ask] = []
        self.outstanding = 0
        self.clock = 0.0
        self.parks = 0

    def run(self, task: Task):
        """Run one task until it waits or ends."""
        raise NotImplementedError

    def settle(self):
        """Run tasks until all wait or the script has ended."""
        root = self.root
        while root.frame is not None:
            if self.free:
                self.run(self.free.popleft())
            elif self.ready:
                self.run(heapq.heappop(self.ready))
            elif self.woken:
                self.run(self.woken.popleft())
            elif self.outstanding:
                return
            elif self.arrived:
                self.ready, self.arrived = self.arrived, []
                heapq.heapify(self.ready)
            elif not self.rouse():
                return

    def rouse(self) -> bool:
        """Advance the clock to the first sleeper's wake-up time.

        Returns False when no task sleeps.
        """
        while self.sleeping:
            at, park, task = heapq.heappop(self.sleeping)
            if task.parked == park:
                self.clock = max(self.clock, at)
                self.wake(task, False)
                return True
        return False

    def spawn(self, gen, place: Place) -> Task:
        """Start a task beside the running one, on the same meter."""
        task = Task(NativeFrame(gen, None, place), None, self.task.meter)
        task.depth = self.task.depth
        self.spawned[task] = None
        self.woken.append(task)
        return task

    def wake(self, task: Task, value=True):
        """Let a parked task go on, after those that are ready.

        Tasks that are not parked are left as they are.
        """
        if task.parked:
            task.parked = 0
            task.frame.inbox = value
            self.woken.append(task)

    def resume(self, task: Task, value):
        """Give a waiting task its result.

        It runs at the next `settle` at which its turn comes.
        """
        task.frame.inbox = value
        if task.private:
            self.free.append(task)
        else:
            self.outstanding -= 1
            self.arrived.append(task)

    def wait(self, request):
        """Suspend the running task on a request.

        The request is an `Ask`, a `Gather`, a `Park`, or `Later`.
        """
        task = self.task
        if type(request) is Ask:
            request.task = task
            self.pending[request.call.id] = request
            self.asked.append(request)
            self.outstanding += not task.private
            task.waiting = True
            return
        if type(request) is Later:
            task.waiting = True
            self.arrived.append(task)
            return
        if type(request) is Park:
            task.waiting = True
            self.parks = task.parked = self.parks + 1
            if request.seconds == 0:
                self.wake(task)
            elif request.seconds is not None:
                heapq.heappush(self.sleeping, (self.clock + request.seconds, task.parked, task))
            return
        group = Group(task, request.private)
        group.reserved = sum(request.shares)
        task.meter.reserve(group.reserved)
        group.left = len(request.members)
        for (gen, place), share in zip(request.members, request.shares):
            meter = task.meter.share(share) if request.private else task.meter
            member = Task(NativeFrame(gen, None, place), group, meter)
            member.depth = task.depth
            group.tasks.append(member)
        task.waiting = True
        self.outstanding += request.private and not task.private
        if request.private:
            self.free.extend(group.tasks)
        else:
            for member in group.tasks:
                heapq.heappush(self.ready, member)
        if not group.tasks:
            self.close_group(group)

    def leave_group(self, group: Group):
        """One more member has ended."""
        group.left -= 1
        if not group.left:
            self.close_group(group)

    def close_group(self, group: Group):
        """All members have ended: the parent may go on."""
        parent = group.parent
        outcomes = [task.outcome for task in group.tasks]
        if group.private:
            parent.closing = group
            self.resume(parent, outcomes)
        else:
            parent.frame.inbox = outcomes
            heapq.heappush(self.ready, parent)

    def add_up(self, task: Task, group: Group):
        """Add the usage of a finished group's members to the task's.

        Each member used a meter of its own.

        Done when the task's turn comes, not when the last member ends: a meter that tasks share then changes in their
        fixed order, whatever the order in which replies arrived.
        """
        task.closing = None
        task.meter.reserve(-group.reserved)
        limit = None
        for member in group.tasks:
            task.meter.add_since(group.start, member.meter)
            limit = limit or member.limit
        limit = limit or task.meter.exceeded(self.limits)
        if limit:
            task.frame.inbox = LimitExceeded(limit)
