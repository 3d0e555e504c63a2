"""`queue`: queues between threads."""

import _sync
from _sync import Empty, Full


class Queue(_sync.Queue):
    def put(self, item, block=True, timeout=None):
        self.put_in(item, timeout if block else 0)

    def get(self, block=True, timeout=None):
        return self.take(timeout if block else 0)

    def join(self):
        self.wait_finished()


class LifoQueue(_sync.LastIn, Queue):
    pass


class PriorityQueue(_sync.LeastFirst, Queue):
    pass


SimpleQueue = Queue
