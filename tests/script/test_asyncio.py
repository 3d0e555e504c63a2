"""What waits side by side in `asyncio` is given out as one batch of calls."""

import pytest
from scripts import HEAD, drive

SCRIPT = (
    HEAD
    + """
import asyncio
agents = [AgentNode(f"A{i}", "x") for i in range(3)]
def ask(agent):
    c = Context()
    c.add_message(Message(question, MessageType.USER_INPUT))
    return agent(c).content
async def asked(agent): return ask(agent)
async def main():
    BODY
answers = asyncio.run(main())
print(answers)
Workflow().add_node(agents[0]).run(" ".join(answers))
"""
)
BODIES = {
    "to_thread": "return await asyncio.gather(*[asyncio.to_thread(ask, a) for a in agents])",
    "wait_for": "return await asyncio.gather(*[asyncio.wait_for(asked(a), timeout=60) for a in agents])",
    "tasks": "tasks = [asyncio.create_task(asked(a)) for a in agents]; return [await t for t in tasks]",
    "gathered_tasks": "return await asyncio.gather(*[asyncio.create_task(asked(a)) for a in agents])",
    "nested": "g = asyncio.gather; return sum(await g(g(asked(agents[0])), g(*map(asked, agents[1:]))), [])",
    "group": (
        "async with asyncio.TaskGroup() as g: tasks = [g.create_task(asked(a)) for a in agents]\n"
        "    return [t.result() for t in tasks]"
    ),
    "as_completed": "return [await t for t in asyncio.as_completed([asked(a) for a in agents])]",
    "executor": (
        "loop = asyncio.get_event_loop()\n"
        "    return await asyncio.gather(*[loop.run_in_executor(None, ask, a) for a in agents])"
    ),
}


@pytest.mark.parametrize("name", BODIES)
def test_members_are_one_batch(name):
    run, batches = drive(SCRIPT.replace("BODY", BODIES[name]), lambda call: call.node.lower())
    assert run.printed == "['a0', 'a1', 'a2']\n"
    assert [len(batch) for batch in batches] == [3, 1]


def test_a_task_that_waits_for_itself_is_told_so():
    source = HEAD + (
        "import asyncio\nasync def f(): return await box[0]\nasync def main():\n"
        "    box.append(asyncio.create_task(f()))\n    await box[0]\nbox = []\nasyncio.run(main())"
    )
    run, _ = drive(source, lambda call: "r")
    assert run.result.status == "error" and "Task cannot await on itself" in run.result.reason
