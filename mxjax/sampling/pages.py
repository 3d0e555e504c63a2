"""Allocation of the KV cache's pages.

It keeps reference counts, finds prefixes by their exact ids, and decides what is evicted first. Host only: it knows
neither JAX nor what a page holds, so that every attention backend shares one policy. A page is `size` consecutive
tokens; its contents are a function of all ids up to its end, so those ids are its key.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np


@dataclasses.dataclass(eq=False)
class _Node:
    """A page whose content is known.

    `entries` are the places where it is found, `children` what continues it.
    """

    page: int
    children: dict[bytes, _Node] = dataclasses.field(default_factory=dict)
    entries: list[tuple[dict[bytes, _Node], bytes]] = dataclasses.field(default_factory=list)


class Pages:
    """The pages `ids`, of `size` tokens each.

    A page is free, held (by one request or several), or idle: known by its ids but held by no request, kept until the
    room is needed, the longest unused first. Who holds a known page holds all that come before it, and lets go of the
    last first; so the oldest idle page is never one that another continues.
    """

    def __init__(self, ids: Sequence[int], size: int):
        self.size, self.count = size, len(ids)
        self._free = list(reversed(ids))
        self._holders: collections.Counter[int] = collections.Counter()
        self._known: dict[int, _Node] = {}
        self._idle: collections.OrderedDict[int, None] = collections.OrderedDict()
        self._root: dict[bytes, _Node] = {}

    @property
    def held(self) -> int:
        """How many pages requests hold."""
        return self.count - self.available

    @property
    def available(self) -> int:
        """How many pages `take` could give."""
        return len(self._free) + len(self._idle)

    def holders(self, page: int) -> int:
        """How many requests hold `page`."""
        return self._holders[page]

    # Holding

    def take(self, count: int) -> list[int] | None:
        """Take `count` pages of unknown content, held once.

        Returns None, and changes nothing, if there are too few.
        """
        if count > self.available:
            return None
        while len(self._free) < count:
            page, _ = self._idle.popitem(last=False)
            self._forget(page)
            self._free.append(page)
        taken = [self._free.pop() for _ in range(count)]
        self.hold(taken)
        return taken

    def hold(self, pages: Iterable[int]) -> None:
        """Add one holder to each page."""
        for page in pages:
            self._holders[page] += 1
            self._idle.pop(page, None)

    def release(self, pages: Sequence[int]) -> None:
        """Remove one holder from each page of a table, the last first."""
        for page in reversed(pages):
            self._holders[page] -= 1
            if not self._holders[page]:
                del self._holders[page]
                if page in self._known:
                    self._idle[page] = None
                else:
                    self._free.append(page)

    # Knowing

    def _keys(self, ids: np.ndarray) -> list[bytes]:
        return [ids[start : start + self.size].tobytes() for start in range(0, len(ids), self.size)]

    def match(self, ids: np.ndarray) -> list[int]:
        """Known pages of the longest prefix of `ids` int32.

        The prefix is cut into pieces of `size`. The last piece may be shorter, and is then found only under exactly
        these ids: its page may hold more behind them, so it must be copied, not shared.
        """
        children, found = self._root, []
        for key in self._keys(ids):
            if key not in children:
                break
            found.append(children[key].page)
            children = children[key].children
        return found

    def publish(self, ids: np.ndarray, table: Sequence[int]) -> None:
        """Make the pages of `table` known as those of `ids` int32.

        The caller holds these pages. Where other pages are already known for the same ids, those stay.
        """
        children = self._root
        for key, page in zip(self._keys(ids), table):
            if key not in children:
                node = self._known.setdefault(page, _Node(page))
                node.entries.append((children, key))
                children[key] = node
            if children[key].page != page:
                break
            children = children[key].children

    def unpublish(self, pages: Sequence[int]) -> None:
        """Make the last pages of a table unknown again."""
        for page in reversed(pages):
            if page in self._known:
                self._forget(page)

    def _forget(self, page: int) -> None:
        for children, key in self._known.pop(page).entries:
            del children[key]
