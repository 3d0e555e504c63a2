"""The page policy against a record of what every page holds, over random lives of requests."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mxjax.sampling.pages import Pages

SIZE, COUNT = 4, 9
array = lambda ids: np.array(ids, np.int32)
texts = st.lists(st.integers(0, 1), max_size=20)  # few ids, so that prefixes meet
actions = st.one_of(
    st.tuples(st.just("begin"), texts), st.tuples(st.just("end"), st.integers(0, 9)),
    st.tuples(st.just("extend and end"), texts),
)  # fmt: skip


class Record:
    """Requests that use `Pages` as the engine does, and what each page holds since it was taken last."""

    def __init__(self):
        self.pages = Pages(range(10, 10 + COUNT), SIZE)
        self.content: dict[int, list[int]] = {}
        self.tables: list[tuple[list[int], list[int]]] = []

    def begin(self, ids):
        known = self.pages.match(array(ids))
        for index, page in enumerate(known):
            end = min((index + 1) * SIZE, len(ids))
            assert self.content[page][:end] == ids[:end], "a page was found under ids that are not its own"
        full = len(ids) // SIZE
        shared, copied = known[:full], known[full:]
        before = self.pages.available, self.pages.held
        self.pages.hold(known)
        fresh = self.pages.take(full + 1 - len(shared))
        if fresh is None:
            self.pages.release(known)
            assert (self.pages.available, self.pages.held) == before
            return
        assert not set(fresh) & {page for table, _ in self.tables for page in table}
        table = shared + fresh
        for page in fresh:
            self.content[page] = ids
        self.pages.publish(array(ids), table)
        self.pages.release(copied)
        self.tables.append((table, ids))

    def end(self, place, more=()):
        if self.tables:
            table, ids = self.tables.pop(place % len(self.tables))
            ids = (ids + list(more))[: len(table) * SIZE]
            first_written = (len(ids) - len(more)) // SIZE
            for page in table[max(first_written, 0) :]:
                if self.pages.holders(page) == 1 and self.content[page] == ids[: len(self.content[page])]:
                    self.content[page] = ids
            if more:
                self.pages.publish(array(ids[: len(ids) // SIZE * SIZE]), table)
            self.pages.release(table)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.lists(actions, max_size=60))
def test_a_page_is_found_only_under_the_ids_that_it_holds(sequence):
    record = Record()
    for kind, value in sequence:
        if kind == "begin":
            record.begin(value)
        elif kind == "end":
            record.end(value)
        else:
            record.end(0, value)
        held = {page for table, _ in record.tables for page in table}
        assert record.pages.held == len(held)
        assert all(record.pages.holders(page) == sum(page in t for t, _ in record.tables) for page in held)
    while record.tables:
        record.end(0)
    assert record.pages.held == 0 and record.pages.available == COUNT
    taken = record.pages.take(COUNT)
    assert sorted(taken) == list(range(10, 10 + COUNT))
    assert record.pages.match(array([0] * SIZE)) == record.pages.match(array([1] * SIZE)) == []


def test_the_longest_unused_goes_first_and_the_end_of_a_prefix_before_its_beginning():
    pages = Pages(range(4), SIZE)
    old, new = array([1] * 8), array([2] * 8)
    for ids in (old, new):
        table = pages.take(2)
        pages.publish(ids, table)
        pages.release(table)
    again = pages.match(old)
    pages.hold(again)
    pages.release(again)
    pages.take(1)
    assert (len(pages.match(old)), len(pages.match(new))) == (2, 1)
    pages.take(2)
    assert (len(pages.match(old)), len(pages.match(new))) == (1, 0)
    assert pages.take(2) is None and pages.available == 1


def test_the_tail_of_a_prompt_is_found_for_the_same_prompt_only():
    pages = Pages(range(9), SIZE)
    table = pages.take(2)
    pages.publish(array([1, 2, 3, 4, 5, 6]), table)
    assert pages.match(array([1, 2, 3, 4, 5, 6])) == table
    for other in ([1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6, 7], [1, 2, 3, 4, 5, 7], [1, 2, 3, 4]):
        assert pages.match(array(other)) == table[:1]
    assert pages.match(array([1, 2, 3, 5])) == pages.match(array([])) == []
    pages.unpublish(table[1:])
    assert pages.match(array([1, 2, 3, 4, 5, 6])) == table[:1]
    pages.release(table)
    assert pages.available == 9
