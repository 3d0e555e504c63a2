"""What becomes one sentence, and what keeps its traceback."""

import ast

import pytest
from runs import ROOT

from mxjax import cli, mas, run
from mxjax.config import default_config
from mxjax.data import load_questions
from mxjax.errors import FileError, MissingFile, MissingPackage, UserError, file_errors, place_of
from mxjax.workdir import Workdir

PACKAGE = ROOT / "mxjax"
READ_SETTINGS = ("*.py", "data/*.py", "evaluation/*.py", "models/*.py", "plan/*.py", "report/*.py")
NO_SETTINGS = {  # what these raise is caught where they are called, or is a fault of the caller
    "checkpoint.py", "data/arithmetic.py", "data/pools.py", "data/readers.py", "evaluation/statistics.py",
    "models/chat_template.py", "plan/hlo.py",
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "builtin"), [(MissingFile, FileNotFoundError), (FileError, OSError), (MissingPackage, ImportError)]
)
def test_users_of_the_library_may_expect_the_builtin_exceptions(kind, builtin):
    error = kind("runs/a has no step 3")
    assert isinstance(error, UserError | ValueError) and isinstance(error, builtin)
    assert str(error) == "runs/a has no step 3"


def test_what_reads_settings_and_files_raises_nothing_that_would_look_like_a_fault():
    plain = {"ValueError", "OSError", "FileNotFoundError", "ImportError", "TypeError"}
    found = []
    for path in (path for pattern in READ_SETTINGS for path in PACKAGE.glob(pattern)):
        name = str(path.relative_to(PACKAGE))
        if name in NO_SETTINGS:
            continue
        raised = [node.exc for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Raise)]
        calls = [exc.func.id for exc in raised if isinstance(exc, ast.Call) and isinstance(exc.func, ast.Name)]
        found += [f"{name} raises {call}: take a UserError of mxjax.errors" for call in calls if call in plain]
    assert not found


@pytest.mark.parametrize("kind", [TypeError, ValueError, KeyError, OSError, ImportError])
def test_a_bug_of_ours_keeps_its_traceback(kind, monkeypatch, tmp_path):
    def buggy(*args, **kwargs):
        raise kind("object of type 'NoneType' has no len()")

    script = tmp_path / "design.py"
    script.write_text("x = 1\n")
    monkeypatch.setattr(mas, "check", buggy)
    with pytest.raises(kind, match="NoneType") as caught:
        cli.main(["design", "show", str(script)])
    assert not isinstance(caught.value, UserError)
    monkeypatch.setattr(run, "make_mesh", buggy)
    with pytest.raises(kind, match="NoneType") as caught:
        run.Run(default_config(), "train", Workdir(tmp_path))
    assert not isinstance(caught.value, UserError)


def test_a_file_that_cannot_be_opened_is_named():
    with pytest.raises(FileError, match=r"^cannot read runs/x: Is a directory$"), file_errors("read", "runs/x"):
        ROOT.read_text()
    with pytest.raises(MissingFile, match=r"^no step 3$"), file_errors("read", "runs/x"):
        raise MissingFile("no step 3")


TASK = """from mxjax.rollout import Question, Task

def golds(n):
    return {0: "1"}[n]

def make():
    return Task([Question(str(n), f"{n} + 1", gold=golds(n)) for n in range(2)])

def lazy():
    return Task(lambda split, seed: [len(None)])
"""


@pytest.mark.parametrize(
    ("function", "says"),
    [
        ("make", r"make\(\) fails with KeyError: 1 \(.*faulty_task.py, line 4, in golds\)"),
        ("lazy", r"its Task.questions fails with TypeError: object .* \(.*faulty_task.py, line 10, in <lambda>\)"),
    ],
)
def test_a_fault_of_a_users_task_names_its_line(function, says, tmp_path, monkeypatch):
    (tmp_path / "faulty_task.py").write_text(TASK)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=says):
        load_questions(f"faulty_task:{function}", size=1)


def test_the_place_of_a_fault_is_the_users_code_not_a_librarys():
    def mine():
        return ast.literal_eval("(")

    with pytest.raises(SyntaxError) as caught:
        mine()
    assert place_of(caught.value) == "<unknown>, line 1"
    with pytest.raises(ValueError, match="malformed") as caught:
        ast.literal_eval("f()")
    assert __file__ in place_of(caught.value) and "in test_the_place" in place_of(caught.value)
    assert place_of(ValueError("never raised")) == ""
