"""`embryofl-server`'s commands about clinics: invite, approve, list, suspend, revoke, rename."""

import json
from typing import Annotated, Any

import typer

from embryofl_server.cli.call import hub_call

app = typer.Typer()

ClinicArgument = Annotated[str, typer.Argument(help="The clinic's name.")]
Reason = Annotated[str, typer.Option(help="Why; the clinic is told.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def invite(
    name: Annotated[str, typer.Argument(help="The clinic's name: small letters, digits, hyphens.")],
    days: Annotated[
        float, typer.Option(min=0, max=366, help="Days until it expires; 0: EMBRYOFL_INVITE_DAYS (7).")
    ] = 0,
    word: Annotated[bool, typer.Option("--word", help="Print the invite alone, and not what to send.")] = False,
    again: Annotated[
        bool,
        typer.Option("--reconnect", "--again", help="For an enrolled clinic that no longer finds or trusts the hub."),
    ] = False,
) -> None:
    """Make a one-time invite for a clinic and print what to send."""
    made = hub_call("POST", "/control/invites", {"name": name, "days": days, "again": again})
    if word:
        typer.echo(made["invite"])
        return
    from embryofl_server.cli.show_members import what_to_send, what_to_send_again

    if again:
        typer.echo(what_to_send_again(name, made["invite"]))
        return
    typer.echo(what_to_send(name, made["invite"], made["expires"], manual=made["manual"]))


@app.command()
def invites(json_: AsJson = False) -> None:
    """List all invites: open, used, expired or withdrawn. Their secrets are not kept."""
    found = hub_call("GET", "/control/invites")
    if json_:
        typer.echo(json.dumps(found, indent=1))
        return
    from embryofl_server.cli.show_members import invites_table

    _print(invites_table(found) if found else "No invite yet. Make one with: embryofl-server invite NAME")


@app.command()
def statistics(json_: AsJson = False) -> None:
    """What the clinics' images come to together: light, colour, magnification; and which clinic differs."""
    found = hub_call("GET", "/control/statistics")
    if json_:
        typer.echo(json.dumps(found, indent=1))
        return
    from embryofl_server.cli.show_data import statistics_table

    _print(statistics_table(found) if found["all"] else "No clinic has told anything of its images yet.")


@app.command()
def withdraw(name: ClinicArgument) -> None:
    """Take back the unused invite of a clinic."""
    hub_call("POST", "/control/invites/withdraw", {"name": name})
    typer.echo(f"The invite for {name} is withdrawn: nobody can join with it.")


@app.command()
def clinics(json_: AsJson = False) -> None:
    """List all clinics: state, since when, last seen, what their data is said to be, key, certificate."""
    found = hub_call("GET", "/control/clinics")
    if json_:
        typer.echo(json.dumps(found, indent=1))
        return
    from embryofl_server.cli.show_members import clinics_table

    _print(clinics_table(found) if found else "No clinic yet. Invite one with: embryofl-server invite NAME")


def _print(what: Any) -> None:
    from embryofl_server.cli.show import make_console

    make_console().print(what, soft_wrap=isinstance(what, str))


@app.command()
def approve(clinic: ClinicArgument) -> None:
    """Let a clinic in that waits for approval (EMBRYOFL_APPROVAL=manual)."""
    hub_call("POST", "/control/approve", {"name": clinic})
    typer.echo(f"{clinic} belongs to the federation and takes part from the next round on.")


@app.command()
def refuse(clinic: ClinicArgument, reason: Reason = "") -> None:
    """Turn a clinic away that waits for approval; its key cannot ask again."""
    hub_call("POST", "/control/refuse", {"name": clinic, "reason": reason})
    typer.echo(f"{clinic} is refused.")


@app.command()
def suspend(clinic: ClinicArgument, reason: Reason = "") -> None:
    """Take a clinic out of all runs until `resume`; no other clinic notices."""
    hub_call("POST", "/control/suspend", {"name": clinic, "reason": reason})
    typer.echo(f"{clinic} is suspended. Let it take part again with: embryofl-server resume {clinic}")


@app.command()
def resume(clinic: ClinicArgument) -> None:
    """Lift a clinic's suspension: it takes part from the next round on. (A paused run: `continue`.)"""
    hub_call("POST", "/control/resume", {"name": clinic})
    typer.echo(f"{clinic} takes part again.")


@app.command()
def revoke(clinic: ClinicArgument, reason: Reason = "") -> None:
    """End a clinic's membership for good: its key never works again. No other clinic notices."""
    hub_call("POST", "/control/revoke", {"name": clinic, "reason": reason})
    typer.echo(
        f"{clinic} is revoked, and its key never works again. To have it back, with a new key: "
        f"embryofl-server invite {clinic}"
    )


@app.command()
def rename(clinic: ClinicArgument, to: Annotated[str, typer.Argument(help="The new name.")]) -> None:
    """Give a clinic another name; its key, and all else, stays. Not while a run is under way."""
    hub_call("POST", "/control/rename", {"name": clinic, "to": to})
    typer.echo(f"{clinic} is called {to} from now on.")


@app.command("rotate-ca")
def rotate_ca(
    finish: Annotated[bool, typer.Option("--finish", help="End the trust in the old authority.")] = False,
    without: Annotated[
        list[str] | None, typer.Option(help="With --finish: a clinic that may be left behind. Repeatable.")
    ] = None,
) -> None:
    """Change the authority that clinics trust: first both are, and clinics learn of it by themselves; then --finish."""
    made = hub_call("POST", "/control/authority", {"finish": finish, "without": without or []})
    if not finish:
        missing = ", ".join(made["missing"]) or "nobody"
        typer.echo(
            f"There is a new authority. Clinics that are connected take it within seconds; missing now: {missing} (see "
            "status). When nobody is: embryofl-server rotate-ca --finish"
        )
        return
    typer.echo("The new authority is the only one now; the old one's key is deleted.")
    if made["left_behind"]:
        typer.echo(f"Left behind: {', '.join(made['left_behind'])}. With a new invite, key and membership stay:")
        for name in made["left_behind"]:
            typer.echo(f"  embryofl-server invite {name} --reconnect")
    if made["withdrawn"]:
        typer.echo(f"Invites that carried the old one are withdrawn; make new ones for: {', '.join(made['withdrawn'])}")
