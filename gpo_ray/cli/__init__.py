"""The command line ``gpo COMMAND``; every command with ``--json`` ends with one JSON object.

Each command itself imports the modules that it computes with, so that other commands, and every ``--help``,
start at once.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Annotated, Any, NoReturn

import typer

from gpo_ray import __version__
from gpo_ray.cli import (
    bundle,
    cache,
    cluster,
    embed,
    evaluate,
    guess,
    plan,
    predict,
    preflight,
    quickstart,
    serve,
    survey,
    train,
    tune,
)
from gpo_ray.errors import GPOError, shortened
from gpo_ray.runtime import signals, terminal
from gpo_ray.runtime.terminal_text import one_line
from gpo_ray.runtime.threads import settle

VERBOSE = "--verbose"

app = typer.Typer(
    name="gpo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Group Preference Optimization on Ray.",
)
app.add_typer(survey.app, name="survey")
app.add_typer(bundle.app, name="bundle")
app.add_typer(cache.app, name="cache")
app.add_typer(serve.app, name="serve")
app.command()(preflight.preflight)
app.add_typer(cluster.app, name="cluster")
app.command()(plan.plan)
app.command()(embed.embed)
app.add_typer(guess.app, name="guess")
app.command()(train.train)
app.command()(evaluate.evaluate)
app.command()(tune.tune)
app.command()(quickstart.quickstart)
app.command()(predict.predict)
UsageError: Any = typer.BadParameter.__mro__[1]  # of typer's own copy of click, not exported


def main() -> None:
    """Run the command line; the user's errors become one line on standard error and an exit code."""
    arguments = sys.argv[1:]
    terminal.set_up(verbose=VERBOSE in arguments)
    with signals.noted() as noted:
        try:
            # removed here, so that it may stand anywhere
            code = _run([a for a in arguments if a != VERBOSE])
        except BaseException:
            noted.settle()
            if noted.number is None:
                raise
            code = None  # signal handlers of Ray and Tune raise exceptions of any kind
        if noted.number is not None:
            noted.leave()
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    """Run a command and return its exit code."""
    try:
        settle()  # before any numerical library is loaded
        code = app(arguments, standalone_mode=False)
    except GPOError as e:
        _fail(str(e), e.exit_code)
    except UsageError as e:
        if type(e).__name__ == "NoArgsIsHelpError":
            print(e.format_message())
            return 2
        _fail(f"{e.format_message()} (see --help)", 2)
    except typer.Abort:
        return 130
    except ModuleNotFoundError as e:
        if VERBOSE in sys.argv or (e.name or "gpo_ray").startswith("gpo_ray"):
            raise
        _fail(f"this needs {e.name}; install it with: pip install 'gpo-ray[all]' (--verbose shows where)", 2)
    except OSError as e:
        if VERBOSE in sys.argv:
            raise
        _drop_output()
        where = f"{e.filename}: " if e.filename else ""
        _fail(f"{where}{e.strerror or e} (--verbose shows where)", 2)
    return code if isinstance(code, int) else 0


def _drop_output() -> None:
    """Redirect standard output to nowhere if it cannot be written, for example on a full disk."""
    try:
        sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError), open(os.devnull, "w") as nothing:  # noqa: PTH123
            os.dup2(nothing.fileno(), 1)


def _fail(message: str, code: int) -> NoReturn:
    print(f"error: {shortened(one_line(message))}", file=sys.stderr)
    sys.exit(code)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
    verbose: Annotated[  # noqa: ARG001 - main took it already
        bool, typer.Option(VERBOSE, help="Of any command: show what Ray, DeepSpeed and torch say too.")
    ] = False,
) -> None:
    if version:
        print(__version__)
        raise typer.Exit
