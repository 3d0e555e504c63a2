"""The imports that LiveCodeBench puts before an answer, and LeetCode's node classes.

They stand behind the builtins, so that no name of a program or of Python means another thing because of them.
"""

# ruff: noqa: F401, F403, I001
# mypy: ignore-errors
# Later names take the place of earlier ones, as they do there.
from string import *
from re import *
from datetime import *
from collections import *
from heapq import *
from bisect import *
from copy import *
from math import *
from random import *
from statistics import *
from itertools import *
from functools import *
from operator import *
from io import *
from json import *
from typing import *
import string
import re
import datetime
import collections
import heapq
import bisect
import copy
import math
import random
import statistics
import itertools
import functools
import operator
import io
import sys
import json

try:
    from sortedcontainers import *
except ImportError:  # level C, and where mxjax[code] is not installed
    pass


class ListNode:
    def __init__(self, val=0, next=None):
        self.val, self.next = val, next


class TreeNode:
    def __init__(self, val=0, left=None, right=None):
        self.val, self.left, self.right = val, left, right
