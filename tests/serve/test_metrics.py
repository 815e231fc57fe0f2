from __future__ import annotations

import jax
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from prometheus_client.parser import text_string_to_metric_families

from prohibit_jax.score.engine import COMPILED
from serve.metrics import PROBABILITIES, Metrics, Scores

HEADS = (("weapon", "1", "decides"), ("cash", "2", "decides"), ("weapon", "5", "shadow"))
probabilities = st.floats(0, 1, width=32) | st.sampled_from([float(p) for p in PROBABILITIES]) | st.just(float("nan"))


def buckets(scores: Scores, head: tuple[str, str, str]) -> dict[str, float]:
    (family,) = scores.collect()
    labels = dict(zip(("class", "version", "role"), head, strict=True))
    found = {}
    for sample in family.samples:
        if labels.items() <= sample.labels.items():
            found[sample.labels.get("le", sample.name.rpartition("_")[2])] = sample.value
    return found


@given(arrays.arrays(np.float32, st.tuples(st.integers(0, 6), st.just(len(HEADS))), elements=probabilities))
def test_a_histogram_counts_as_prometheus_would(scores: np.ndarray) -> None:
    histogram = Scores()
    histogram.observe(HEADS, scores[:2])
    histogram.observe(HEADS, scores[2:])
    for column, head in enumerate(HEADS):
        values = scores[:, column].astype(np.float64)
        values = values[np.isfinite(values)]
        found = buckets(histogram, head)
        for edge in PROBABILITIES:
            assert found[str(edge)] == (values <= edge).sum()
        assert found["+Inf"] == found["count"] == len(values)
        np.testing.assert_allclose(found["sum"], values.sum(), rtol=1e-12)


def test_a_head_that_has_gone_is_forgotten() -> None:
    histogram = Scores()
    histogram.observe(HEADS, np.zeros((1, 3), np.float32))
    histogram.keep(HEADS[1:])
    assert not buckets(histogram, HEADS[0])
    assert buckets(histogram, HEADS[1])["count"] == 1


def test_what_is_compiled_is_counted_while_listening() -> None:
    metrics = Metrics()

    def counted() -> float | None:
        return metrics.registry.get_sample_value("prohibit_compilations_total")

    jax.monitoring.record_event_duration_secs(COMPILED, 0.1)
    metrics.listen()
    try:
        jax.monitoring.record_event_duration_secs(COMPILED, 0.1)
        jax.monitoring.record_event_duration_secs("/jax/core/compile/backend_compile_duration", 0.1)
        jax.monitoring.record_event_duration_secs("/jax/something/else", 0.1)
    finally:
        metrics.unlisten()
    jax.monitoring.record_event_duration_secs(COMPILED, 0.1)
    assert counted() == 2


def test_the_text_is_prometheus_own() -> None:
    metrics = Metrics()
    metrics.requests.labels("/v1/score", 200).inc()
    metrics.scores.observe(HEADS, np.full((2, 3), 0.5, np.float32))
    families = {family.name: family for family in text_string_to_metric_families(metrics.text().decode())}
    assert families["prohibit_score"].type == "histogram"
    assert {sample.labels["role"] for sample in families["prohibit_score"].samples} == {"decides", "shadow"}
    assert "process_resident_memory_bytes" in families
