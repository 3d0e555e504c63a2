"""Save and restore training state.

Orbax writes sharded arrays asynchronously and commits a step by one rename. It does not notice a flipped bit in a
finished step, casts silently to the dtype asked for, and answers False when a step is not written. Here every step
carries a manifest (digests of its files, shape and dtype of its leaves) that is checked before anything is read, and
each of these is an error in one sentence.

Layout: `<directory>/<step>/<item>/...`, `<directory>/<step>/manifest.json`, and, once the step has been validated,
`<directory>/<step>/validation.json`. Items are `params` (policy name → tree),
`opt_<owner>` (the optax state of a role, of "coupled" or of "sft") and `meta` (JSON). A state is a mapping from item
name to its contents.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from jax.experimental import multihost_utils
from orbax.checkpoint import checkpoint_managers

from mxjax.errors import FileError, MissingFile, UserError
from mxjax.files import absolute, make_folder, matching, read_json, write_text
from mxjax.sharding import in_device_memory, to_memory

MANIFEST = "manifest.json"
VALIDATION = "validation.json"
META = "meta"
PARAMS = "params"

_log = logging.getLogger(__name__)


def _is_news(record: logging.LogRecord) -> bool:
    """Filter out errors that Orbax both logs and raises.

    It logs them with a traceback from each of its threads.
    """
    return record.levelno < logging.ERROR or "orbax" not in record.pathname


logging.getLogger("absl").addFilter(_is_news)

State = Mapping[str, Any]


class Checkpointer:
    """Write the checkpoints of one run.

    A context manager, one per directory at a time. Opening removes what a killed save left behind, and sets aside
    (renames to `<step>.bad`) any step without a manifest: its save did not finish, or it was not written by this class,
    and nothing can vouch for its contents.

    Args:
      directory: holds the numbered steps; created if absent; `gs://` works.
      keep: how many of the newest steps stay on disk, None for all.
      best: names one more step that stays, asked when older steps are about to be removed.
    """

    def __init__(self, directory: str, keep: int | None = 3, best: Callable[[], int | None] = lambda: None):
        if keep is not None and keep < 1:
            raise UserError(f"checkpoint.keep must be at least 1, or None for all, got {keep}")
        self._root = absolute(directory)
        self._saving: tuple[int, dict, list[str]] | None = None
        if jax.process_index() == 0:
            make_folder(self._root)
            for step in sorted(_committed(self._root) - set(steps(self._root))):
                name = _set_aside(self._root, step)
                _log.warning("checkpoint step %d in %s has no %s; it is now %s", step, self._root, MANIFEST, name)
        _synchronize("checkpointer_opened")
        newest = checkpoint_managers.LatestN(keep)
        policy = checkpoint_managers.AnyPreservationPolicy([newest, _Best(best)]) if keep else None
        self._alias = contextlib.ExitStack()
        self._manager = ocp.CheckpointManager(
            self._alias.enter_context(_alias(self._root)),
            options=ocp.CheckpointManagerOptions(
                preservation_policy=policy,
                cleanup_tmp_directories=True,
                enable_async_checkpointing=True,
                async_options=ocp.AsyncOptions(post_finalization_callback=self._write_manifest),
            ),
        )

    def __enter__(self) -> Checkpointer:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def save(self, state: State, step: int) -> None:
        """Begin to save `state` as `step`.

        Returns once the arrays may be donated or overwritten. Writing goes on in the background; an error there is
        raised by the next `save`, `wait` or `close`. Raises ValueError for a step that is not after the latest one, and
        for a leaf that is not an array.
        """
        self.wait()
        arguments, leaves = {}, {}
        for item, contents in state.items():
            if item == META:
                arguments[item] = ocp.args.JsonSave(_json(contents))
            else:
                leaves[item] = {name: _describe(item + name, leaf) for name, leaf in _leaves(contents)}
                arguments[item] = ocp.args.PyTreeSave(jax.tree.map(_snapshot, contents))
        self._saving = (step, leaves, not_finite(state))
        with self._writing():
            saved = self._manager.save(step, args=ocp.args.Composite(**arguments))
        if not saved:
            raise ValueError(
                f"step {step} is not after step {self._manager.latest_step()}, the latest in {self._root}; "
                "to write it again, move the steps from there on out of the directory"
            )

    def restore(self, like: State, step: int | None = None) -> dict[str, Any]:
        """`restore` of this directory, once a save under way has finished."""
        self.wait()
        try:
            return restore(self._root, like, step)
        finally:
            self._manager.reload()

    def steps(self) -> list[int]:
        """The finished steps, ascending."""
        return steps(self._root)

    def latest_step(self) -> int | None:
        """The newest finished step, None if there is none."""
        return latest_step(self._root)

    def wait(self) -> None:
        """Wait until the save under way is on disk."""
        with self._writing():
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Finish the save under way and release the directory."""
        with self._alias, self._writing():
            self._manager.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Turn errors of writing into an OSError of one sentence."""
        try:
            yield
        except (OSError, ValueError) as error:
            code = re.search(r"os_error_code='(\d+)'", str(error))
            if isinstance(error, UserError) or not (code or isinstance(error, OSError)):
                raise
            reason = error.strerror if isinstance(error, OSError) else None
            why = os.strerror(int(code[1])) if code else reason or error
            step = self._saving[0] if self._saving else "?"
            what = f"cannot write checkpoint step {step} to {self._root}: {why}"
            raise FileError(f"{what}; the finished steps are as they were") from error

    def _write_manifest(self) -> None:
        """Write the manifest of a step before it is renamed into place.

        Orbax calls it on process 0 when all files are written.
        """
        assert self._saving is not None
        step, leaves, not_finite_names = self._saving
        candidates = [self._root / str(step), *matching(self._root, f"{step}.orbax-checkpoint-tmp*")]
        path = next(p for p in candidates if p.exists())
        items = [p.name for p in path.iterdir() if p.is_dir()]
        body = {"step": step, "items": items, "leaves": leaves, "not_finite": not_finite_names}
        body["files"] = _digests(path, items)
        text = json.dumps(body, sort_keys=True)
        sealed = json.dumps({"sha256": hashlib.sha256(text.encode()).hexdigest(), "body": text})
        unfinished = path / (MANIFEST + ".tmp")
        unfinished.write_text(sealed)
        unfinished.rename(path / MANIFEST)


@dataclasses.dataclass(frozen=True)
class _Best(checkpoint_managers.PreservationPolicy):
    """Preserve the step that `best` names."""

    best: Callable[[], int | None]

    def should_preserve(self, checkpoints, *, context) -> list[bool]:
        step = self.best()
        return [info.step == step for info in checkpoints]


@contextlib.contextmanager
def _alias(root: epath.Path) -> Iterator[epath.Path]:
    """A path to `root` without characters that a glob would interpret.

    Orbax finds its files by globs below the folder. In one called `runs/[1]` it finds none, and loses arrays silently.
    """
    if "://" in str(root) or not set("[*?") & set(str(root)):
        yield root
        return
    with tempfile.TemporaryDirectory(prefix="mxjax-") as folder:
        alias = epath.Path(folder) / "checkpoints"
        os.symlink(root, alias)
        yield alias


def save(directory: str, state: State, step: int) -> None:
    """Save `state` as `step`, keep older steps, and wait for the disk."""
    with Checkpointer(directory, keep=None) as checkpointer:
        checkpointer.save(state, step)


def sound_step(directory: str, step: int | None = None) -> int:
    """The step that `restore` would read, its files verified.

    For callers that restore more than once (with `verify=False`). Raises as `restore` does where there is none.
    """
    return _agree_on_step(absolute(directory), step)


def restore(directory: str, like: State, step: int | None = None, verify: bool = True) -> dict[str, Any]:
    """Restore the items named by `like`, bit for bit, on its shardings.

    The files are verified first. Without `step`, the newest undamaged step is read: a damaged one is set aside
    (renamed to `<step>.bad`), which a logged sentence says.

    Args:
      like: item name → tree of `jax.ShapeDtypeStruct` (with sharding, else the first device) or arrays (their shape,
        dtype and sharding count, not their values; a NumPy leaf is read as NumPy). What it holds for `meta` does not
        matter. `params` may name only some of the saved policies.
      verify: False for a `step` that `sound_step` has just given.

    Raises:
      FileNotFoundError: no such directory or step, or no undamaged step is left.
      ValueError: `step` is damaged; an item or leaf is missing; a leaf has another shape or dtype.
    """
    root = absolute(directory)
    step = _agree_on_step(root, step) if verify else _existing_step(root, step)
    manifest = _manifest(root / str(step))
    arguments = {}
    for item, tree in like.items():
        _require_item(root, manifest, item)
        if item == META:
            arguments[item] = ocp.args.JsonRestore()
            continue
        _compare(root / str(step), item, manifest["leaves"][item], tree)
        target = jax.tree.map(_target, tree)
        arguments[item] = ocp.args.PyTreeRestore(
            target,
            restore_args=ocp.checkpoint_utils.construct_restore_args(target),
            partial_restore=item == PARAMS,
        )
    options = ocp.CheckpointManagerOptions(create=False)
    with _alias(root) as path, ocp.CheckpointManager(path, options=options) as manager:
        restored = manager.restore(step, args=ocp.args.Composite(**arguments))
    return {item: restored[item] for item in like}


def steps(directory: str) -> list[int]:
    """The finished steps of `directory`, ascending; empty without such a directory."""
    root = epath.Path(directory)
    return sorted(step for step in _committed(root) if (root / str(step) / MANIFEST).exists())


def latest_step(directory: str) -> int | None:
    """The newest finished step of `directory`, None if there is none."""
    return max(steps(directory), default=None)


def leaves(directory: str, step: int | None = None) -> dict[str, dict[str, tuple[tuple[int, ...], str]]]:
    """Leaves of a step: item → leaf path → (shape, dtype name).

    Paths are as `jax.tree_util.keystr` writes them. Step None is the newest whose manifest is whole; its files are not
    verified. Raises FileNotFoundError without such a step, ValueError if the manifest is damaged.
    """
    root = epath.Path(directory)
    chosen = _existing_step(root, step)
    if step is None:
        chosen = next((s for s in reversed(steps(root)) if _has_whole_manifest(root / str(s))), chosen)
    manifest = _manifest(root / str(chosen))
    return {
        item: {name: (tuple(shape), dtype) for name, (shape, dtype) in table.items()}
        for item, table in manifest["leaves"].items()
    }


def not_finite(state: State) -> list[str]:
    """Names, as in `leaves`, of the leaves that are not finite."""
    named = [(item + name, leaf) for item, tree in state.items() if item != META for name, leaf in _leaves(tree)]
    floats = [(name, leaf) for name, leaf in named if jnp.issubdtype(leaf.dtype, jnp.floating)]
    finite: dict[str, Any] = {}
    together: dict[frozenset, dict[str, jax.Array]] = {}  # by their devices
    for name, leaf in floats:
        if isinstance(leaf, np.ndarray):
            finite[name] = np.isfinite(leaf.astype(np.float32)).all()
        elif in_device_memory(leaf):
            together.setdefault(frozenset(leaf.sharding.device_set), {})[name] = leaf
        else:  # parked on the host, where programs do not compute; the devices may lack room for all at once
            finite[name] = _finite([to_memory(leaf, None)])[0]
    for arrays in together.values():
        finite |= zip(arrays, _finite(list(arrays.values())))
    finite = jax.device_get(finite)
    return [name for name, _ in floats if not finite[name]]


@jax.jit
def _finite(arrays: list[jax.Array]) -> list[jax.Array]:
    return [jnp.isfinite(array).all() for array in arrays]


def say_not_finite(names: Sequence[str]) -> str:
    """A clause that names leaves that are not finite; "" for none."""
    if len(names) < 2:
        return "".join(f"{name} is not finite" for name in names)
    return f"{names[0]} and {len(names) - 1} more are not finite"


def saved_not_finite(directory: epath.PathLike, step: int) -> list[str]:
    """Leaves that the manifest of a finished step lists as not finite."""
    try:
        return _manifest(epath.Path(directory) / str(step)).get("not_finite", [])
    except (OSError, ValueError):
        return []


def record_validation(directory: epath.PathLike, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
    """Store the rows of a validation in its finished step."""
    write_text(epath.Path(directory) / str(step) / VALIDATION, json.dumps({"rows": list(rows)}) + "\n")


def validation(directory: epath.PathLike, step: int) -> list[dict[str, Any]] | None:
    """The rows that `record_validation` kept; None where there are none."""
    try:
        return read_json(epath.Path(directory) / str(step) / VALIDATION)["rows"]
    except (OSError, ValueError, KeyError):
        return None


def _committed(root: epath.Path) -> set[int]:
    """Steps that Orbax has committed.

    A save under way has another name, or on object stores no commit marker.
    """
    if not root.exists():
        return set()
    numbered = [path for path in root.iterdir() if path.name.isdigit()]
    return {int(path.name) for path in numbered if ocp.utils.is_checkpoint_finalized(path)}


def _existing_step(root: epath.Path, step: int | None) -> int:
    finished = steps(root)
    if step is None and finished:
        return finished[-1]
    if step in finished:
        return step
    if finished:
        raise MissingFile(f"{root} has no step {step}; finished steps: {', '.join(map(str, finished))}")
    inner = root / "checkpoints"
    hint = f"pass {inner}" if steps(inner) else "pass the directory that holds the numbered steps"
    raise MissingFile(f"{root} has no finished checkpoint; {hint}")


def _agree_on_step(root: epath.Path, step: int | None) -> int:
    """The step that all processes restore, verified by process 0."""
    chosen, problem = -1, None
    if jax.process_index() == 0:
        try:
            chosen = _undamaged_step(root, step)
        except (FileNotFoundError, ValueError) as error:
            problem = error
    if jax.process_count() > 1:
        chosen = int(multihost_utils.broadcast_one_to_all(np.int32(chosen)))
    if chosen < 0:
        raise problem or FileNotFoundError(f"process 0 found no usable checkpoint in {root}; see its message")
    return chosen


def _undamaged_step(root: epath.Path, step: int | None) -> int:
    candidate = _existing_step(root, step)
    while problem := fault(root, candidate):
        name = _set_aside(root, candidate)
        older = [s for s in steps(root) if s < candidate]
        damaged = f"checkpoint step {candidate} in {root} is damaged ({problem}); it is now {name}"
        if step is not None:
            raise UserError(f"{damaged}; older finished steps: {', '.join(map(str, older)) or 'none'}")
        if not older:
            raise MissingFile(f"{damaged}, and no older step is left; restore a copy or start the run anew")
        _log.warning("%s; falling back to step %d", damaged, older[-1])
        candidate = older[-1]
    return candidate


def _set_aside(root: epath.Path, step: int) -> str:
    """Rename a step so that nothing reads it; return the new name."""
    name, number = f"{step}.bad", 1
    while (root / name).exists():
        number += 1
        name = f"{step}.bad{number}"
    try:
        (root / str(step)).rename(root / name)
    except OSError as error:
        return f"still there, since it cannot be renamed ({error.strerror})"
    return name


def _manifest(path: epath.Path) -> dict[str, Any]:
    """Read a manifest; raise ValueError unless it is whole."""
    try:
        sealed = json.loads((path / MANIFEST).read_text())
        text, digest = sealed["body"], sealed["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path / MANIFEST} is not readable") from error
    if hashlib.sha256(text.encode()).hexdigest() != digest:
        raise UserError(f"{path / MANIFEST} does not match its own digest")
    return json.loads(text)


def _has_whole_manifest(path: epath.Path) -> bool:
    try:
        return bool(_manifest(path))
    except ValueError:
        return False


def fault(directory: str, step: int) -> str:
    """The fault of a finished step, by its manifest; "" if none."""
    path = epath.Path(directory) / str(step)
    try:
        manifest = _manifest(path)
        digests = _digests(path, manifest["items"])
    except (ValueError, OSError) as error:
        return str(error)
    for name, digest in manifest["files"].items():
        if digests.get(name) != digest:
            return f"{name} {'differs from what was written' if name in digests else 'is missing'}"
    return ""


def _digests(path: epath.Path, items: list[str]) -> dict[str, str]:
    """SHA-256 of every file below the items of a step.

    The files beside the items are Orbax's own and hold none of our data.
    """
    files: list[epath.Path] = []
    folders = [path / item for item in items]
    while folders:
        for entry in folders.pop().iterdir():
            (folders if entry.is_dir() else files).append(entry)

    def digest(file: epath.Path) -> str:
        total = hashlib.sha256()
        with file.open("rb") as stream:
            while chunk := stream.read(2**20):
                total.update(chunk)
        return total.hexdigest()

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        return {str(file.relative_to(path)): d for file, d in zip(files, pool.map(digest, files))}


def _leaves(tree: Any) -> list[tuple[str, Any]]:
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    return [(jax.tree_util.keystr(path), leaf) for path, leaf in flat]


def _describe(name: str, leaf: Any) -> tuple[tuple[int, ...], str]:
    arrays = (jax.Array, jax.ShapeDtypeStruct, np.ndarray)
    if not isinstance(leaf, arrays) or jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.extended):
        raise ValueError(
            f"{name} is {type(leaf).__name__} and not an array of numbers; plain values and PRNG keys "
            f"(as jax.random.key_data(key).tolist()) belong into {META!r}"
        )
    return tuple(leaf.shape), np.dtype(leaf.dtype).name


def _snapshot(leaf: jax.Array | np.ndarray) -> jax.Array | np.ndarray:
    """A copy of a host array; a device array as it is.

    Orbax copies device arrays before it returns, and host arrays it reads later.
    """
    return leaf.copy() if isinstance(leaf, np.ndarray) else leaf


def _target(leaf: Any) -> Any:
    if isinstance(leaf, np.ndarray):
        return leaf
    sharding = leaf.sharding or jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _require_item(root: epath.Path, manifest: Mapping[str, Any], item: str) -> None:
    if item not in manifest["items"]:
        known = ", ".join(sorted(manifest["items"]))
        raise UserError(f"step {manifest['step']} in {root} has no item {item!r}; it has {known}")


def _compare(path: epath.Path, item: str, saved: Mapping[str, Any], like: Any) -> None:
    """Raise ValueError naming the first leaf where `like` and `saved` differ."""
    expected = {name: _describe(item + name, leaf) for name, leaf in _leaves(like)}
    for name, (shape, dtype) in expected.items():
        if name not in saved:
            raise UserError(f"{path} has no leaf {item}{name}; is the model configuration the one that was saved?")
        saved_shape, saved_dtype = tuple(saved[name][0]), saved[name][1]
        if (shape, dtype) != (saved_shape, saved_dtype):
            raise UserError(
                f"{item}{name} was saved as {saved_dtype}{list(saved_shape)} and is asked for as "
                f"{dtype}{list(shape)}; restore it as saved and convert it afterwards ({path})"
            )
    policies = [jax.tree_util.keystr((jax.tree_util.DictKey(name),)) for name in like] if item == PARAMS else [""]
    for name in saved:
        if name not in expected and name.startswith(tuple(policies)):
            raise UserError(f"{path} holds the leaf {item}{name}, which is not asked for; name every saved leaf")


def _json(contents: Any) -> Any:
    """A copy of `contents`, as it will read."""
    try:
        return json.loads(json.dumps(contents))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{META!r} must be JSON (numbers, text, lists, mappings): {error}") from error


def _synchronize(name: str) -> None:
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)
