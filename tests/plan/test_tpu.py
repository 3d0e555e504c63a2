"""Slices by the names that Google Cloud gives them."""

import pytest

from mxjax.plan.tpu import CHIPS, Slice, parse_slice


@pytest.mark.parametrize(
    ("name", "slice_", "hosts"),
    [
        ("v5e:8x8", "v5e:8x8", 16),
        ("v5litepod-1", "v5e:1x1", 1),
        ("v5litepod-4", "v5e:2x2", 1),
        ("v5litepod-8", "v5e:2x4", 1),
        ("v5litepod-16", "v5e:4x4", 4),
        ("v6e-8", "v6e:2x4", 1),
        ("v5litepod-64", "v5e:8x8", 16),
        ("v5litepod-128", "v5e:8x16", 32),
        ("V6e-32", "v6e:4x8", 8),
        ("v6e-256", "v6e:16x16", 64),
        ("v5p-8", "v5p:2x2x1", 1),
        ("v5p-16", "v5p:2x2x2", 2),
        ("v5p-32", "v5p:2x2x4", 4),
        ("v5p-128", "v5p:4x4x4", 16),
        ("v5p-1024", "v5p:8x8x8", 128),
    ],
)
def test_topologies_and_accelerator_types(name, slice_, hosts):
    found = parse_slice(name)
    assert (str(found), found.hosts) == (slice_, hosts)
    assert found.host.chips * found.hosts == found.chips
    assert parse_slice(str(found)) == found


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("v9-8", "no known slice"),
        ("v5e", "no known slice"),
        ("8x8", "no known slice"),
        ("v5e:8x8x8", "2 dimensions, such as v5e:2x2"),
        ("v5p:8x8", "3 dimensions, such as v5p:2x2x1"),
        ("v5e:0x8", "2 dimensions"),
        ("v5litepod-12", "1, 2, 4"),
        ("v5p-9", "2, 4, 8"),
    ],
)
def test_other_names_are_one_sentence(name, message):
    with pytest.raises(ValueError, match=message):
        parse_slice(name)


def test_without_the_compiler_the_sentence_has_the_command(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'mxjax\[plan\]'"):
        Slice("v5e", (2, 2)).devices()


def test_every_kind_has_a_host_of_its_dimensions():
    for kind, chip in CHIPS.items():
        assert Slice(kind, chip.host).hosts == 1


def test_the_slices_that_are_offered_have_names():
    """One chip, one host, and doublings, up to the largest; each is an accelerator type that is known."""
    assert CHIPS["v5e"].sizes == CHIPS["v6e"].sizes == [1, 4, 8, 16, 32, 64, 128, 256]
    assert CHIPS["v5p"].sizes[:3] == [4, 8, 16] and CHIPS["v5p"].sizes[-1] == 4096
    for kind, chip in CHIPS.items():
        assert [parse_slice(f"{kind}-{size * chip.cores}").chips for size in chip.sizes] == chip.sizes
