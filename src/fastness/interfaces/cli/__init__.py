"""The command line. Commands import their work when they run, so that `--help` stays fast."""

from __future__ import annotations

import errno
import os
import sys

import typer

from fastness.core.errors import FastnessError
from fastness.interfaces.cli import access, audit, call, convert, house, logins, models, scanning
from fastness.interfaces.cli.context import Format, Options, hoist
from fastness.interfaces.cli.output import fail

__all__ = ["main"]

_EPILOG = "Anywhere on the line: --home FOLDER, --as NAME (whose credentials), --format table|json (scan: also sarif, cyclonedx)."

app = typer.Typer(
    name="fastness",
    help="The stronghold for AI models: from artifact to production safely, and watched from then on.",
    no_args_is_help=True,
    add_completion=False,
    epilog=_EPILOG,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def root(  # noqa: PLR0913 - one parameter an option that may stand anywhere
    context: typer.Context,
    home: str = typer.Option("~/.fastness", "--home", envvar="FASTNESS_HOME", help="The house's folder."),
    who: str = typer.Option("admin", "--as", envvar="FASTNESS_AS", help="Whose credentials to use."),
    credentials: str = typer.Option(
        "", envvar="FASTNESS_CREDENTIALS", help="Folder of credentials [HOME/credentials]."
    ),
    form: Format = typer.Option(Format.TABLE, "--format", help="For people or for programs."),
    passphrase_file: str = typer.Option("", envvar="FASTNESS_PASSPHRASE_FILE", help="File with the home's passphrase."),
    code: str = typer.Option(
        "", envvar="FASTNESS_CODE", help="Second factor for what asks for one [asked for at a terminal]."
    ),
    reason: str = typer.Option("", "--ask", help="Why others are to approve what takes their word; asks them."),
    *,
    version: bool = typer.Option(False, "--version", help="Show the version and leave."),
) -> None:
    """The stronghold for AI models."""
    if version:
        from fastness import __version__

        typer.echo(f"fastness {__version__}")
        raise typer.Exit
    if form in {Format.SARIF, Format.CYCLONEDX} and context.invoked_subcommand != "scan":
        raise typer.BadParameter(f"{form.value} is for scan alone; use table or json", param_hint="--format")
    context.obj = Options.of(home, who, credentials, form, passphrase_file, code, reason)


house.add_to(app)
logins.add_to(app)
app.add_typer(scanning.app, name="scan")
app.command("rules")(scanning.list_rules)
convert.add_to(app)
call.add_to(app)
app.add_typer(models.app, name="models")
app.add_typer(access.app, name="access")
app.add_typer(audit.app, name="audit")
app.command("push")(models.push)


_UNWRITABLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO})
_IO_ERROR = 74  # EX_IOERR of sysexits.h


def main(arguments: list[str] | None = None) -> None:
    """Run one command and leave with its exit status."""
    given = hoist(sys.argv[1:] if arguments is None else arguments)
    try:
        app(given, prog_name="fastness")
    except FastnessError as error:
        sys.exit(fail(error, as_json="--format" in given and given[given.index("--format") + 1] == "json"))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(141)
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        sys.stderr.write(f"refused: the output cannot be written: {error.strerror}\n")
        os._exit(_IO_ERROR)  # what is left of the output cannot be written at the end either
