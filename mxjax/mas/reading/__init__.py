"""Reads from a script, without running it, which nodes it builds and how work goes between them.

Statements are followed in order with what is known of each value: constants, lists, dicts, nodes, workflows, functions.
A loop over known items is read once for each of them and a call of the script's own function reads its body; both sides
of a condition are read, and what cannot be told is `UNKNOWN`. Reading ends after MOST_STEPS, whatever the script says;
what has been found by then stands.
"""

from mxjax.mas.reading.calls import parameters
from mxjax.mas.reading.reader import Reader
from mxjax.mas.reading.shape import MOST_EDGES, MOST_NODES, OUTSIDE, Edge, Node

__all__ = ["MOST_EDGES", "MOST_NODES", "OUTSIDE", "Edge", "Node", "Reader", "parameters"]
