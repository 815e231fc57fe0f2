"""What every test runs under: the CPU, strict dtypes where it scores, annotations checked at every call."""

from __future__ import annotations

import ctypes
import gc
import hashlib
import os
import platform
import sys
from collections.abc import Generator, Iterator
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING

import hypothesis
import pytest
from beartype import BeartypeConf, BeartypeDecorPlace
from beartype.claw import beartype_package

if TYPE_CHECKING:
    from tests.heads.small import Trained

ROOT = Path(__file__).resolve().parents[1]
PER_PROCESS = 2 * 2**30
"""Bytes of the machine's memory for each test process, and what it starts."""

MUCH = 64 * 2**20
"""Bytes that a test may leave to its process."""

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # before jax starts; subprocesses inherit it
os.environ.setdefault("MALLOC_ARENA_MAX", "2")  # every arena keeps what was freed in it
# The test processes keep all cores busy, and there NumPy's threads mostly spin: ten times the work for the same result.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def processor() -> str:
    """What of the machine decides which compiled programs run on it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))


# Compiling is most of what the tests cost: it is done once for all files and runs, and the processes that they start.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    kept = ROOT / ".cache" / hashlib.sha256(processor().encode()).hexdigest()[:16]
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(kept / "jax")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
    os.environ["PROHIBIT_CACHE"] = str(kept / "programs")

# The same cases each time: what passes once passes again, on however slow a machine.
hypothesis.settings.register_profile(
    "suite", deadline=None, derandomize=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("suite")

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

from tests.once import once  # noqa: E402
from tests.skips import in_words  # noqa: E402
from tests.waiting import TEST_TIMEOUT  # noqa: E402

# Workers take file by file, so the longest come first and all workers end at about the same time.
LONGEST = ("test_readme", "test_xla", "test_commands", "test_notebooks", "test_hostile", "test_resume", "test_page")

# Optax raises a float to an integer step number, so whatever trains runs under the standard rules.
STRICT_ROOMS = {"models", "weights", "bundle", "score"}


@pytest.hookimpl(optionalhook=True)  # xdist's
def pytest_xdist_auto_num_workers() -> int:
    """As many test processes as cores, where there is memory for them."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1, min(len(os.sched_getaffinity(0)), memory // PER_PROCESS))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the tests of the longest files first, and gives each test a time after which it hangs."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))
    for item in items:
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TEST_TIMEOUT))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, object, object]:
    """Says last, in words, how many tests were skipped and what would run them."""
    result = yield
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter and session.testscollected:
        reporter.write_line(in_words([str(report.longrepr[2]) for report in reporter.stats.get("skipped", ())]))
    return result


@pytest.fixture(scope="module", autouse=True)
def dtype_promotion(request: pytest.FixtureRequest) -> Iterator[None]:
    """In the rooms that score, arithmetic between dtypes is an error: none of them widens or rounds unasked."""
    with jax.numpy_dtype_promotion("strict" if request.path.parent.name in STRICT_ROOMS else "standard"):
        yield


@pytest.fixture(scope="module", autouse=True)
def programs() -> Iterator[None]:
    """Gives back what the tests of a file compiled."""
    yield
    jax.clear_caches()
    give_back()


@pytest.fixture(autouse=True)
def memory() -> Iterator[None]:
    """Gives back what a test has freed, where that is much: the whole suite must fit into a small machine."""
    before = resident()
    yield
    if resident() > before + MUCH:
        give_back()


@cache
def beartype_memos() -> list[dict[object, object]]:
    """What beartype remembers of functions: each function within a function, for ever, with all that it refers to."""
    modules = [module for name, module in sys.modules.items() if name.startswith("beartype.")]
    functions = {value for module in modules for value in vars(module).values() if isinstance(value, FunctionType)}
    cells = [cell.cell_contents for function in functions for cell in function.__closure__ or ()]
    return [content for content in cells if isinstance(content, dict)]


def resident() -> int:
    """Bytes of this process in memory."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # not Linux
        return 0


def give_back() -> None:
    """Returns to the system what nothing refers to; else the process keeps it."""
    for memo in beartype_memos():
        for key in [key for key in memo if isinstance(key, FunctionType)]:
            del memo[key]
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real photographs and weights beside the checkout."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("needs real photographs and weights in ../shared")
    return folder


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A store with three small heads, trained once for all tests; whoever changes it takes a copy."""
    from tests.heads.small import train_all

    return once(tmp_path_factory, "trained", train_all)
