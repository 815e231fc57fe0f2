"""LitServe around the same scorer, as its documentation says it is fastest; started by bench/serve.py.

    PYTHON -m bench.lit_server --store store --port 8001

PYTHON has LitServe, which is no dependency of the project, and beside it all that the scorer needs. Photos of several
requests are decoded one after the other by the process that scores them, since that is where LitServe decodes.
"""

# Annotations stay objects: LitServe hands that of `request` to FastAPI as it is.
import argparse
from collections.abc import Sequence
from typing import Annotated, Any

import litserve
import numpy as np
from fastapi import Body

from bench.child import BUNDLE
from prohibit_jax.images.resize import load
from prohibit_jax.score.scorer import BATCH_SIZES, load_scorer


class Scoring(litserve.LitAPI):
    """A photo's bytes in, a probability for each class out."""

    def __init__(self, store: str, batch_sizes: Sequence[int], precision: Any, wait: float) -> None:
        super().__init__(max_batch_size=max(batch_sizes), batch_timeout=wait)
        self._options = (store, tuple(batch_sizes), precision)

    def setup(self, device: str) -> None:
        """LitServe's: once in each process that scores."""
        store, batch_sizes, precision = self._options
        self._scorer = load_scorer(BUNDLE, store, batch_sizes, precision=precision)
        (self._size,) = self._scorer.sizes

    # A body of bytes as it came: neither base64 in JSON nor a form's parser stands in its way.
    def decode_request(self, request: Annotated[bytes, Body(media_type="image/jpeg")]) -> np.ndarray:
        return load(request, self._size)

    def batch(self, inputs: list[np.ndarray]) -> np.ndarray:
        """LitServe's."""
        return np.stack(inputs)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """LitServe's."""
        return self._scorer(x)

    def unbatch(self, output: np.ndarray) -> list[np.ndarray]:
        """LitServe's."""
        return list(output)

    def encode_response(self, output: np.ndarray) -> dict[str, float]:
        """LitServe's."""
        return dict(zip(self._scorer.classes, output.tolist(), strict=True))


def main() -> None:
    """Parses, serves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=list(BATCH_SIZES))
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--wait", type=float, default=0.01, help="seconds for a batch to fill")
    parser.add_argument("--workers", type=int, default=1, help="processes that score")
    arguments = parser.parse_args()
    api = Scoring(arguments.store, arguments.batch_sizes, arguments.precision, arguments.wait)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=arguments.workers, fast_queue=True)
    server.run(
        host="127.0.0.1",
        port=arguments.port,
        log_level="warning",
        pretty_logs=False,
        generate_client_file=False,
        access_log=False,
    )


if __name__ == "__main__":
    main()
