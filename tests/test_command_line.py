"""The command line of a record: whole, quoted, and that of whoever runs."""

import shlex
import subprocess
import sys

import pytest
from runs import ROOT

from mxjax.command_line import command_line, running

ARGUMENTS = ["train", "--config", "my configs/a.py", "--config.init=it's; rm -rf $HOME", "--workdir", "x" * 5000, ""]


def test_a_verb_that_is_called_is_shown_with_its_own_arguments():
    before = command_line()
    with running(ARGUMENTS):
        with running(["report", "a b"]):
            assert command_line() == "mxjax report 'a b'"
        said = subprocess.run(["bash", "-c", f"mxjax() {{ printf '%s\\0' \"$@\"; }}; {command_line()}"],
                              stdout=subprocess.PIPE, check=True, text=True).stdout  # fmt: skip
        assert said.split("\0")[:-1] == ARGUMENTS  # pasted back, it is the same
    assert command_line() == before


SHOW = "from mxjax.command_line import command_line; print(command_line())"


@pytest.mark.parametrize("name", ["mxjax", "__main__.py"])
def test_the_installed_command_and_the_module_are_both_mxjax(name, monkeypatch):
    monkeypatch.setattr(sys, "argv", [f"/somewhere/{name}", "plan", "a b"])
    assert command_line() == "mxjax plan 'a b'"


def test_a_program_of_the_users_is_shown_as_it_was_started(tmp_path):
    script = tmp_path / "my script.py"
    script.write_text(SHOW)
    started = [sys.executable, str(script), "--x", "1 2"]
    said = subprocess.check_output(started, text=True, env={"PYTHONPATH": str(ROOT)})
    assert shlex.split(said) == started
