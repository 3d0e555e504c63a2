"""One policy and one warm engine for all tests of sampling: compiling is what takes the time."""

import pytest

from mxjax.sampling import Engine
from sampling.toys import PROGRAMS, make_policy


@pytest.fixture(scope="session")
def policy():
    return make_policy()


@pytest.fixture(scope="session")
def warm_engine(policy):
    """4 slots, pages of 16 tokens, 64 tokens in all, chunks of 8 decode steps."""
    engine = Engine(policy, slots=4, page_size=16, max_len=64, decode_steps=8)
    engine.warmup()
    return engine


@pytest.fixture
def engine(warm_engine):
    yield warm_engine
    stats = warm_engine.stats()
    assert stats["live"] == stats["waiting"] == stats["pages_held"] == 0, "a test left requests behind"
    assert stats["compiles"] == PROGRAMS
