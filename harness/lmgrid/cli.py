"""Defines the command ``lmgrid`` and its subcommands."""

from __future__ import annotations

import errno
import io
import os
import shlex
import sys
from contextlib import suppress
from typing import Any

import click

from lmgrid import __version__
from lmgrid.commands.describe import describe
from lmgrid.commands.doctor import doctor
from lmgrid.commands.generate import generate
from lmgrid.commands.grids import grids
from lmgrid.commands.kernels import kernels
from lmgrid.commands.options import COMMAND_LINE
from lmgrid.commands.plan import plan
from lmgrid.commands.plugins import plugins
from lmgrid.commands.predict import predict
from lmgrid.commands.replay import replay
from lmgrid.commands.run import INTERRUPTED, run
from lmgrid.commands.tables import tables
from lmgrid.commands.verify import verify
from lmgrid.errors import UserError
from lmgrid.printable import printable


class _RefusedRequest(click.ClickException):
    """A mistake in what was asked; ends with status 2."""

    exit_code = 2

    def format_message(self) -> str:
        return printable(self.message)


def _discard_output() -> None:
    """Drop output that could not be written, so that Python does not write it again at exit."""
    with suppress(OSError, ValueError, AttributeError):  # stdout has no file, or is None
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _CommandGroup(click.Group):
    """Shows a UserError as one message, and lists the commands in the order they were added."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except UserError as mistake:
            raise _RefusedRequest(str(mistake)) from None
        except UnicodeEncodeError:
            message = "an argument is not UTF-8, or this terminal cannot show it"
            raise _RefusedRequest(message) from None
        except KeyboardInterrupt:
            raise click.exceptions.Exit(INTERRUPTED) from None
        except OSError as error:
            if (
                error.errno == errno.EPIPE
            ):  # the reader of a pipe closed it; click exits without a message
                raise
            _discard_output()
            raise click.ClickException(printable(str(error))) from None

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Run a command; characters that the terminal cannot show are replaced by a mark."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")
        return super().main(*arguments, **options)

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        context.meta[COMMAND_LINE] = shlex.join(("lmgrid", *args))
        return super().parse_args(context, args)

    def list_commands(self, context: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, package_name="lmgrid")
def main() -> None:
    """Compare language models, optimizers and regularizers over a grid.

    \b
    Examples:
      lmgrid run                       run the quickstart
      lmgrid grids                     list the grids that come with lmgrid
      lmgrid plan my.toml              show what would be run
      lmgrid run my.toml -j 2          run it, two cells at a time
      lmgrid tables results/runs/my    print the tables of its records
      lmgrid run --help                show the options of a command

    \b
    Exit status:
      0    every cell finished
      1    a cell failed, or a check found a difference or damage
      2    the command or the grid file has a mistake
      130  interrupted
    """


for _command in (
    run,
    plan,
    grids,
    tables,
    kernels,
    plugins,
    describe,
    generate,
    predict,
    verify,
    replay,
    doctor,
):
    main.add_command(_command)
