"""The modules of the language print what CPython's print, and give the calls of threads and tasks out together."""

import time

import pytest
from scripts import HEAD, cpython, drive, machine, read_snippets

from mxjax import mas
from mxjax.mas.execution import DEADLOCK
from mxjax.script.library import MODULES
from mxjax.script.written import LIBRARY, Written

SNIPPETS = read_snippets("script/modules.txt")


@pytest.mark.parametrize("name", SNIPPETS)
def test_prints_what_cpython_prints(name):
    assert machine(SNIPPETS[name]) == cpython(SNIPPETS[name])


def test_every_file_of_the_library_is_a_module_and_compiles():
    written = {module.path.name: module for module in MODULES.values() if type(module) is Written}
    assert set(written) == {path.name for path in LIBRARY.glob("*.py")}
    for module in written.values():
        assert module.code.ops and set(module.code.lines) == {0}


def test_what_a_script_calls_its_own_does_not_reach_into_a_module():
    source = "len = range = list = isinstance = None\nimport fractions, bisect\n"
    source += "print(fractions.Fraction('1/2') + 1, bisect.bisect([1, 2], 1))"
    assert machine(source) == "3/2 1\n"


def test_a_module_is_made_once_and_belongs_to_one_execution():
    source = "import queue as a\nimport queue as b\nprint(a is b, hasattr(a.Queue, 'mark'))\na.Queue.mark = 1"
    assert machine(source) == machine(source) == "True False\n"


def test_natives_and_helpers_of_modules_are_out_of_reach():
    with pytest.raises(mas.DesignError, match="_native"):
        mas.check("from _native import park")
    assert machine("import time\nprint(hasattr(time, 'park'), hasattr(time, '_EPOCH'))") == "False False\n"


def test_an_error_in_a_module_names_the_line_of_the_script():
    run = mas.start(mas.check("x = 1\nfrom fractions import Fraction\n\ny = Fraction(1, 0)\n"), "q")
    assert run.result.reason == "line 4: ZeroDivisionError: Fraction(1, 0)"


CLOCK = "import time, datetime, uuid\nprint(time.time(), time.perf_counter(), datetime.datetime.now(), uuid.uuid4())"


def test_time_and_identifiers_are_the_same_in_every_run_and_move():
    assert machine(CLOCK, seed=3) == machine(CLOCK, seed=3) != machine(CLOCK, seed=4)
    assert machine("import time\na = time.time()\nprint(time.time() > a)") == "True\n"
    begun = time.monotonic()
    slept = machine("import time\na = time.time()\ntime.sleep(3600)\nprint(3600 < time.time() - a < 3601)")
    assert slept == "True\n" and time.monotonic() - begun < 60


AGENTS = HEAD + (
    "agents = [AgentNode(f'A{i}', 'x') for i in range(4)]\n"
    "def ask(agent):\n"
    "    return agent(Context(messages=[Message(question, MessageType.USER_INPUT)])).content\n"
)
TOGETHER = {
    "map": "from concurrent.futures import ThreadPoolExecutor\n"
    "with ThreadPoolExecutor(max_workers=8) as pool:\n    found = list(pool.map(ask, agents))\n",
    "submit": "import concurrent.futures\n"
    "with concurrent.futures.ThreadPoolExecutor() as pool:\n"
    "    futures = [pool.submit(ask, a) for a in agents]\n"
    "found = [f.result() for f in futures]\n",
    "as_completed": "from concurrent.futures import ThreadPoolExecutor, as_completed\n"
    "with ThreadPoolExecutor() as pool:\n"
    "    names = {pool.submit(ask, a): a.name for a in agents}\n"
    "    found = [f.result() for f in as_completed(names)]\n",
    "threads": "import threading\nfound = [None] * 4\n"
    "def work(i):\n    found[i] = ask(agents[i])\n"
    "threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]\n"
    "for t in threads: t.start()\nfor t in threads: t.join()\n",
    "queue": "import threading, queue\nq, found = queue.Queue(), []\n"
    "for a in agents: q.put(a)\n"
    "def work():\n    while not q.empty():\n        found.append(ask(q.get()))\n"
    "threads = [threading.Thread(target=work) for _ in range(4)]\n"
    "for t in threads: t.start()\nfor t in threads: t.join()\n",
    "workers": "import asyncio\nfound = []\n"
    "async def worker(q):\n    while True:\n        found.append(ask(await q.get()))\n        q.task_done()\n"
    "async def main():\n    q = asyncio.Queue()\n    for a in agents: q.put_nowait(a)\n"
    "    tasks = [asyncio.create_task(worker(q)) for _ in range(4)]\n    await q.join()\n"
    "    for t in tasks: t.cancel()\nasyncio.run(main())\n",
    "semaphore": "import asyncio\nasync def one(s, a):\n    async with s:\n        return ask(a)\n"
    "async def main():\n    s = asyncio.Semaphore(4)\n"
    "    return await asyncio.gather(*[one(s, a) for a in agents])\nfound = asyncio.run(main())\n",
}


@pytest.mark.parametrize("name", TOGETHER)
def test_calls_of_threads_and_tasks_are_one_batch(name):
    source = AGENTS + TOGETHER[name] + "Workflow().add_node(agents[0]).run(' '.join(found))\n"
    run, batches = drive(source, lambda call: call.node.lower())
    assert run.result.status == "ok"
    assert [len(batch) for batch in batches] == [4, 1]
    assert "a0 a1 a2 a3" in batches[1][0].messages[-1]["content"]


def test_a_pool_runs_no_more_at_once_than_it_has_workers():
    source = AGENTS + TOGETHER["map"].replace("8", "2") + "Workflow().add_node(agents[0]).run(' '.join(found))\n"
    _, batches = drive(source, lambda call: call.node)
    assert [len(batch) for batch in batches] == [2, 2, 1]


@pytest.mark.parametrize(
    "source",
    [
        "import queue\nqueue.Queue().get()",
        "import threading\nlock = threading.Lock()\nlock.acquire()\nlock.acquire()",
        "import asyncio\nasyncio.run(asyncio.Event().wait())",
        "import threading\na, b = threading.Event(), threading.Event()\n"
        "t = threading.Thread(target=lambda: (a.wait(), b.set()))\nt.start()\nb.wait()\na.set()",
    ],
)
def test_a_deadlock_ends_the_run_and_says_so(source):
    run = mas.start(mas.check(source), "q")
    assert (run.result.status, run.result.reason) == ("error", DEADLOCK)


def test_threads_that_go_on_for_ever_end_with_the_script_or_meet_a_limit():
    endless = "import threading, time\ndef f():\n    while True: time.sleep(1)\n"
    endless += "t = threading.Thread(target=f, daemon=True)\nt.start()\n"
    assert machine(endless + "print('done')") == "done\n"
    assert machine(endless + "t.join()") == "limit: fuel\n"
