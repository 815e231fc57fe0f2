"""The embedding of a photo: what the classifier of imported weights would take, the pooled features of their network.

A head that is the weights' own trunk and top convolution with a classifier on top therefore scores a photo as that
classifier scores its embedding, to float32 rounding.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib.util import find_spec

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from prohibit_jax.bundle.fold import fold
from prohibit_jax.bundle.store import Store, open_store
from prohibit_jax.models.network import CLASSIFIER, POOLED, Architecture, Network, normalise, shapes
from prohibit_jax.score.engine import padded
from prohibit_jax.score.scorer import batches
from prohibit_jax.score.stack import Folded
from prohibit_jax.types import Embeddings, Images, InputError, Preprocessing, Variables

SPEC = re.compile(r"(?P<weights>.+?)(:(?P<size>[0-9]{1,4}))?")


@dataclass(frozen=True)
class Embedding:
    """What embeddings were made with: two that are equal can be compared."""

    weights: str
    size: int  # edge of the square input, pixels
    sha256: str  # of all that makes them but the size: another network, or another's variables, never mix
    features: int  # numbers a photo


@dataclass(frozen=True)
class Embedder:
    """A compiled network without its classifier; safe to call from several threads."""

    embedding: Embedding
    batch: int
    _run: Callable[[Images], np.ndarray] = field(repr=False)

    @property
    def size(self) -> int:
        """Edge length of the square inputs, pixels."""
        return self.embedding.size

    def __call__(self, images: Images) -> Embeddings:
        """The embeddings, float32 [b, f], of uint8 [b, size, size, 3].

        Raises InputError where float16, in which tables keep them, cannot hold one.
        """
        out = np.empty((len(images), self.embedding.features), np.float32)
        for start, stop, batch in batches(len(images), (self.batch,)):
            out[start:stop] = self._run(padded(images[start:stop], batch))[: stop - start]
        if not np.abs(out).max(initial=0) <= np.finfo(np.float16).max:
            raise InputError(f"embedding {self.embedding.weights}: its numbers exceed float16's; use other weights")
        return out


def load_embedder(store: Store | epath.PathLike, spec: str, batch: int = 32) -> Embedder:
    """The embedder of imported weights.

    Args:
        store: where the weights are.
        spec: `NAME`, at the size that the weights were published for, or `NAME:SIZE`.
        batch: photos to compile for; fewer are padded, more are cut.

    Raises InputError in one line where there are no such weights, or the size is not of this world.
    """
    parts = SPEC.fullmatch(spec)
    if not parts:
        raise InputError(f"embedding {spec!r}: write NAME or NAME:SIZE, such as lite0:160")
    from prohibit_jax.weights.imported import load  # only here: the service scores without it

    weights = load(open_store(store).root, parts["weights"])
    size = int(parts["size"] or weights.preprocessing.size)
    if size < 32:
        raise InputError(f"embedding {spec!r}: the photos' size is {size}, must be from 32")
    photos = replace(weights.preprocessing, size=size)
    features = len(weights.variables[CLASSIFIER[0]])
    made_with = Embedding(parts["weights"], size, _sha256(weights.arch, photos, weights.variables), features)
    trunk, _ = Network(weights.arch).split(POOLED)
    folded = fold(trunk, {name: weights.variables[name] for name in shapes(trunk)})
    return Embedder(made_with, batch, _compiled(Folded(*folded), photos, batch))


def _sha256(arch: Architecture, photos: Preprocessing, variables: Variables) -> str:
    neutral = replace(arch, outputs=1, dropout=0.0, norm_momentum=0.0)
    digest = hashlib.sha256(repr((neutral, photos.mean, photos.std)).encode())
    for name in sorted(variables.keys() - set(CLASSIFIER)):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(variables[name], np.float32).reshape(-1).data)
    return digest.hexdigest()


def _compiled(folded: Folded, photos: Preprocessing, batch: int) -> Callable[[Images], np.ndarray]:
    """The network for that many photos, by the compiler that the scorer would choose."""
    if jax.default_backend() == "cpu" and find_spec("openvino"):
        from prohibit_jax.score.openvino import MOST_PHOTOS, Piece, Runner, tile_of

        tile = tile_of(batch, (batch,), MOST_PHOTOS["float32"])
        return Runner(
            {batch: Piece(folded.network, photos, (tile, photos.size, photos.size, 3))}, folded, "float32", True
        )
    from prohibit_jax.score.xla import form_of, forward

    form = form_of(jax.devices()[0], "float32")

    def run(variables: dict[str, jax.Array], images: jax.Array) -> jax.Array:
        return forward(folded.network, form, variables, normalise(images, photos))

    jitted, placed = jax.jit(run, compiler_options=dict(form.options)), jax.device_put(dict(folded.variables))
    return lambda images: np.asarray(jitted(placed, jnp.asarray(images)))
