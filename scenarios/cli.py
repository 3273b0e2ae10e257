"""The command line `agentsim`: the group, its exit statuses and its manners when something is wrong.

Commands load when they are called, so that `agentsim --help` imports click and nothing else. Whatever a user got wrong
is one line on standard error and exit 2; what an agent or observer got wrong is a traceback and exit 1.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final, NoReturn

import click

from scenarios.status import BROKEN_PIPE, FAILED, INTERRUPTED, USER_ERROR

COMMANDS: Final = {
    "solve": ("scenarios.commands.solve:solve", "Solve a problem with asynchronous agents."),
    "generate": ("scenarios.commands.problems:generate", "Make a random problem."),
    "convert": ("scenarios.commands.problems:convert", "Write a problem in another format."),
    "replay": ("scenarios.commands.logs:replay", "Feed a log to observers, or verify it."),
    "inspect": ("scenarios.commands.logs:inspect", "Tell what is in a log."),
    "list": (
        "scenarios.commands.listing:list_",
        "List solvers, observers, generators, aggregators and more.",
    ),
    "reproduce": ("scenarios.commands.reproduce:reproduce", "A paper's table or figure beside ours."),
    "epsilon": ("scenarios.commands.epsilon:epsilon", "The privacy that P-Gibbs claims, and what holds."),
    "audit": ("scenarios.commands.audit:audit", "Guess from messages: how much epsilon is at least."),
    "sweep": ("scenarios.commands.sweep:sweep", "Run many cells from a specification, and keep what comes of them."),
    "report": ("scenarios.commands.report:report", "A page to look at: a sweep's results, or a log replayed."),
    "explore": ("scenarios.commands.explore:explore", "Many schedules, every run checked, failures shrunk."),
    "bench": ("scenarios.commands.bench:bench", "Measure the kernel or the solvers."),
    "demo": ("scenarios.demo:demo", "A guided tour, a minute at most."),
}


class PipeClosed(Exception):
    """Nobody reads our standard output any more."""


class Commands(click.Group):
    """A group whose commands are imported on first use, and whose errors take one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of `COMMANDS`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> object:
        """Call the command; a closed pipe is ours to deal with, click would exit 1."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise PipeClosed from None

    def main(self, args: Sequence[str] | None = None, *others: Any, **options: Any) -> NoReturn:  # noqa: ANN401  # click's signature
        """Run a command and exit with its status."""
        options["standalone_mode"] = False
        status = 0
        try:
            for stream in (sys.stdout, sys.stderr):  # a name may hold what the terminal's encoding lacks
                if hasattr(stream, "reconfigure"):
                    stream.reconfigure(errors="backslashreplace")
            outcome = super().main(args, *others, **options)
            status = outcome if isinstance(outcome, int) else 0
            sys.stdout.flush()
        except Exception as error:
            status = _told(error)
        except KeyboardInterrupt:
            _complain("interrupted")
            status = INTERRUPTED
        sys.exit(status)


def _told(error: Exception) -> int:
    """Say what went wrong and return the exit status."""
    from agentsim.errors import UserError

    if isinstance(error, click.exceptions.Abort):
        _complain("interrupted")
        return INTERRUPTED
    if isinstance(error, click.UsageError):
        where = f" (see {error.ctx.command_path} --help)" if error.ctx is not None else ""
        _complain(f"{error.format_message()}{where}")
        return USER_ERROR
    if isinstance(error, click.ClickException):
        _complain(error.format_message())
        return USER_ERROR
    if isinstance(error, UserError):
        _complain(error)
        return USER_ERROR
    if isinstance(error, (BrokenPipeError, PipeClosed)):
        with contextlib.suppress(OSError):  # or the interpreter would complain while it ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    if isinstance(error, OSError) and error.filename is None and error.strerror:
        _complain(f"cannot write: {error.strerror}")
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return USER_ERROR
    if isinstance(error, OSError) and error.filename is not None and error.strerror:  # a name too long for a file, say
        _complain(f"{os.fsdecode(error.filename)}: {error.strerror}")
        return USER_ERROR
    import traceback

    traceback.print_exception(error)
    return FAILED


def _complain(words: object) -> None:
    from scenarios.screen import complain

    complain(words)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="agentsim", message="%(prog)s %(version)s")
def main() -> None:
    """Run distributed constraint optimisation with real asynchronous agents, and see what each one learns.

    Exit status: 0 solved, infeasible or stopped as told; 1 an agent or observer failed; 2 something in the input is
    wrong; 3 time limit or deadlock; 4 a log differs or is damaged, or exploration found a fault; 130 interrupted (143
    by SIGTERM).
    """
