"""From what a designer wrote to a program: finding the script, checking it, its shape, and the prompts around it."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripts import HEAD, cpython, machine

from mxjax import mas
from mxjax.script import lexer

SCRIPT = "from workflow import *\nWorkflow().add_node(AgentNode('A', 'x')).run(question)\n"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"Pattern: x\n<code>\n```python\n{SCRIPT}```\n</code>\nBye", SCRIPT),
        (f"<code>\n{SCRIPT}</code>", SCRIPT),
        (f"<code>x = 1</code> then <code>```py\n{SCRIPT}```</code>", SCRIPT),
        (f"```python\ny = 2\n```\n<code>{SCRIPT}</code>\n```python\nz = 3\n```", SCRIPT),
        (f"```python\ny = 2\n```\nand\n```python\n{SCRIPT}```", SCRIPT),
        (f"```\ny = 2\n```\nand\n```\n{SCRIPT}```", SCRIPT),
        (f"```\nplain\n``` and ```python\n{SCRIPT}```", SCRIPT),
        (f"Here it is:\n{SCRIPT}", SCRIPT),
        (f"```python\n{SCRIPT}", SCRIPT),
        (f"<code>\n```python\n{SCRIPT}", SCRIPT),
        (f"<code>```python\r\n{SCRIPT}```</code>", SCRIPT),
    ],
)
def test_the_script_is_found(text, found):
    assert mas.parse_design(text) == found


@pytest.mark.parametrize(
    "text", ["", "no code", "from workflow import x", "<code></code>", "```python\n```", "\0", None, 5, "\ud800"]
)
def test_no_script_is_a_design_error(text):
    with pytest.raises(mas.DesignError) as caught:
        mas.parse_design(text)
    assert caught.value.kind == "missing"


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=200), st.lists(st.sampled_from(
    ["f'", "'", '"', "{", "}", "\\", "x", "\n", "  ", "def f(", "):", "if ", "[", "]", "lambda:", "=", "*", "class C",
     "\\N{", "\\x", "#",      "f'''", "{x!r", ":>{", "}}", "import re", "from workflow import *", "yield", "await ",
     "match x:", "case ", "@", "->", "0x", "1e", "__s0__"]
), max_size=40).map("".join)))  # fmt: skip
def test_any_text_is_a_design_or_a_design_error(text):
    for function in (mas.parse_design, mas.check):
        try:
            result = function(text)
        except mas.DesignError as error:
            assert error.line >= 1 and error.column >= 1 and error.kind and error.reason
        else:
            assert isinstance(result, str | mas.CheckedDesign)


@pytest.mark.parametrize(
    ("source", "line", "column", "kind"),
    [
        ("x = 1\ny = (\n", 2, 5, "syntax"),
        ("match {}:\n  case {1: a, True: b}: pass", 2, 8, "syntax"),
        ("x = 1\nimport socket", 2, 1, "import"),
        ("if 1:\n    y = a.__dict__.__globals__", 2, 9, "forbidden"),
        ("s = '\\boxed \\frac'; t = a.__code__", 1, 25, "forbidden"),
        ("def f():\n  pass\nz = b'1'", 3, 5, "unsupported"),
    ],
)
def test_errors_carry_their_place_in_the_original_source(source, line, column, kind):
    with pytest.raises(mas.DesignError) as caught:
        mas.check(source)
    assert (caught.value.line, caught.value.column, caught.value.kind) == (line, column, kind)


def test_an_optional_import_is_no_error():
    assert (
        machine("try:\n    import numpy\nexcept ImportError as e:\n    print('no', e)")
        == "no No module named 'numpy'\n"
    )


def test_warnings():
    assert any("run()" in warning for warning in mas.check("x = 1").warnings)
    assert mas.check(SCRIPT).warnings == ()


# The lexer


@pytest.mark.parametrize(
    ("literal", "text"),
    [
        (r"'\boxed{1}'", r"\boxed{1}"),
        (r"'\frac{a}{b} \vec x \alpha \beta'", r"\frac{a}{b} \vec x \alpha \beta"),
        (
            r"'\neq \nabla \rho \times \theta \text{x} \to \right'",
            r"\neq \nabla \rho \times \theta \text{x} \to \right",
        ),
        (r"'\nNext \ttab \rx'", "\nNext \ttab \rx"),
        (r"'\sqrt{2} \( \) \{ \} \% \d'", r"\sqrt{2} \( \) \{ \} \% \d"),
        (r"'\xi \unit \Upsilon \Nabla'", r"\xi \unit \Upsilon \Nabla"),
        (r"'\x41 \u0041 \N{BULLET} \101 \0'", "A A \u2022 A \0"),
        (r"'\\boxed \' \" \a \b1'", "\\boxed ' \" \a \b1"),
        (r"r'\n\d'", r"\n\d"),
        ("'a\\\nb'", "ab"),
        (r"'''\boxed{" + "\n" + r"}'''", "\\boxed{\n}"),
        (r"f'\boxed{{{1 + 1}}} \frac'", r"\boxed{2} \frac"),
        (r"rf'\d{1}'", r"\d1"),
        (r"'\n'", "\n"),
        (r"'a' '\beta'", r"a\beta"),
    ],
)
def test_latex_keeps_its_backslashes(literal, text):
    assert machine(f"print({literal} == {text!r}, len({literal}))") == f"True {len(text)}\n"


@pytest.mark.parametrize(
    ("source", "printed"),
    [
        ("""d = {"a": [1]}\nprint(f"{d["a"][0]} {"x"}")""", "1 x"),
        ("""xs = ["a", "b"]\nprint(f"{'\\n'.join(xs)}|")""", "a\nb|"),
        ("""x = 1\nprint(f"{f"{f"{x}"}"}")""", "1"),
        ("""print(f'{"}"}{":"}{'{'}')""", "}:{"),
        ("""w = 5\nprint(f"{"ab":>{w}}|{1.5:{"."}2f}")""", "   ab|1.50"),
        ("""x = {'k': 2}\nprint(f"{x['k']!r:>3}{{}}{x['k'] + 1}")""", "  2{}3"),
        ("""print(f"{(lambda s: s + "!")("a")} {[c for c in "xy"]}")""", "a! ['x', 'y']"),
        ("""print(f"{"a" if 1 != 2 else "b"}", f"{3 > 2}")""", "a True"),
        ("""print("it's", f"it's {1}", f'{"it's"}')""", "it's it's 1 it's"),
        ("""print(f"{'é' * 2}{'\\u00e9'}")""", "ééé"),
    ],
)
def test_fstrings_have_the_grammar_of_3_12(source, printed):
    assert machine(source) == printed + "\n"


def test_sums_of_floats_are_those_of_3_12():
    assert machine("print(sum([0.1] * 10), sum([1e16, 1.0, -1e16]), sum([0.1, 1, 0.2]))") == "1.0 1.0 1.3\n"


def test_comments_and_names_are_left_alone():
    source = "x = 1  # it's f'{' \\boxed\nf_r = 2\nprint(x, f_r)  # '''\n"
    assert lexer.rewrite(source).text == source
    assert machine(source) == cpython(source)


def test_sets_keep_the_order_of_insertion():
    assert (
        machine("print({'b', 'a', 'c'}, set('hello'), list({3, 1, 2}))")
        == "{'b', 'a', 'c'} {'h', 'e', 'l', 'o'} [3, 1, 2]\n"
    )


# The shape of a design

PIECES = HEAD + "a, b = AgentNode('A', 'first'), AgentNode('B', 'second')\n"


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ("Workflow().add_node(AgentNode('Z', 'z')).run(question)", "single"),
        ("w = Workflow()\nw.add_node(a)\nw.add_node(b)\nw.run(question)", "pipeline"),
        ("Workflow().add_node(EnsembleNode('E', [a, b], 'majority_vote')).run(question)", "vote"),
        (
            "Workflow().add_node(EnsembleNode('E', [a, b], strategy='consensus', consensus_agent=a)).run(question)",
            "consensus",
        ),
        ("Workflow().add_node(ReflectionNode('R', a, critic_agent=b)).run(question)", "reflection"),
        ("Workflow().add_node(DebateNode('D', [a, b])).run(question)", "debate"),
        ("Workflow().add_node(RouterNode('R', {'default': a}, lambda c: 'x')).run(question)", "router"),
        ("g = AgentGraph('g')\ng.add_node('a', a)\ng.run(question)", "graph"),
        ("class N(WorkflowNode):\n    pass\nWorkflow().add_node(N('n')).run(question)", "custom"),
        ("Workflow().add_node(DebateNode('D', [a, b])).add_node(ReflectionNode('R', a)).run(question)", "custom"),
    ],
)
def test_pattern(body, name):
    source = HEAD + body if name == "single" else PIECES + body
    assert mas.pattern(mas.check(source)) == name


def test_graph_of_a_workflow():
    body = (
        "j = AgentNode('J', 'judge' + ' it')\n"
        "e = EnsembleNode('E', [a, b], 'majority_vote', consensus_agent=j)\n"
        "Workflow().add_node(e).add_node(AgentNode('Z', f'end {question}')).run(question)"
    )
    found = mas.graph(mas.check(PIECES + body))
    assert [(node.name, node.kind, node.prompt) for node in found.nodes] == [
        ("A", "AgentNode", "first"), ("B", "AgentNode", "second"), ("J", "AgentNode", "judge it"),
        ("E", "EnsembleNode", ""),
        ("Z", "AgentNode", "end {...}"),
    ]  # fmt: skip
    assert {(edge.source, edge.target, edge.kind) for edge in found.edges} == {
        ("A", "E", "certain"), ("B", "E", "certain"), ("A", "J", "conditional"), ("B", "J", "conditional"),
        ("J", "E", "conditional"), ("E", "Z", "certain"),
    }  # fmt: skip


def test_graph_marks_conditions_and_loops():
    body = (
        "g = AgentGraph('g')\n"
        "g.add_node('a', a)\n"
        "g.add_node('b', b)\n"
        "g.add_edge('a', 'b')\n"
        "g.add_edge('b', 'a', condition=lambda c: True)\n"
        "g.run(question)"
    )
    edges = mas.graph(mas.check(PIECES + body)).edges
    assert [(edge.source, edge.target, edge.kind) for edge in edges] == [("A", "B", "certain"), ("B", "A", "loop")]
    edges = mas.graph(
        mas.check(PIECES + "w = ConditionalWorkflow()\nw.add_node(a)\nw.add_node(b, lambda c: True)\nw.run(question)")
    ).edges
    assert [edge.kind for edge in edges] == ["conditional"]
    edges = mas.graph(
        mas.check(PIECES + "Workflow().add_node(ReflectionNode('R', a, critic_agent=b)).run(question)")
    ).edges
    assert {(edge.source, edge.target, edge.kind) for edge in edges} >= {("A", "B", "certain"), ("B", "A", "loop")}


# Prompts


def test_designer_messages_are_filled_literally_and_once():
    prompts = mas.Prompts(designer_system="S {task_type} {other}", designer_user="Q: {question} {{x}} {0}")
    assert mas.designer_messages("what is {task_type} {question}?", "math", prompts) == [
        {"role": "system", "content": "S math {other}"},
        {"role": "user", "content": "Q: what is {task_type} {question}? {{x}} {0}"},
    ]


def test_named_prompts():
    short, documented = mas.load_prompts("short"), mas.load_prompts("documented")
    assert short == mas.Prompts()
    text = "".join(message["content"] for message in mas.designer_messages("Q?", "code", documented))
    assert "code" in text and "EnsembleNode" in text and "Q?" in text
    mas.check(mas.parse_design(documented.designer_system))


def test_prompt_files_override_fields(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text('designer_system = ""\ndesigner_user = "q {question}"\ndelivery_math = " box"\n')
    prompts = mas.load_prompts(path)
    assert (prompts.delivery_math, prompts.consensus) == (" box", mas.Prompts().consensus)
    assert mas.designer_messages("2+2", "math", prompts) == [{"role": "user", "content": "q 2+2"}]
    path.write_text('delivry_math = "x"\n')
    with pytest.raises(ValueError, match="delivry_math"):
        mas.load_prompts(path)
    path.write_text("delivery_math = 5\n")
    with pytest.raises(ValueError, match="must be a string"):
        mas.load_prompts(path)


def test_every_text_an_agent_sees_comes_from_the_prompts():
    blank = mas.Prompts(**{field.name: "" for field in dataclasses.fields(mas.Prompts)})
    source = HEAD + (
        "a = [AgentNode(n, '') for n in 'AB']\nw = Workflow()\n"
        "w.add_node(EnsembleNode('E', a, 'consensus', consensus_agent=a[0]))\n"
        "w.add_node(ReflectionNode('R', a[0], 1))\n"
        "w.add_node(DebateNode('D', a, num_rounds=2))\nw.run(question)"
    )
    seen = []
    result = mas.run(source, "q", lambda messages: seen.append(messages) or "r", prompts=blank)
    assert result.status == "ok"
    assert len(seen) == 11 and all(messages == [] for messages in seen)


def test_limits_are_checked():
    with pytest.raises(ValueError, match="fuel"):
        mas.Limits(fuel=-1)
    with pytest.raises(ValueError, match="depth"):
        mas.Limits(depth=1.5)
