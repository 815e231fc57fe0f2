"""Array aliases on the device; those on the host are in `types`, which needs no JAX: a decoding process has none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8
else:
    try:
        from jaxtyping import Float, UInt8
    except ModuleNotFoundError:  # as in types: nothing checks them there
        from prohibit_jax.types import UInt8

        Float = UInt8

Pixels = UInt8[jax.Array, "b h w 3"]
"""Photos of one size on the device, RGB, values 0 to 255."""

Activations = Float[jax.Array, "b h w c"]
"""What flows between the stages of a network: float32, or bfloat16 where a scorer's precision says so."""
