"""The imports that LiveCodeBench puts before an answer, and LeetCode's node classes.

They stand behind the builtins, so that no name of a program or of Python means another thing because of them.
"""

import importlib as _importlib

# "from NAME import *", then "import NAME", each in LiveCodeBench's order: a later name takes the place of an earlier
_FIRST = "string re datetime collections heapq bisect copy math random statistics itertools functools operator io"
_STARRED, _IMPORTED = f"{_FIRST} json typing", f"{_FIRST} sys json"


def _public(name: str) -> dict:
    module = vars(_importlib.import_module(name))
    return {key: module[key] for key in module.get("__all__") or [key for key in module if not key.startswith("_")]}


for _name in _STARRED.split():
    globals().update(_public(_name))
globals().update((_name, _importlib.import_module(_name)) for _name in _IMPORTED.split())

try:
    from sortedcontainers import *  # noqa: F403
except ImportError:  # level C, and where mxjax[code] is not installed
    pass


class ListNode:
    def __init__(self, val=0, next=None):
        self.val, self.next = val, next


class TreeNode:
    def __init__(self, val=0, left=None, right=None):
        self.val, self.left, self.right = val, left, right
