"""The command line: ``lmgrid COMMAND``."""

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


class _Refusal(click.ClickException):
    exit_code = 2

    def format_message(self) -> str:
        return printable(self.message)


def _forget_output() -> None:
    """Let what could not be written go, so that the interpreter does not try again at its end."""
    with suppress(OSError, ValueError, AttributeError):  # a stream without a file, or none
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Group(click.Group):
    """Shows a UserError as one message, in the order in which commands are first needed."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except UserError as mistake:
            raise _Refusal(str(mistake)) from None
        except UnicodeEncodeError:
            raise _Refusal("an argument is not UTF-8, or this terminal cannot show it") from None
        except KeyboardInterrupt:
            raise click.exceptions.Exit(INTERRUPTED) from None
        except OSError as error:
            if error.errno == errno.EPIPE:  # the reader has seen enough; click ends in silence
                raise
            _forget_output()
            raise click.ClickException(printable(str(error))) from None

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Run, with a mark in place of characters that the terminal cannot show."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")
        return super().main(*arguments, **options)

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        context.meta[COMMAND_LINE] = shlex.join(("lmgrid", *args))
        return super().parse_args(context, args)

    def list_commands(self, context: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
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
