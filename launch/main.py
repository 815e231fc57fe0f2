"""The `launch` command: every subcommand in a file of its own, which parses, calls one library function and prints."""

from __future__ import annotations

import sys

import typer

from launch import (
    bench,
    bundle,
    compare,
    demo,
    evaluate,
    label,
    labels,
    loop,
    merge,
    plan,
    promote,
    query,
    releases,
    rollback,
    score,
    serve,
    simulate,
    train,
    weights,
)
from prohibit_jax.types import InputError

STOPPED = 130  # what Typer makes of Ctrl-C

app = typer.Typer(
    help="Find prohibited items in uploaded photographs: one small network per category, all in one call.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("demo")(demo.demo)
app.command("train")(train.train)
app.command("evaluate")(evaluate.evaluate)
app.command("bundle")(bundle.bundle)
app.command("compare")(compare.compare)
app.command("merge")(merge.merge)
app.command("score")(score.score)
app.command("query")(query.query)
app.command("label")(label.label)
app.command("simulate")(simulate.simulate)
app.command("serve")(serve.serve)
app.command("bench")(bench.bench)
app.command("plan")(plan.plan)
app.command("promote")(promote.promote)
app.command("rollback")(rollback.rollback)
app.command("releases")(releases.releases)
app.add_typer(labels.app, name="labels")
app.add_typer(loop.app, name="loop")
app.add_typer(weights.app, name="weights")


def main() -> None:
    """Runs `launch`; bad input ends in one line on standard error and exit code 2."""
    try:
        code = app(standalone_mode=False)
    except InputError as error:
        _fail(str(error), 2)
    except typer.TyperException as error:  # a wrong or missing option
        _fail(error.format_message(), 2)
    except OSError as error:  # a folder that cannot be written, say
        _fail(f"{error.filename or 'system'}: {error.strerror or error}", 2)
    if code == STOPPED:
        _fail("stopped; score, label and merge go on where they were, a training with --resume", STOPPED)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int) -> None:
    print(f"launch: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
