"""The libraries that a job may read: all that the interpreter loads, and nothing of other software."""

import os
import pathlib
import sys

import pytest

from mxjax.sandbox import zygotes
from mxjax.sandbox.libraries import shared_libraries

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="levels A and B need Linux")


def test_what_the_interpreter_loads_is_found_with_the_names_that_the_loader_asks_for():
    found = shared_libraries(zygotes._python(), tuple(zygotes._package_folders()))
    with open("/proc/self/maps") as file:
        here = {line[line.index("/") :].strip() for line in file if "/" in line}
    basic = ("libc.so", "libm.so", "libc-")
    own = {os.path.realpath(path) for path in here if pathlib.Path(path).name.startswith(basic)}
    assert own and own <= set(found)
    assert all(os.path.isfile(file) and not os.path.islink(file) for file in found)
    assert all(os.path.realpath(link) == file for file, links in found.items() for link in links)
    loader = [file for file in found if "ld-linux" in file or "ld-musl" in file]
    assert all(any(link.startswith("/") for link in found[file]) or os.path.exists(file) for file in loader)


def test_parts_of_the_standard_library_that_no_program_needs_are_left_out(tmp_path):
    for name in ("site-packages", "dist-packages", "test", "config-3.11-x86", "json", "os.py"):
        (tmp_path / name).touch()
    assert {path.name for path in tmp_path.iterdir() if not zygotes._hidden(path)} == {"json", "os.py"}
