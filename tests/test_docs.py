"""Pages of docs/ that are made from the code stay what the code says; MXJAX_WRITE_DOCS=1 writes them anew."""

import collections
import dataclasses
import os
import pathlib

import pytest
from rewards.math_table import SECTIONS

from mxjax import mas
from mxjax.keys import KEYS, sections
from mxjax.mas import load_prompts
from mxjax.mas.prompts import Prompts
from mxjax.rewards import grade_math
from mxjax.script.attributes import METHODS
from mxjax.script.exceptions import EXCEPTIONS
from mxjax.script.library import BUILTINS, MODULES
from mxjax.script.values import BuiltinType, CounterDict, Generator, Set
from mxjax.script.written import Written

DOCS = pathlib.Path(__file__).parent.parent / "docs"

PROMPTS_HEAD = """\
# Prompts

Every text that mxjax adds to a prompt is a field of one record, `mxjax.mas.prompts.Prompts`. A set of them is named
`short` (for a model that was trained on the library), `documented` (for one that never saw it: the designer's system
prompt holds the library on a page), or is a TOML file that overrides fields of `short`; `roles.<role>.prompt` in a
config and `--prompt` of `mxjax evaluate` take any of the three. A checkpoint keeps the file that it was trained with.

| | designer | executor |
|---|---|---|
| math | `designer_system`, `designer_user` | the design's own text, `delivery_math` |
| text | `designer_system`, `designer_user` | the design's own text, `delivery_text` |
| code | `designer_system` with `designer_code`, `designer_user` | the design's own text, `delivery_code` |

What replies are read for is fixed: `<code>` around a script, `<delivery>` around what later agents are shown,
`FINAL ANSWER: \\boxed{...}` for an answer, `<solution>` for a program. `{...}` are places that are filled.

For code the contract is: an agent answers with the whole program in `<solution>`; the last `<solution>` of the message
that the workflow returns is graded (without one, the last Python fence: [programs.md](programs.md)). Examples in the
question's text are seen by every agent, and one that has the tool `python_execute` can run a program on them. Hidden
tests never enter a prompt: they stay with the grader, in another process than the program. Later agents are shown the
`<delivery>` of those before them, so a program that the next agent is to test stands there too; the design at the end
of this page does that.

Files in `configs/prompts/`: `arithmetic.toml` is that of the quickstart; `small_math.toml` and `small_code.toml` are
for general models of a few hundred million parameters.

## `short`
"""
SETTINGS_HEAD = """\
# Settings

Every key of a config with its default, what it may be, and what it means; `mxjax train --help` prints the same table,
`mxjax.keys.KEYS` is where it stands. A config file's `get_config()` starts from `mxjax.config.default_config()` and
sets what differs; `--config.rl.steps=20` changes a key of the file for one run. A key that there is not and a value out
of its range are refused before anything runs.
"""
WRITTEN_BELOW = "<!-- what follows is written by tests/test_docs.py -->\n"


def prompts_page():
    short, documented = load_prompts("short"), load_prompts("documented")
    block = lambda text: f"````text\n{text}\n````" if text else "(empty)"
    parts = [PROMPTS_HEAD]
    for field in dataclasses.fields(Prompts):
        parts.append(f"`{field.name}`\n\n{block(getattr(short, field.name))}\n")
    parts.append("## `documented`\n\nThe same as `short`, but for these.\n")
    for field in dataclasses.fields(Prompts):
        if getattr(short, field.name) != getattr(documented, field.name):
            parts.append(f"`{field.name}`\n\n{block(getattr(documented, field.name))}\n")
    return "\n".join(parts)


def graders_page():
    shown = lambda text: (
        "`` " + text.encode("unicode_escape").decode().replace("|", "\\|").replace("\\\\", "\\") + " ``"
    )
    head = (DOCS / "graders.md").read_text().partition(WRITTEN_BELOW)[0]
    parts = [head + WRITTEN_BELOW]
    for title, rows in SECTIONS.items():
        lines = ["| gold | answer | accepted | how |", "|---|---|---|---|"]
        for gold, answer, accepted in rows:
            verdict = "yes" if accepted else "no"
            lines.append(f"| {shown(gold)} | {shown(answer)} | {verdict} | {grade_math(gold, answer).how} |")
        parts.append(f"## {title}\n\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)


def settings_page():
    cell = lambda text: text.replace("|", "\\|")
    parts = [SETTINGS_HEAD]
    for heading, names in sections():
        lines = [f"## {heading}\n", "| key | default | may be | meaning |", "|---|---|---|---|"]
        for name, key in ((name, KEYS[name]) for name in names):
            lines.append(f"| `{name}` | `{key.default!r}` | {cell(key.range.says)} | {cell(key.meaning)} |")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def script_page():
    head = (DOCS / "script.md").read_text().partition(WRITTEN_BELOW)[0]
    types = {name: value for name, value in BUILTINS.items() if type(value) is BuiltinType}
    functions = [name for name in BUILTINS if name not in types and name not in EXCEPTIONS]
    rows = [("functions", functions), ("types", types), ("exceptions", EXCEPTIONS)]
    methods = {}
    for kind, table in METHODS.items():
        if kind in (str, bytes, int, float, tuple, list, dict, range, collections.deque, CounterDict, Set, Generator):
            name = {CounterDict: "Counter", Set: "set, frozenset", Generator: "generator"}.get(kind, kind.__name__)
            methods[name] = [name for name in table if name[:2] != "__"]
    names = [name for name in MODULES if name[:1] != "_"]
    run = mas.start(mas.check("".join(f"import {name} as m{i}\n" for i, name in enumerate(names))), "")
    modules = {}
    for index, name in enumerate(names):
        mark = " *" if type(MODULES[name]) is Written else ""
        modules[name + mark] = sorted(n for n in run._machine.globals[f"m{index}"].members if n[:1] != "_")
    tables = {
        "Built-in names": ("kind", rows),
        "Methods of built-in types": ("type", sorted(methods.items())),
        "Modules (* written in the language itself)": ("module", sorted(modules.items())),
    }
    parts = [head + WRITTEN_BELOW]
    for title, (first, rows) in tables.items():
        lines = [f"| {first} | names |", "|---|---|"]
        lines += [f"| {name} | {' '.join(f'`{n}`' for n in members)} |" for name, members in rows]
        parts.append(f"### {title}\n\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)


PAGES = [
    ("prompts.md", prompts_page),
    ("graders.md", graders_page),
    ("settings.md", settings_page),
    ("script.md", script_page),
]


@pytest.mark.parametrize(("name", "page"), PAGES)
def test_pages_made_from_the_code_are_up_to_date(name, page):
    if os.environ.get("MXJAX_WRITE_DOCS"):
        (DOCS / name).write_text(page())
    assert (DOCS / name).read_text() == page(), "run MXJAX_WRITE_DOCS=1 python -m pytest tests/test_docs.py"
