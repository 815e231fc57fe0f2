"""What every test runs under: the CPU, strict dtypes where it scores, annotations checked at every call."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from beartype import BeartypeConf, BeartypeDecorPlace
from beartype.claw import beartype_package

if TYPE_CHECKING:
    from tests.heads.small import Trained

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # before jax starts; subprocesses inherit it

# Compiling is most of what the tests cost: everything slow is compiled once, for the processes that they start too.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="prohibit-jax-tests-")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
    os.environ["PROHIBIT_CACHE"] = os.environ["JAX_COMPILATION_CACHE_DIR"] + "/programs"
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)

# Types, dtypes and ranks in signatures are checked from here on, for no test file is imported before this one. Each
# annotation is checked by itself: a letter in a shape is the project's word for that axis, and stands for one length
# in one annotation only, since a network's `h` before a stage is not its `h` after it. FIRST: right above the
# function, under jax.custom_vjp and the like. Left out: a module whose NamedTuple has fields of the module's own
# types, which beartype cannot look up by their names.
beartype_package(
    "prohibit_jax",
    conf=BeartypeConf(
        claw_decor_place_func=BeartypeDecorPlace.FIRST,
        claw_is_pep526=False,
        claw_skip_package_names=("prohibit_jax.evaluate.thresholds",),
    ),
)

import jax  # noqa: E402

from tests.waiting import TEST_TIMEOUT  # noqa: E402

# Workers take file by file, so the longest come first and all workers end at about the same time.
LONGEST = ("test_readme", "test_xla", "test_commands", "test_notebooks", "test_hostile", "test_resume", "test_page")

# Optax raises a float to an integer step number, so whatever trains runs under the standard rules.
STRICT_ROOMS = {"models", "weights", "bundle", "score"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the tests of the longest files first, and gives each test a time after which it hangs."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))
    for item in items:
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TEST_TIMEOUT))


@pytest.fixture(scope="module", autouse=True)
def dtype_promotion(request: pytest.FixtureRequest) -> Iterator[None]:
    """In the rooms that score, arithmetic between dtypes is an error: none of them widens or rounds unasked."""
    with jax.numpy_dtype_promotion("strict" if request.path.parent.name in STRICT_ROOMS else "standard"):
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real photographs and weights beside the checkout."""
    folder = Path(__file__).resolve().parents[1].parent / "shared"
    if not folder.is_dir():
        pytest.skip("real photographs and weights: ../shared is absent")
    return folder


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A store with three small heads, trained once for all tests; whoever changes it takes a copy."""
    from tests.heads.small import train_all

    return train_all(tmp_path_factory.mktemp("trained"))
