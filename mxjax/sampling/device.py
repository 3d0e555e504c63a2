"""The engine's state on its devices.

Parameters, cache and compiled programs, and how long each of them ran. The engine passes its orders in NumPy; nothing
here knows of requests.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from mxjax.models.config import ModelConfig
from mxjax.sampling import programs
from mxjax.sampling.attention import XlaAttention


class Device:
    """The compiled programs of `programs.jitted` and their memory.

    A program is compiled when first started; the memory is passed from one to the next.

    Args:
      params, cfg, mesh: of the policy; the parameters are copied.
      attention: the backend, whose pages these are.
      shape: slots (requests at once), blocks (the pages that each may have), and pages in all, shared out among the
        backend's groups; every group has one more, its first: the null page.
      decode_steps: of one run of `decode`.
    """

    def __init__(
        self,
        params: Mapping[str, Any],
        cfg: ModelConfig,
        attention: XlaAttention,
        shape: tuple[int, int, int],
        decode_steps: int,
        mesh: jax.sharding.Mesh | None,
    ):
        self._slots, self._blocks, pages = shape
        self._memory: programs.Memory | None = None
        self._started: jax.Array | None = None  # a result of the program that was started last
        self._seen: float | None = None  # when the devices were last known to be busy, while there is work
        self._cfg, self._mesh, self._size = cfg, mesh, attention.size
        self._layout = programs.memory_layout(cfg, attention, self._slots, pages, mesh)
        self._jitted = programs.jitted(cfg, attention, decode_steps, self._layout)
        self.programs: dict[str, jax.stages.Compiled] = {}
        self.compile_s: dict[str, float] = {}
        self.seconds: dict[str, float] = {}  # by program; "idle": work, but no program
        self._signature = _signature(params)
        self._params: dict | None = programs.split_layers(params, cfg, mesh)
        self.reset()

    def set_params(self, params: Mapping[str, Any]) -> None:
        """Compute with a copy of `params` from now on.

        The memory becomes empty. Raises ValueError for parameters of another model or dtype, which would need a new
        compile. If the copy fails, the old parameters are gone and no program runs until another call succeeds.
        """
        if (signature := _signature(params)) != self._signature:
            wrong = next(
                (path for path in signature if signature[path] != self._signature.get(path)), "a part is missing"
            )
            raise ValueError(
                f"the parameters are not those of the engine's model, with their dtypes ({wrong}); make a new Engine"
            )
        self._params = None  # room for the new before the old is gone would be twice the memory
        self._params = programs.split_layers(params, self._cfg, self._mesh)
        self.clear()

    def clear(self) -> None:
        """Empty the memory in place."""
        self._run("clear")
        self.idle()

    def reset(self) -> None:
        """Make a new memory.

        The old one may be lost, or wait for a program that failed.
        """
        self._memory = self._started = None
        self._memory = programs.empty_memory(self._layout)
        self.idle()

    # Programs

    def prefill(self, tokens_RC: np.ndarray, table_RB: np.ndarray, start_R: np.ndarray) -> None:
        """See `programs.prefill`."""
        self._run("prefill", tokens_RC, table_RB, start_R)

    def decode(self, state: programs.Slots, enough: int) -> tuple[list[jax.Array], float]:
        """Start `programs.decode`.

        Returns its results, to be given to `collect`, and the time of the start.
        """
        start = time.perf_counter()
        return self._start("decode", jax.tree.map(np.copy, state), np.int32(enough)), start

    def collect(self, results: list[jax.Array], start: float) -> list[np.ndarray]:
        """The results of `decode`, once they are there."""
        values = jax.device_get(results)
        self._note_time("decode", start)
        return values

    def mark_seen(self, slot: int, ids: np.ndarray, prompt_length: int) -> None:
        """Mark the ids that the penalties of a slot count.

        Those of its prompt come first.
        """
        padded = np.zeros(self._blocks * self._size, np.int32)
        padded[: ids.size] = ids
        self._run("mark_seen", np.int32(slot), padded, np.int32(prompt_length), np.int32(ids.size))

    def copy(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Copy pages, at most one per slot: (from, to)."""
        table = np.zeros((2, self._slots), np.int32)
        table[:, : len(pairs)] = np.array(pairs, np.int32).reshape(-1, 2).T
        self._run("copy_pages", table[0], table[1], np.int32(len(pairs)))

    def save(self, table: Sequence[int]) -> list:
        """The content of pages, on the host."""
        content = self._run("save_pages", self._padded(table))
        return jax.tree.map(lambda array: np.array(array[: len(table)]), jax.device_get(content))

    def load(self, table: Sequence[int], content: list) -> None:
        """Put what `save` gave into pages."""
        rest = self._blocks - len(table)
        whole = lambda array: np.concatenate([array, np.zeros((rest, *array.shape[1:]), array.dtype)])
        self._run("load_pages", self._padded(table), jax.tree.map(whole, content))

    def _padded(self, table: Sequence[int]) -> np.ndarray:
        padded = np.zeros(self._blocks, np.int32)
        padded[: len(table)] = table
        return padded

    # Running and timing

    @property
    def busy(self) -> bool:
        """Whether the program started last is known to be still running."""
        return self._started is not None and not self._started.is_ready()  # type: ignore[attr-defined]  # no stub

    def _start(self, name: str, *args):
        """Start a program, compiling it the first time.

        After that any other shape is an error, not a compile.
        """
        if self._params is None:
            raise RuntimeError("the engine has no parameters, since update_params() failed; call it again")
        if name not in self.programs:
            start = time.perf_counter()
            self.programs[name] = self._jitted[name].lower(self._params, self._memory, *args).compile()
            self.compile_s[name] = time.perf_counter() - start
        if self._seen is not None and not self.busy:
            now = time.perf_counter()
            self._add_seconds("idle", now - self._seen)
            self._seen = now  # counted: what ended meanwhile, and is collected later, counts from here on
        memory = self._memory
        if name == "save_pages":
            return self.programs[name](self._params, memory, *args)
        self._memory = None  # donated: an exception from here on leaves none
        self._memory, *results = self.programs[name](self._params, memory, *args)
        self._started = results[0] if results else None
        return results

    def _run(self, name: str, *args):
        """Run a program to its end."""
        start = time.perf_counter()
        results = self._start(name, *args)
        jax.block_until_ready((self._memory, results))
        self._note_time(name, start)
        return results

    def _note_time(self, name: str, start: float) -> None:
        """Count the time of a program that is found to have ended."""
        now = time.perf_counter()
        self._add_seconds(name, now - max(start, self._seen or start))
        self._seen = now

    def _add_seconds(self, name: str, seconds: float) -> None:
        self.seconds[name] = self.seconds.get(name, 0) + seconds

    def idle(self) -> None:
        """Stop counting idle time until a program is started."""
        self._seen = None


def _signature(params: Mapping[str, Any]) -> dict[str, tuple]:
    """Shape and dtype of each parameter."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {jax.tree_util.keystr(path): (leaf.shape, jax.numpy.dtype(leaf.dtype)) for path, leaf in leaves}
