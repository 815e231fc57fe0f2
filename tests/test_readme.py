"""Every `bash` and `python` block of the README runs, as it stands and in order, in one empty folder.

Later blocks find the files that earlier ones left, and `launch` and `python` are those of the tests' own environment.
A port that a block names is replaced by a free one, since another program may have it.
Each block is a process of its own, so a `python` block imports what it uses. A block that cannot run here says why on
the line before it:

    <!-- not run: needs a GPU -->

Blocks of any other language, or of none, are read only by people.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.waiting import TEST_TIMEOUT, TIMEOUT

README = Path(__file__).resolve().parents[1] / "README.md"
SECONDS = 3 * TIMEOUT  # for a block, which is several commands
RUNNERS = {"bash": ["bash", "-euo", "pipefail"], "python": [sys.executable]}
SKIPPED = "<!-- not run:"
PORT = re.compile(r"(?<=--port )\d+")


class Block(NamedTuple):
    line: int  # of the opening fence, from 1
    language: str
    code: str
    reason: str  # why it is not run, "" where it is


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a Markdown text that are meant to run."""
    found: list[Block] = []
    lines = text.splitlines()
    i, before = 0, ""
    while i < len(lines):
        fence = lines[i].strip()
        if not fence.startswith("```"):
            before = fence or before
            i += 1
            continue
        end = next((j for j in range(i + 1, len(lines)) if lines[j].strip() == "```"), None)
        assert end is not None, f"line {i + 1}: the block has no end"
        language = fence.removeprefix("```").strip()
        if language in RUNNERS:
            skipped = before.startswith(SKIPPED)
            reason = before.removeprefix(SKIPPED).removesuffix("-->").strip() if skipped else ""
            assert reason or not skipped, f"line {i + 1}: no reason given"
            found.append(Block(i + 1, language, "\n".join(lines[i + 1 : end]) + "\n", reason))
        i, before = end + 1, ""
    return found


def run(block: Block, folder: Path, seconds: float = SECONDS) -> tuple[int, str]:
    """Runs a block: its exit code and what it printed. Past its time, it and all that it started are killed."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    script = folder / f".block{block.line}"
    script.write_text(block.code)
    output = folder / f".block{block.line}.output"
    with output.open("wb") as sink:
        process = subprocess.Popen(
            [*RUNNERS[block.language], script.name],
            cwd=folder,
            env={**os.environ, "PATH": path, "JAX_PLATFORMS": "cpu"},
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            code = -signal.SIGKILL
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # whatever it left running in the background, too
            process.wait()
    return code, output.read_text(errors="replace")


def with_free_ports(code: str) -> str:
    """The code with another port wherever it says one that it listens on."""
    for port in set(PORT.findall(code)):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            code = re.sub(rf"\b{port}\b", str(listener.getsockname()[1]), code)
    return code


@pytest.mark.timeout(10 * TEST_TIMEOUT)  # more than all blocks together may take
def test_every_block_runs(tmp_path: Path) -> None:
    for block in blocks(README.read_text()):
        if block.reason:
            continue
        code, output = run(block._replace(code=with_free_ports(block.code)), tmp_path)
        if code:
            what = "took too long" if code == -signal.SIGKILL else f"exited with {code}"
            pytest.fail(f"README.md line {block.line}: {what}\n{block.code}\n{output[-4000:]}", pytrace=False)


def test_blocks_are_found_and_exceptions_need_a_reason() -> None:
    text = "a\n```bash\nls\n```\n<!-- not run: slow -->\n\n```python\nx\n```\n```text\nno\n```\n"
    assert blocks(text) == [Block(2, "bash", "ls\n", ""), Block(7, "python", "x\n", "slow")]
    with pytest.raises(AssertionError, match="no reason"):
        blocks("<!-- not run: -->\n```bash\nls\n```\n")
    with pytest.raises(AssertionError, match="no end"):
        blocks("```bash\nls\n")


def test_ports_are_replaced_wherever_they_are_named() -> None:
    code = "launch serve --port 8431 &\ncurl localhost:8431/readyz; echo 84310\n"
    port = PORT.findall(replaced := with_free_ports(code))[0]
    assert port != "8431"
    assert replaced == f"launch serve --port {port} &\ncurl localhost:{port}/readyz; echo 84310\n"


def test_a_failing_and_an_endless_block_are_noticed(tmp_path: Path) -> None:
    code, output = run(Block(1, "bash", "echo before; false; echo after\n", ""), tmp_path)
    assert code == 1
    assert output == "before\n"
    os.mkfifo(tmp_path / "pipe")  # nobody writes to it
    code, _ = run(Block(1, "bash", "cat pipe & wait\n", ""), tmp_path, 0.5)
    assert code == -signal.SIGKILL


@pytest.mark.parametrize("page", sorted([README, *README.parent.glob("docs/*.md")]), ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)", page.read_text())
    assert all((page.parent / link).exists() for link in links if "://" not in link), links
