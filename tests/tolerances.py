"""Every tolerance of the tests by name, with the reason for its size; a test compares with a name from here."""

from __future__ import annotations

LOGITS_PARITY = 1e-4
"""Of the logits' scale, against another library on the same weights: 50 layers of float32 sums in another order."""

CONVOLUTION = 1e-5
"""Of the largest value, one convolution or its gradient in float32: up to a few hundred products in another order."""

ONE_LAYER = 1e-6
"""Of the largest value, the same network cut, stacked or compiled otherwise: rounding of fused float32 operations."""

STACKED = 1e-5
"""Of the largest logit, the same heads stacked, cut into turns or shared out over devices otherwise."""

HALF = 0.2
"""Of the largest logit of random networks, which double every error a few times: bfloat16 against float32 products."""

ROUNDED = 2**-8
"""Relative, a kernel's output in bfloat16 against the same sum in float32: one rounding, and tanh to 2^-11."""

SERVED = 5e-5
"""Of the logits' scale, the network as trained against the folded and stacked one that serves: 1e-7 to 1e-5 seen."""

FIGURES = 1e-3
"""Of a head's figures from either: two photos of nearly the same logit may change places."""

COSINES = 1e-6
"""Cosines of float32 vectors of unit length, the same product in other blocks."""

# IMAGES: differences of 8-bit pixel values.

JPEG_PIXELS = 3.0
"""Mean difference of a smooth picture after JPEG at quality 95: quantisation of its frequencies."""

DRAFT_PIXELS = 2.2
"""Mean difference at the network's size of JPEG decoded at reduced scale and in full: 1.5 to 2.1 on photographs."""

CMYK_PIXELS = 6
"""Largest difference of flat colours through a CMYK file: JPEG at quality 95 of four channels, each rounded."""

RAMP_PIXELS = 0.6
"""A 16-bit ramp's mean at 8 bits: rounding half a value, and no more."""

ORACLE = 1e-9
"""Against scikit-learn in float64: the same sums in another order."""

PLATT = 0.06
"""Relative and absolute, of scale and offset fitted to 20,000 photos: about three standard errors."""

COVERAGE = 0.01
"""Of a rate of coverage: what Wilson's interval is known to fall short by, and the noise of a few hundred draws."""

DRAFT_LOGIT = 0.015
"""Of the logits' range over photographs, JPEG decoded at reduced scale against in full; 0.008 was measured."""

DRAFT_SCORE = 0.01
"""Of a probability, the same."""

BATCHED_SCORE = 1e-4
"""Of a probability, the same photo in a batch of another size: another program, which adds in another order."""

SERVICE_MEMORY = 64 * 2**20
"""Bytes that a service may have more after the same uploads again: allocators keep what fits badly."""

SERVED_SCORE = 1e-5
"""Of a probability, from the service against the scorer at hand: batches of another size add in another order."""

HALF_EMBEDDING = 2e-3
"""Of the logits' range, a classifier on stored embeddings against the scorer: they are kept as float16, 5e-4 each."""

FOLDED_FIT = 2e-2
"""Of a logit, a classifier fitted without photos against one that gave them no weight: both stop near the least."""

CLASSIFIER = 2e-2
"""Logits of the same convex problem from another solver, or with photos padded otherwise: where each stops."""

RIDGE = 1e-4
"""A classifier fitted on sums over parts, in float64, against the one of all photos at once, in float32."""
