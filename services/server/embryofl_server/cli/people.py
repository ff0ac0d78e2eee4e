"""`embryofl-server people`: who may use the console and the commands, and as what. Only on the hub's machine."""

from typing import Annotated, Any

import typer
from rich.console import RenderableType

from embryofl.command_line import command_line
from embryofl.errors import UserError
from embryofl_server.api.client import call
from embryofl_server.cli.secret import ask_password, make_password
from embryofl_server.cli.text import AsJson, output, table, utc
from embryofl_server.state.people import Role

app = command_line("People: who may log in to the console, and as what.")
Name = Annotated[str, typer.Argument(help="The person's name: small letters, digits, dots, hyphens.")]


@app.command("list")
def list_(json_: AsJson = False) -> None:
    """List all people: role, since when, whether they may log in."""
    output(call("GET", "/control/people"), json_, people_table)


@app.command()
def add(
    name: Name,
    role: Annotated[Role, typer.Option(help="viewer reads, auditor reads the audit log as well, coordinator acts.")],
) -> None:
    """Add a person, or let a disabled one in again. The password is asked for; without one, one is made and shown once."""
    password, made = _new_password(name)
    call("POST", "/control/people", {"name": name, "role": role, "password": password})
    typer.echo(f"{name} may log in as {role}.{made}")


@app.command()
def password(name: Name) -> None:
    """Replace a person's password, which ends the person's sessions. Without one, one is made and shown once."""
    new, made = _new_password(name)
    call("POST", "/control/people/password", {"name": name, "password": new})
    typer.echo(f"{name} has a new password; all sessions of {name} have ended.{made}")


@app.command()
def disable(name: Name) -> None:
    """Let a person in no more; sessions of that person end at once."""
    call("POST", "/control/people/disable", {"name": name})
    typer.echo(f"{name} may no longer log in; all sessions of {name} have ended.")


@app.command("end-codes")
def end_codes(name: Name) -> None:
    """Let a person who has lost the app with one-time codes log in without."""
    call("POST", "/control/people/codes/end", {"name": name})
    typer.echo(f"{name} logs in without one-time codes, and can set them up anew.")


@app.command()
def bind(
    name: Name,
    sub: Annotated[
        str, typer.Option(help="The account's `sub`, which its person reads on the console's login page.")
    ] = "",
    email: Annotated[str, typer.Option(help="Or its e-mail address, if the provider verifies addresses.")] = "",
) -> None:
    """Let a person log in with an account of the institution's (EMBRYOFL_OIDC_ISSUER). Ends the person's sessions."""
    if not (sub or email):
        raise UserError("H10", "Whose account is it? Expected --sub or --email.")
    call("POST", "/control/people/bind", {"name": name, "sub": sub, "email": email})
    typer.echo(f"{name} may log in with the institution's account {sub or email}.")


@app.command()
def unbind(name: Name) -> None:
    """Let a person no longer log in with an account of the institution's; sessions of that person end at once."""
    call("POST", "/control/people/bind", {"name": name})
    typer.echo(f"{name} has no account of the institution's any more; all sessions of {name} have ended.")


@app.command()
def sessions(json_: AsJson = False) -> None:
    """List all sessions: whose, from when, until when."""
    output(call("GET", "/control/sessions"), json_, sessions_table)


@app.command()
def end(number: Annotated[int, typer.Argument(help="The session's number; `people sessions` lists them.")]) -> None:
    """End a session at once."""
    typer.echo(f"Session {number} of {call('POST', '/control/sessions/end', {'number': number})['name']} has ended.")


def _new_password(name: str) -> tuple[str, str]:
    """A password, and what to say of it if it was made here."""
    if typed := ask_password(name, new=True):
        return typed, ""
    made = make_password()
    return made, f" Password (shown this once): {made}"


def people_table(people: list[dict[str, Any]]) -> RenderableType:
    """Everybody, a row each."""
    shown = table("person", "role", "one-time codes", "institution's account", "added", "disabled")
    for p in people:
        disabled = utc(p["disabled"]) if p["disabled"] else "-"
        coded = "yes" if p["coded"] else "no"
        shown.add_row(p["name"], p["role"], coded, p["account"] or "-", utc(p["added"]), disabled)
    return shown


def sessions_table(sessions: list[dict[str, Any]]) -> RenderableType:
    """All sessions, a row each."""
    shown = table("session", "person", "began", "ends")
    for s in sessions:
        shown.add_row(str(s["number"]), s["person"], utc(s["began"]), utc(s["ends"]))
    return shown
