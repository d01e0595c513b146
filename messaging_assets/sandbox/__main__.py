"""The command line of the sandbox: `python -m messaging_assets.sandbox --help`."""

import json
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import click

from messaging_assets.sandbox.application import Authentication
from messaging_assets.sandbox.faults import KINDS, At, Broken, Faults, scalar_faults
from messaging_assets.sandbox.server import LOOPBACK, Sandbox

_Command = TypeVar("_Command", bound=Callable[..., Any])


class _Help(click.Command):
    """Help in sections: the workspace, the server, the faults."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        faults = {f"--{name.replace('_', '-')}" for name, *_ in scalar_faults()} | {"--fault", "--at"}
        server = {"--host", "--port", "--client-id", "--client-secret", "--authentication", "--help"}
        sections: dict[str, list[tuple[str, str]]] = {"The workspace": [], "The server": [], "Faults": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                names = set(parameter.opts)
                section = "Faults" if names & faults else "The server" if names & server else "The workspace"
                sections[section].append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records, col_max=26)
        with formatter.section("Kinds of --fault"):
            formatter.write_dl(list(KINDS.items()), col_max=26)


def _parsed(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """Return a type of option that says what is wrong with its text."""

    def read(text: str) -> Any:
        try:
            return parse(text)
        except (TypeError, ValueError) as error:
            raise click.BadParameter(f"{text!r}: {error}") from None

    return read


def _resource(text: str) -> tuple[str, list[Any]]:
    name, equals, file = text.partition("=")
    if not equals:
        raise ValueError("is not of the form NAME=FILE")
    try:
        rows = json.loads(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(error.strerror) from None
    if not isinstance(rows, list):
        raise ValueError("the file holds no JSON array")
    return name, rows


def _fault_options(command: _Command) -> _Command:
    """Add an option for each fault that is a single value."""
    for name, kind, default, text in reversed(scalar_faults()):
        option = "--" + name.replace("_", "-")
        if kind is bool:
            command = click.option(option, name, is_flag=True, help=text)(command)
        elif get_origin(kind) is Literal:
            choice = click.Choice(list(get_args(kind)))
            command = click.option(option, name, type=choice, default=default, show_default=True, help=text)(
                command
            )
        else:
            simple = next((part for part in get_args(kind) if part is not type(None)), kind)
            shown = default is not None
            command = click.option(option, name, type=simple, default=default, show_default=shown, help=text)(
                command
            )
    return command


@click.command(cls=_Help, context_settings={"max_content_width": 110})
@click.option("--users", default=100, show_default=True, help="How many users there are at first.")
@click.option("--channels", default=8, show_default=True, help="How many channels there are at first.")
@click.option("--messages", default=2000, show_default=True, help="How many messages there are at first.")
@click.option(
    "--growth-per-hour",
    default=6.0,
    show_default=True,
    help="How many messages an hour are added; 0 makes the workspace stand still.",
)
@click.option("--seed", default=1, show_default=True, help="Other contents, other draws of faults.")
@click.option(
    "--resource",
    "resources",
    multiple=True,
    metavar="NAME=FILE",
    type=_parsed(_resource),
    help="Serve one more list: its rows are the JSON array of a file. May be given again.",
)
@click.option("--host", default=LOOPBACK, show_default=True, help="Where to listen.")
@click.option("--port", default=0, help="The port; a free one by default.")
@click.option("--client-id", default="sandbox", show_default=True, help="What it accepts as the client's id.")
@click.option("--client-secret", default=None, help="What it accepts as the secret; a new one by default.")
@click.option(
    "--authentication",
    type=click.Choice(get_args(Authentication)),
    default="oauth2",
    show_default=True,
    help="What the lists want.",
)
@click.option(
    "--fault",
    "broken",
    multiple=True,
    metavar="KIND[,NAME=VALUE...]",
    type=_parsed(Broken.parse),
    help="Let answers go wrong, in one of the ways below; a number is a status. Conditions: resource=, "
    "rate=, times=, after=, position=. May be given again.",
)
@click.option(
    "--at",
    "script",
    multiple=True,
    metavar="PAGE[/EVERY],CHANGE",
    type=_parsed(At.parse),
    help="Let rows change before a page of their list is served. CHANGE is insert, delete, edit or move, a "
    "resource, count=, where= and (move) to=: head, middle, tail, random or a number. May be given again.",
)
@_fault_options
def main(
    *,
    resources: tuple[tuple[str, list[Any]], ...],
    broken: tuple[Broken, ...],
    script: tuple[At, ...],
    **options: Any,
) -> None:
    """Serve a messaging API in a box: users, channels and messages, by limit and offset, behind OAuth2.

    It prints its address and how to point the platform at it, and runs until Ctrl+C.

    \b
    Examples:
      python -m messaging_assets.sandbox --messages 100000 --latency 0.02
      python -m messaging_assets.sandbox --page-cap 50 --total absent --fault 503,rate=0.1
      python -m messaging_assets.sandbox --fault 429,retry_after=2,times=3,resource=users
      python -m messaging_assets.sandbox --at 3,delete,messages,count=5 --at 4/2,insert,messages,where=tail
    """
    names = {name for name, *_ in scalar_faults()}
    faults = {name: value for name, value in options.items() if name in names}
    settings = {name: value for name, value in options.items() if name not in names}
    sandbox = Sandbox.living(faults=Faults(**faults, broken=broken, script=script), **settings)
    for name, rows in resources:
        sandbox.add_resource(name, rows)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    try:
        sandbox.start()
    except OSError as error:
        raise click.ClickException(
            f"can't listen on {options['host']}:{options['port']}: {error.strerror}"
        ) from None
    with sandbox:
        click.echo(_introduction(sandbox))
        ended.wait()


def _introduction(sandbox: Sandbox) -> str:
    lists = ", ".join(f"/v1/{name} ({sandbox.workspace.total(name)})" for name in sandbox.workspace.names())
    return f"""\
The sandbox listens at {sandbox.base_url} until Ctrl+C.
It serves {lists}.

Point the connection `messaging` at it:
  export SOURCES__MESSAGING__BASE_URL={sandbox.base_url}
  export SOURCES__MESSAGING__CLIENT_ID={sandbox.client_id}
  export SOURCES__MESSAGING__CLIENT_SECRET={sandbox.client_secret}

Get a token:
  curl -d grant_type=client_credentials -d client_id={sandbox.client_id} \\
    -d client_secret={sandbox.client_secret} {sandbox.base_url}/oauth/token
"""


if __name__ == "__main__":
    main(prog_name="python -m messaging_assets.sandbox")
