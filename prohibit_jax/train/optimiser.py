"""The optimiser: clipped AdamW under a warm-up and a cosine."""

from __future__ import annotations

import optax

from prohibit_jax.config import TrainConfig


def optimiser_of(config: TrainConfig, steps: int) -> optax.GradientTransformation:
    """AdamW (Loshchilov and Hutter, arXiv 1711.05101) for a run of `steps` steps.

    The learning rate rises linearly over the warm-up's share of the steps and falls on a cosine to a hundredth. Only
    kernels decay: biases and batch-norm scales have no reason to be small.
    """
    schedule = optax.warmup_cosine_decay_schedule(
        init_value=0.0,
        peak_value=config.learning_rate,
        warmup_steps=max(1, round(config.warmup * steps)),
        decay_steps=max(2, steps),
        end_value=config.learning_rate / 100,
    )
    return optax.chain(
        optax.clip_by_global_norm(config.clip),
        optax.adamw(schedule, weight_decay=config.weight_decay, mask=_decays),
    )


def _decays(params: dict[str, object]) -> dict[str, bool]:
    return {name: name.endswith("kernel") for name in params}
