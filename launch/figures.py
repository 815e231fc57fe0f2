"""A head's figures as a table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from launch.console import table


def metrics_table(title: str, metrics: Mapping[str, Any]) -> Table:
    """The metrics of `prohibit_jax.evaluate.report.evaluate`, or of `evaluate.several`, a row each."""
    rows = [[name.replace("_", " "), _cell(value)] for name, value in metrics.items() if not _nested(value)]
    for name, figures in metrics.get("classes", {}).items():
        rows.append([f"average precision of {name}", _cell(figures["average_precision"])])
    return table(title, ["metric", "value"], rows)


def _nested(value: Any) -> bool:
    return isinstance(value, Mapping) and "value" not in value


def _cell(value: Any) -> str:
    if not isinstance(value, Mapping):
        return f"{value:.4g}" if isinstance(value, float) else str(value)
    text = "-" if value["value"] is None else f"{value['value']:.3f}"
    if value.get("low") is not None:
        text += f"  ({value['low']:.3f} to {value['high']:.3f})"
    return text + (f"  at {value['target']:.2f}" if "target" in value else "")
