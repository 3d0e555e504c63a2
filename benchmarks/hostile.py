"""What hostile scripts cost, what the language covers, and how often it agrees with CPython: docs/hostile_scripts.md.

Command: python benchmarks/hostile.py [--programs 20000] [--mutants 100000] [--calls 16]
             [--output docs/hostile_scripts.md]
Runs every script of tests/mas/test_hostile.py with the default limits and reads its peak of memory with tracemalloc
(which makes it several times slower); finds in the syntax trees of tests/script/snippets.txt which snippets check what;
compares programs of the fuzzer's grammar with CPython, and counts how mutated scripts end; calls everything in the
language with large, huge and odd arguments (`tests/script/calls.py`), up to `--calls` cases of each. Exits with 1 if a
script or a call takes more than twice its limit of bytes or a call more time than its fuel pays for, or a construct has
no snippet; stops at a program that differs.
"""

import argparse
import ast
import gc
import pathlib
import re
import sys
import tracemalloc

ROOT = pathlib.Path(__file__).parent.parent
sys.path[:0] = [str(path) for path in (ROOT, *(ROOT / "tests" / name for name in ("", "mas", "script")))]

import calls  # noqa: E402
from test_fuzz import compare, run_mutants  # noqa: E402
from test_hostile import CAUGHT, LIMITED, REFUSED, ended  # noqa: E402
from test_language import SNIPPETS  # noqa: E402

from mxjax import mas  # noqa: E402

CATEGORIES = {  # by name, first match
    "regular expressions": "regex|backreference|lookahead|bad_regex|match_string",
    "walks to the host": "dunder|alike|^getattr|hasattr|setattr|frame$|closure$|mro|format_(at|in|map)|percent_key",
    "imports and builtins": "import|eval|exec$|open|input|globals|locals|^id$|^hash$|os_|sys_|typing|enc|makes|derive",
    "changes to what is shared": "shared_(class|exception|type)|message_type|module_member",
    "endless loops": "endless|loop_in|limit_not|huge_range|never_closes",
    "recursion": "recursion|inheritance",
    "integers": "^int_|bigint|integers|power|huge_int|decimal_int",
    "nested and shared structures": "nested_(list|tuple|json|deep|enum)|shared_",
    "strings": "string|format|percent|strip|startswith|search_from|split|textwrap|slices_kept|json_indent|template",
    "agents, prints, exceptions": "flood|print_|gather|ensemble|graph|context|latest|messages|exception",
    "source bombs": "parenth|megabyte|deep_|long_|many_nodes|nested_fstrings|null|surrogate",
}
MODULES = (
    "re",
    "json",
    "math",
    "random",
    "string",
    "textwrap",
    "statistics",
    "itertools",
    "functools",
    "collections",
    "dataclasses",
    "enum",
    "typing",
    "asyncio",
)
NAMES = (
    "sorted", "max", "min", "sum", "any", "all", "zip", "enumerate", "reversed", "map", "filter", "Counter",
    "defaultdict", "deque", "partial", "reduce", "lru_cache", "gather",
)  # fmt: skip
CONSTRUCTS = {
    "functions": lambda n: isinstance(n, ast.FunctionDef),
    "default arguments": lambda n: isinstance(n, ast.arguments) and bool(n.defaults or any(n.kw_defaults)),
    "keyword arguments": lambda n: isinstance(n, ast.Call) and bool(n.keywords),
    "lambdas": lambda n: isinstance(n, ast.Lambda),
    "closures": lambda n: isinstance(n, ast.FunctionDef) and any(isinstance(b, ast.FunctionDef) for b in n.body),
    "inheritance": lambda n: isinstance(n, ast.ClassDef) and bool(n.bases),
    "custom exceptions": lambda n: (
        isinstance(n, ast.ClassDef) and any(re.search("(Error|Exception)$", ast.unparse(base)) for base in n.bases)
    ),
    "comprehensions": lambda n: isinstance(n, ast.ListComp | ast.SetComp | ast.DictComp),
    "generators": lambda n: isinstance(n, ast.Yield | ast.YieldFrom | ast.GeneratorExp),
    "f-strings": lambda n: isinstance(n, ast.JoinedStr),
    "slices": lambda n: isinstance(n, ast.Slice),
    "unpacking": lambda n: isinstance(n, ast.Starred) or (isinstance(n, ast.Tuple) and isinstance(n.ctx, ast.Store)),
    "walrus": lambda n: isinstance(n, ast.NamedExpr),
    "try with except": lambda n: isinstance(n, ast.Try) and bool(n.handlers),
    "try with else": lambda n: isinstance(n, ast.Try) and bool(n.orelse),
    "try with finally": lambda n: isinstance(n, ast.Try) and bool(n.finalbody),
    "with": lambda n: isinstance(n, ast.With),
    "while with else": lambda n: isinstance(n, ast.While) and bool(n.orelse),
    "for with else": lambda n: isinstance(n, ast.For) and bool(n.orelse),
    "match": lambda n: isinstance(n, ast.Match),
    "async and await": lambda n: isinstance(n, ast.AsyncFunctionDef | ast.Await),
    "string methods": lambda n: isinstance(n, ast.Attribute) and n.attr in dir(str),
    "container methods": lambda n: isinstance(n, ast.Attribute) and n.attr in {*dir(list), *dir(dict), *dir(set)},
    **{name: lambda n, name=name: name in (getattr(n, "id", 0), getattr(n, "attr", 0)) for name in NAMES},
    **{
        f"module {name}": lambda n, name=name: (
            (isinstance(n, ast.Import) and any(alias.name == name for alias in n.names))
            or (isinstance(n, ast.ImportFrom) and n.module == name)
        )
        for name in MODULES
    },
}


def category(name):
    """What kind of attack a script is, by its name."""
    found = (kind for kind, names in CATEGORIES.items() if re.search(names, name))
    return next(found, "syntax outside the language" if name in REFUSED else "containers")


def outcome(source):
    """(how a script ends, fuel, peak bytes)."""
    gc.collect()
    tracemalloc.start()
    try:
        result = ended(mas.check(source)).result
        ending = f"{result.status}: {result.reason.split(': ')[-1] if result.status == 'error' else result.reason}"
        fuel = result.fuel
    except mas.DesignError as error:
        ending, fuel = f"refused: {error.kind}", 0
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return ending, fuel, peak


def hostile_rows():
    """One row a script: category, name, ending, fuel, peak bytes; sorted by category."""
    scripts = {name: source for name, (source, _) in (LIMITED | REFUSED).items()} | CAUGHT
    rows = []
    for name, source in scripts.items():
        rows.append((category(name), name, *outcome(source)))
        print(*rows[-1], file=sys.stderr, flush=True)
    return sorted(rows)


def coverage_rows():
    """One row a construct: its name, and the snippets that use it."""
    trees = {name: list(ast.walk(ast.parse(source))) for name, source in SNIPPETS.items()}
    return [
        (what, [name for name, nodes in trees.items() if any(map(test, nodes))]) for what, test in CONSTRUCTS.items()
    ]


def table(head, rows):
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def metering(swept, hung):
    """The section on calls of everything, from the rows of `calls.sweep`."""
    full = [row for row in swept if "full_us" in row]
    time_rows = [
        (row["label"][:90], f"{row['us']:.2f}", f"{row['full_us']:.2f}") for row in calls.worst(full, "full_us")
    ]
    memory_rows = [
        (row["label"][:90], f"{row['mb']:.1f}", f"{row['full_mb']:.1f}") for row in calls.worst(full, "full_mb")
    ]
    return [
        "## Calls of everything",
        f"{len(swept):,} calls of {len({row['target'] for row in swept}):,} functions, methods, properties and "
        "operators, as `tests/script/calls.py` finds them in the interpreter's tables, each with large, huge and odd "
        "arguments: called again and again for a few milliseconds, then with every result kept alive. The law: at most "
        f"{calls.LAW_US:.0f} us of a quiet core a unit of fuel, and a peak of {calls.LAW_MB:.0f} MB. The worst of both "
        "ran in full, under the default limits, once for time and once for memory. "
        f"Ended because they hang: {', '.join(hung) if hung else 'none'}.",
        "Fuel bounds the interpreter's own time. What agents and host tools take is theirs: it is bounded by "
        "`agent_calls` and `tool_calls`, and by the time limit of each tool.",
        table(["worst for time", "us a unit, screened", "us a unit, whole run"], time_rows),
        table(["worst for memory", "MB, estimated", "MB, whole run"], memory_rows),
    ]


def document(rows, covered, programs, limited, endings, swept, hung):
    """The text of docs/hostile_scripts.md: rows as above, programs compared and limited, ends of mutants, the sweep."""
    limit, worst = mas.Limits().live_bytes, max(row[4] for row in rows)
    scripts = [(kind, name, ending[:60], f"{fuel:,}", f"{peak / 1e6:.2f}") for kind, name, ending, fuel, peak in rows]
    snippets = [(what, len(names), ", ".join(names[:3])) for what, names in covered]
    parts = [
        "# Hostile scripts, coverage and fuzzing of the script language",
        "Written by `python benchmarks/hostile.py --output docs/hostile_scripts.md`; what it is for: "
        "[safety.md](safety.md).",
        "## Hostile scripts",
        f"{len(rows)} scripts with the default limits. The largest peak of memory is {worst / 1e6:.1f} MB, "
        f"{worst / limit:.2f} times `live_bytes` ({limit / 1e6:.0f} MB); the bar is 2.",
        table(["category", "script", "outcome", "fuel", "peak MB"], scripts),
        *metering(swept, hung),
        "## Coverage",
        f"{len(SNIPPETS)} snippets print what CPython prints (`tests/script/snippets.txt`). How many use each "
        "construct, and the first three of them:",
        table(["construct", "snippets", "for example"], snippets),
        "## Fuzzing",
        f"{programs:,} programs of the grammar in `tests/script/programs.py`: {programs - limited:,} print what "
        f"CPython prints, {limited:,} end at a limit of ours, none differs.",
        f"{sum(endings.values()):,} mutated scripts end as: "
        + ", ".join(f"{n:,} {how}" for how, n in endings.items())
        + ".",
    ]
    return "\n\n".join(parts) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", type=int, default=20_000)
    parser.add_argument("--mutants", type=int, default=100_000)
    parser.add_argument("--calls", type=int, default=16)
    parser.add_argument("--output", default="")
    args = parser.parse_args()
    mas.start(mas.check("x = 1"), "q")
    rows, covered = hostile_rows(), coverage_rows()
    swept, hung = calls.sweep(most=args.calls)
    limited = compare(range(1000, 1000 + args.programs))
    endings = run_mutants(args.mutants, seed=2)
    text = document(rows, covered, args.programs, limited, dict(sorted(endings.items())), swept, hung)
    if args.output:
        pathlib.Path(args.output).write_text(text)
    else:
        print(text)
    over = any(row[4] > 2 * mas.Limits().live_bytes for row in rows) or calls.over(swept) or hung
    return int(bool(over) or not all(names for _, names in covered))


if __name__ == "__main__":
    sys.exit(main())
