"""Every test of data has a data directory of its own, whatever the user's cache holds."""

import pytest


@pytest.fixture(autouse=True)
def data_directory(tmp_path, monkeypatch):
    """The directory that benchmarks are looked for in, not there yet."""
    monkeypatch.delenv("MXJAX_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "mxjax" / "data"
