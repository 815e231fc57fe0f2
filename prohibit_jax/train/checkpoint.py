"""Checkpoints of a run through Orbax: after any kill the newest whole one is found and the run goes on from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from prohibit_jax.files import is_local


class Checkpoints:
    """The last two checkpoints of a run, each a tree of arrays, numbered by epoch."""

    def __init__(self, folder: epath.Path) -> None:
        options = ocp.CheckpointManagerOptions(
            max_to_keep=2, create=True, cleanup_tmp_directories=True, enable_async_checkpointing=False
        )
        # Orbax takes no relative path.
        place = epath.Path(Path(folder).absolute()) if is_local(folder) else folder
        self._manager = ocp.CheckpointManager(place, options=options)

    def restore(self, like: Any) -> tuple[int, Any] | None:
        """(epoch, tree) of the newest checkpoint, in the structure and types of `like`; None where there is none.

        Its leaves are NumPy's: JAX arrays from Orbax are bound to a device, for which steps are compiled otherwise.
        """
        epoch = self._manager.latest_step()
        if epoch is None:
            return None
        abstract = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), np.asarray(leaf).dtype), like)
        return epoch, jax.tree.map(np.asarray, self._manager.restore(epoch, args=ocp.args.StandardRestore(abstract)))

    def save(self, epoch: int, tree: Any) -> None:
        """Writes a checkpoint and returns when it is on disk; it becomes visible whole or not at all."""
        self._manager.save(epoch, args=ocp.args.StandardSave(tree))

    def close(self) -> None:
        """Ends Orbax's threads."""
        self._manager.close()
