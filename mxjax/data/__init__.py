"""Questions for training and testing.

Each set is a pure function of its spec and seed, and test texts are kept out of training.
"""

from mxjax.data.benchmarks import load_benchmark
from mxjax.data.identity import normalise_text, texts_of
from mxjax.data.pools import Pools, QuestionStream, disjoint_pools, held_out
from mxjax.data.sources import Task, load_questions, load_task

__all__ = [
    "Pools",
    "QuestionStream",
    "Task",
    "disjoint_pools",
    "held_out",
    "load_benchmark",
    "load_questions",
    "load_task",
    "normalise_text",
    "texts_of",
]
