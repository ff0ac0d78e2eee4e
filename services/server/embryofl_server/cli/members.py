"""`embryofl-server`'s commands about clinics: invite, approve, list, suspend, reinstate, revoke, rename."""

import sys
from typing import Annotated

import typer

from embryofl_server.api.client import call
from embryofl_server.cli.show_members import (
    clinics_table,
    describe_data,
    invite_text,
    invites_table,
    reconnect_text,
    statistics_table,
)
from embryofl_server.cli.text import AsJson, output

app = typer.Typer()

ClinicArgument = Annotated[str, typer.Argument(help="The clinic's name.")]
Reason = Annotated[str, typer.Option(help="The reason, which the clinic receives.")]


@app.command()
def invite(
    name: Annotated[str, typer.Argument(help="The clinic's name: small letters, digits, hyphens.")],
    days: Annotated[
        float, typer.Option(min=0, max=366, help="Days until it expires. 0 = EMBRYOFL_INVITE_DAYS (7).")
    ] = 0,
    code: Annotated[bool, typer.Option("--code", help="Print the invite code only.")] = False,
    reconnect: Annotated[
        bool, typer.Option("--reconnect", help="For an enrolled clinic that no longer finds or trusts the hub.")
    ] = False,
) -> None:
    """Create a one-time invite for a clinic and print what to send."""
    invite = call("POST", "/control/invites", {"name": name, "days": days, "again": reconnect})
    if code:
        typer.echo(invite["invite"])
    elif reconnect:
        typer.echo(reconnect_text(name, invite["invite"]))
    else:
        typer.echo(invite_text(name, invite["invite"], invite["expires"], manual=invite["manual"]))


@app.command()
def invites(json_: AsJson = False) -> None:
    """List all invites: open, used, expired or withdrawn. Their secrets are not stored."""
    output(call("GET", "/control/invites"), json_, invites_table)


@app.command()
def statistics(json_: AsJson = False) -> None:
    """Show the clinics' pooled image statistics (light, colour, magnification) and which clinics differ."""
    output(call("GET", "/control/statistics"), json_, statistics_table)


@app.command()
def withdraw(name: ClinicArgument) -> None:
    """Withdraw the unused invite of a clinic."""
    call("POST", "/control/invites/withdraw", {"name": name})
    typer.echo(f"The invite for {name} is withdrawn: nobody can join with it.")


@app.command()
def clinics(json_: AsJson = False) -> None:
    """List all clinics: state, since when, last seen, reported data, key, certificate."""
    output(call("GET", "/control/clinics"), json_, clinics_table)


@app.command()
def approve(
    clinic: ClinicArgument,
    images: Annotated[
        int, typer.Option(min=0, help="Its labelled images, as you know them. 0 = what it reported on joining.")
    ] = 0,
) -> None:
    """Approve a clinic that is awaiting approval, or with --images one whose data has grown by more than a fifth.

    The number of labelled images bounds the weight of the clinic's updates. It is shown, and in a terminal asked for.
    """
    asked = [c for c in call("GET", "/control/clinics") if c["name"] == clinic and c["state"] == "waiting"]
    for c in asked:
        typer.echo(f"{clinic} reports {describe_data(c)}.")
        if not images and sys.stdin.isatty():
            images = typer.prompt("Labelled images that you confirm", default=c["labelled"], type=int)
    images = images or next((c["labelled"] for c in asked), 0)
    done = call("POST", "/control/approve", {"name": clinic, "images": images or None})
    more = f"Confirmed are {done['approved']} labelled images; up to {done['most_embryos']} embryos count."
    typer.echo(f"{clinic} is enrolled and takes part from the next round on. {more}" if asked else f"{clinic}: {more}")


@app.command()
def decline(clinic: ClinicArgument, reason: Reason = "") -> None:
    """Decline a clinic that is awaiting approval. Its key cannot be used to ask again."""
    call("POST", "/control/refuse", {"name": clinic, "reason": reason})
    typer.echo(f"{clinic} is declined.")


@app.command()
def suspend(clinic: ClinicArgument, reason: Reason = "") -> None:
    """Take a clinic out of all runs until `reinstate`. Other clinics do not notice."""
    call("POST", "/control/suspend", {"name": clinic, "reason": reason})
    typer.echo(f"{clinic} is suspended. To lift the suspension: embryofl-server reinstate {clinic}")


@app.command()
def reinstate(clinic: ClinicArgument) -> None:
    """Lift a clinic's suspension: it takes part from the next round on."""
    call("POST", "/control/resume", {"name": clinic})
    typer.echo(f"{clinic} is reinstated.")


@app.command()
def revoke(clinic: ClinicArgument, reason: Reason = "") -> None:
    """End a clinic's membership permanently: its key never works again. Other clinics do not notice."""
    call("POST", "/control/revoke", {"name": clinic, "reason": reason})
    typer.echo(
        f"{clinic} is revoked, and its key never works again. To enrol it again with a new key: "
        f"embryofl-server invite {clinic}"
    )


@app.command()
def rename(clinic: ClinicArgument, to: Annotated[str, typer.Argument(help="The new name.")]) -> None:
    """Rename a clinic; its key and everything else stay. Not possible during a run."""
    call("POST", "/control/rename", {"name": clinic, "to": to})
    typer.echo(f"{clinic} is now called {to}.")


@app.command("rotate-ca")
def rotate_ca(
    finish: Annotated[bool, typer.Option("--finish", help="End the trust in the old certificate authority.")] = False,
    without: Annotated[
        list[str] | None, typer.Option(help="With --finish: a clinic that may be left behind. Repeatable.")
    ] = None,
) -> None:
    """Replace the certificate authority: at first clinics trust the old and the new one; --finish ends the old one."""
    change = call("POST", "/control/authority", {"finish": finish, "without": without or []})
    if not finish:
        missing = ", ".join(change["missing"]) or "none"
        typer.echo(
            "There is a new certificate authority. Connected clinics receive it within seconds; clinics without it: "
            f"{missing} (see status). When there are none, run: embryofl-server rotate-ca --finish"
        )
        return
    typer.echo("The new certificate authority is now the only one; the old one's key is deleted.")
    if change["left_behind"]:
        typer.echo(
            f"Left behind: {', '.join(change['left_behind'])}. With a reconnect invite, key and membership stay:"
        )
        for name in change["left_behind"]:
            typer.echo(f"  embryofl-server invite {name} --reconnect")
    if change["withdrawn"]:
        names = ", ".join(change["withdrawn"])
        typer.echo(f"Invites that carried the old one are withdrawn. Create new ones for: {names}")
