"""Test setup: the CPU backend with eight devices, and one compilation cache for the tests and their processes."""

import atexit
import os
import shutil
import tempfile

import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")
if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="mxjax-compiled-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "0")


@pytest.fixture(scope="module", params=["A", "B"])
def box(request):
    """A sandbox of level A, then one of level B."""
    from support import sandbox  # here, so that the environment above is set first

    with sandbox(request.param) as made:
        yield made


def pytest_terminal_summary(terminalreporter):
    """Counts the tests that no sandbox of level A could run, since a machine without it shows less."""
    skipped = [r for r in terminalreporter.stats.get("skipped", ()) if "level A is not available" in str(r.longrepr)]
    if skipped:
        terminalreporter.write_line(
            f"{len(skipped)} tests need sandbox level A, which is not available here: `make system-deps` installs it"
        )
