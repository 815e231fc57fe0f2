"""schemathesis over all of the document: no answer that the document does not have, and no 5xx but a 503."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from serve.openapi import document
from serve.settings import ServeConfig
from tests.serve.conftest import ADMIN_KEY, Start, tiny_store
from tests.waiting import TEST_TIMEOUT, TIMEOUT

SCHEMATHESIS = Path(__file__).resolve().parents[2] / ".venv/clients/bin/schemathesis"
CONFIG = Path(__file__).with_name("schemathesis.toml")
DATA_KEY = "a-data-key-for-tests"
EXAMPLES = 40  # of an operation, in each phase
OPERATIONS = sum(len(item.keys() & {"get", "post"}) for item in document(ServeConfig())["paths"].values())
FETCHING = ("--set", 'fetch.hosts=["photos.invalid"]')
pytestmark = pytest.mark.skipif(
    not SCHEMATHESIS.exists(), reason="the environment of test clients is absent: make test installs it"
)


@pytest.mark.parametrize("key", [ADMIN_KEY, DATA_KEY], ids=["admin", "data"])
def test_the_service_does_what_it_says(start: Start, tmp_path: Path, key: str) -> None:
    options = ("--set", "service.batch_sizes=[1, 5]", "--set", "service.spare=8")
    env = {"PROHIBIT_KEYS": DATA_KEY}
    server = start(tiny_store(tmp_path / "store"), *options, *(FETCHING if key == DATA_KEY else ()), env=env)
    done = subprocess.run(
        [
            *(SCHEMATHESIS, "--config-file", CONFIG, "--no-color", "run", f"{server.url}/openapi.json"),
            *("--header", f"Authorization: Bearer {key}", "--checks", "all", "--max-examples", str(EXAMPLES)),
            # However busy the machine is: what takes long is for the load tests to say.
            *("--request-timeout", str(TIMEOUT), "--max-response-time", str(TIMEOUT)),
            *("--suppress-health-check", "too_slow", "--generation-deterministic", "--warnings", "off"),
        ],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TEST_TIMEOUT,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr
    assert f"Tested: {OPERATIONS - 1}\n" in done.stdout, "all but the document itself"
    assert not [line for line in server.lines() if line["event"] == "error"]
