"""Networks as pure functions: parameter counts, cuts, stacks, odd sizes, and batch statistics."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from math import prod
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prohibit_jax.models.efficientnet import B0, LITE0, STAGES, Architecture
from prohibit_jax.models.network import Network, apply, check_variables, init, shapes, statistics
from prohibit_jax.types import InputError
from tests.tolerances import ONE_LAYER

TINY = Architecture(width=0.25, depth=0.1, outputs=3)
quick = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@pytest.fixture(scope="module")
def variables() -> dict[str, jax.Array]:
    """A tiny network's variables, with statistics that are not the identity."""
    fresh = init(Network(TINY), 0)
    rng = np.random.default_rng(0)
    moved = {name: jnp.asarray(rng.uniform(0.5, 1.5, array.shape), jnp.float32) for name, array in fresh.items()}
    return {name: moved[name] if ".norm." in name else array for name, array in fresh.items()}


def photos(*shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(1), shape)


def parameters(arch: Architecture) -> int:
    network = Network(arch)
    return sum(prod(shape) for name, shape in shapes(network).items() if name not in statistics(network))


def test_parameter_counts_are_those_published() -> None:
    assert parameters(replace(B0, outputs=1000)) == 5_288_548
    assert parameters(B0) == 4_008_829
    assert parameters(replace(LITE0, outputs=1000)) == 4_652_008


def test_width_rounds_channels_to_eights() -> None:
    assert [replace(B0, width=1.1).channels(n) for n in (32, 16, 24, 40)] == [32, 16, 24, 48]  # EfficientNet-B2
    assert [replace(B0, width=2.0).channels(n) for n in (32, 1280)] == [64, 2560]  # EfficientNet-B7
    narrow = shapes(Network(TINY))
    assert narrow["stem.kernel"] == (3, 3, 3, 8)
    assert narrow["top.conv.kernel"] == (80, 320)
    lite = shapes(Network(replace(LITE0, width=0.25)))
    assert lite["stem.kernel"] == (3, 3, 3, 32)  # Lite scales neither end
    assert lite["top.conv.kernel"] == (80, 1280)


def test_depth_rounds_repeats_up() -> None:
    names = shapes(Network(replace(B0, depth=1.1), ("s6",)))
    assert {name.split(".")[1] for name in names} == {"0", "1", "2", "3", "4"}


@pytest.mark.parametrize("through", ["stem", "s5", "s7", "top"])
def test_trunk_and_head_in_turn_are_the_whole(variables: dict[str, jax.Array], through: str) -> None:
    network = Network(TINY)
    trunk, head = network.split(through)
    assert trunk.stages + head.stages == STAGES
    assert {**shapes(trunk), **shapes(head)} == shapes(network)
    parts = [{name: variables[name] for name in shapes(part)} for part in (trunk, head)]
    x = photos(2, 40, 40, 3)
    cut = quick(lambda a, b, x: apply(head, b, apply(trunk, a, x)[0])[0])(*parts, x)
    np.testing.assert_allclose(cut, whole(variables, x), 0, ONE_LAYER * float(jnp.abs(cut).max()))


@quick
def whole(variables: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    return apply(Network(TINY), variables, x)[0]


def test_there_is_no_cut_behind_the_last_stage() -> None:
    with pytest.raises(InputError, match="trunk_through"):
        Network(TINY).split("classifier")


@pytest.mark.parametrize("padding", ["same", "torch"])
@pytest.mark.parametrize("size", [(17, 17), (1, 33), (50, 31)])
def test_any_input_size(size: tuple[int, int], padding: Literal["same", "torch"]) -> None:
    for arch in (replace(TINY, padding=padding), replace(LITE0, width=0.25, padding=padding)):
        network = Network(arch)
        output, _ = jax.eval_shape(partial(apply, network), init_shapes(network), jnp.zeros((1, *size, 3)))
        assert output.shape == (1, arch.outputs)
        trunk, _ = network.split("s7")
        features, _ = jax.eval_shape(partial(apply, trunk), init_shapes(trunk), jnp.zeros((1, *size, 3)))
        assert features.shape[1:3] == tuple(-(-n // 32) for n in size)


def init_shapes(network: Network) -> dict[str, jax.ShapeDtypeStruct]:
    return {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes(network).items()}


def test_stacked_heads_are_heads_one_by_one(variables: dict[str, jax.Array]) -> None:
    heads = [{name: array * scale for name, array in variables.items()} for scale in (1.0, 0.9, 1.1)]
    x = photos(2, 40, 40, 3)
    stacked = {name: jnp.stack([head[name] for head in heads]) for name in variables}
    together = quick(jax.vmap(lambda head: apply(Network(TINY), head, x)[0]))(stacked)
    alone = np.stack([whole(head, x) for head in heads])
    np.testing.assert_allclose(together, alone, 0, ONE_LAYER * np.abs(alone).max())


def test_a_photo_does_not_depend_on_its_batch(variables: dict[str, jax.Array]) -> None:
    x = photos(2, 40, 40, 3)
    twice = whole(variables, jnp.concatenate([x[:1], x[:1]]))
    np.testing.assert_allclose(twice[0], whole(variables, x)[0], 0, ONE_LAYER * float(jnp.abs(twice).max()))


def test_batch_statistics_move_as_those_of_pytorch(variables: dict[str, jax.Array]) -> None:
    """Flax's momentum is what is kept, PyTorch's what is added: 0.9 here is PyTorch's 0.1. The variance that enters
    is the biased one, where PyTorch's running variance takes the unbiased one: their one difference, n / (n - 1)."""
    arch = replace(TINY, norm_momentum=0.9)
    network = Network(arch, ("stem",))
    stem = {name: variables[name] for name in shapes(network)}
    x = photos(4, 16, 16, 3)
    output, after = quick(lambda v, x: apply(network, v, x, batch_statistics=True))(stem, x)
    assert set(after) == statistics(network) == {"stem.norm.mean", "stem.norm.var"}
    window = [(0, 1), (0, 1)]
    y = jax.lax.conv_general_dilated(x, stem["stem.kernel"], (2, 2), window, dimension_numbers=("NHWC", "HWIO", "NHWC"))
    mean, var = y.mean((0, 1, 2)), y.var((0, 1, 2))
    np.testing.assert_allclose(after["stem.norm.mean"], 0.9 * stem["stem.norm.mean"] + 0.1 * mean, 1e-5, 1e-5)
    np.testing.assert_allclose(after["stem.norm.var"], 0.9 * stem["stem.norm.var"] + 0.1 * var, 1e-5, 1e-5)
    normal = (y - mean) / jnp.sqrt(var + arch.norm_epsilon) * stem["stem.norm.scale"] + stem["stem.norm.bias"]
    np.testing.assert_allclose(output, jax.nn.silu(normal), 1e-4, 1e-4)


def test_running_statistics_stay_as_they_are(variables: dict[str, jax.Array]) -> None:
    network = Network(TINY, ("stem",))
    stem = {name: variables[name] for name in shapes(network)}
    _, after = apply(network, stem, photos(1, 8, 8, 3))
    for name, array in after.items():
        np.testing.assert_array_equal(array, stem[name])


def test_dropout_drops_only_with_a_key(variables: dict[str, jax.Array]) -> None:
    top = Network(replace(TINY, dropout=0.5), ("top", "classifier"))
    own = {name: variables[name] for name in shapes(top)}
    x = photos(1, 2, 2, shapes(top)["top.conv.kernel"][0])
    plain = apply(top, own, x)[0]
    np.testing.assert_array_equal(plain, apply(top, own, x)[0])
    assert not np.allclose(plain, apply(top, own, x, dropout_key=jax.random.key(0))[0])


def test_the_seed_fixes_the_start() -> None:
    network = Network(TINY, ("stem", "s1"))
    one, same, other = (init(network, seed) for seed in (3, 3, 4))
    assert all(np.array_equal(one[name], same[name]) for name in one)
    assert not np.array_equal(one["stem.kernel"], other["stem.kernel"])
    assert {name: array.shape for name, array in one.items()} == shapes(network)
    assert {array.dtype for array in one.values()} == {jnp.dtype("float32")}
    assert float(one["stem.kernel"].std()) == pytest.approx((2 / 72) ** 0.5, rel=0.2)  # 3 * 3 * 8 is the fan-out
    assert float(one["s1.0.depthwise.kernel"].std()) == pytest.approx((2 / 9) ** 0.5, rel=0.3)
    assert not one["stem.norm.mean"].any()
    assert (one["stem.norm.var"] == 1).all()


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_foreign_variables_are_named(change: str) -> None:
    network = Network(TINY, ("stem",))
    arrays = {name: np.zeros(shape, np.float32) for name, shape in shapes(network).items()}
    if change == "missing":
        del arrays["stem.norm.var"]
    elif change == "extra":
        arrays["stem.norm.var2"] = arrays["stem.norm.var"]
    else:
        arrays["stem.norm.var"] = np.zeros(3, np.float32)
    with pytest.raises(InputError, match=r"FILE: stem\.norm\.var"):
        check_variables(network, arrays, "FILE")
    check_variables(network, {name: np.zeros(shape) for name, shape in shapes(network).items()}, "FILE")


def test_folded_networks_have_a_bias_in_place_of_the_norm() -> None:
    folded = shapes(Network(TINY, folded=True))
    assert not any(".norm." in name for name in folded)
    assert folded["stem.bias"] == (8,)
