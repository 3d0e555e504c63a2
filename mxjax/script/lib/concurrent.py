"""`concurrent`: the package of `concurrent.futures`."""

import concurrent.futures as futures
