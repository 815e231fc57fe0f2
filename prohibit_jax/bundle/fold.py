"""Batch norm folded into the convolution before it: the same function in fewer operations, exact but for rounding."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from prohibit_jax.models.network import Network
from prohibit_jax.types import Variables


def fold(network: Network, variables: Variables) -> tuple[Network, dict[str, np.ndarray]]:
    """The network without batch norm, and its variables, float32; both computed in float64.

    Batch norm is y = (x * kernel - mean) * g + bias with g = scale / sqrt(var + epsilon), an output channel at a time;
    so the folded kernel is kernel * g, and the folded bias is bias - mean * g.
    """
    folded = {name: np.asarray(array, np.float32) for name, array in variables.items() if ".norm." not in name}
    for name in [name.removesuffix(".norm.var") for name in variables if name.endswith(".norm.var")]:
        scale, bias, mean, var = (
            np.asarray(variables[f"{name}.norm.{part}"], np.float64) for part in ("scale", "bias", "mean", "var")
        )
        gain = scale / np.sqrt(var + network.arch.norm_epsilon)
        kernel = folded[f"{name}.kernel"]  # its outputs are last
        folded[f"{name}.kernel"] = np.multiply(kernel, gain, out=np.empty_like(kernel), casting="same_kind")
        folded[f"{name}.bias"] = (bias - mean * gain).astype(np.float32)
    return replace(network, folded=True), folded
