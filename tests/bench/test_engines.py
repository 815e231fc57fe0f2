"""Which engines there are, and that each of those that are installed computes what the networks compute."""

from __future__ import annotations

from dataclasses import replace

import pytest

from prohibit_jax.bench.engines import OURS, PEERS, REFERENCE, Engine, peers_of
from prohibit_jax.bench.race import TOLERANCE, differ
from prohibit_jax.types import InputError
from tests.bench.fakes import tiny

ENGINES = {engine.name: engine for engine in (OURS, *PEERS)}


@pytest.mark.parametrize("trunk", ["", "s3"])
@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_computes_what_the_networks_compute(name: str, trunk: str) -> None:
    engine = ENGINES[name]
    if engine.missing or "cpu" not in engine.devices:
        pytest.skip(engine.missing or "needs a GPU")
    work = tiny(trunk)
    running = engine.loaded(work)
    images = work.photos()
    assert running.call(images).shape == (work.batch, work.heads)
    truth = REFERENCE.loaded(work).logits(images)
    assert differ(running.logits(images), truth) < TOLERANCE[running.precision]
    assert running.weights > 0


def test_peers_by_name() -> None:
    assert peers_of("none", "cpu") == ()
    assert [peer.name for peer in peers_of("jax loop, jax.vmap,jax loop", "cpu")] == ["jax loop", "jax.vmap"]
    on_cpu, on_gpu = ({peer.name for peer in peers_of("all", kind)} for kind in ("cpu", "gpu"))
    assert {
        "torch",
        "torch channels-last bf16",
        "torch.func.vmap",
        "onnxruntime",
        "openvino",
        "openvino bf16",
    } <= on_cpu
    assert {"torch", "torch.compile bf16", "torch.func.vmap", "jax.vmap", "jax loop"} <= on_gpu
    assert "onnxruntime" not in on_gpu


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [("tensorflow", "cpu", "'tensorflow': use all, none"), ("torch.compile bf16", "cpu", "does not run on a cpu")],
)
def test_peers_that_there_are_not(text: str, kind: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        peers_of(text, kind)


def test_a_peer_that_is_not_installed_says_what_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = Engine("absent", "nowhere:load", needs=("json", "no_such_library"))
    assert absent.missing == "needs no_such_library: pip install 'prohibit-jax[bench]'"
    monkeypatch.setattr("prohibit_jax.bench.engines.PEERS", (absent,))
    assert peers_of("all", "cpu") == (absent,)
    with pytest.raises(InputError, match=r"'absent': needs no_such_library: pip install 'prohibit-jax\[bench\]'"):
        peers_of("absent", "cpu")
    assert replace(absent, needs=("json",)).missing == ""
