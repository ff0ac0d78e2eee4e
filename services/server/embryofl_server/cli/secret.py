"""Ask for a secret: never an argument or an environment variable, which other processes can read."""

import secrets
import sys

import typer

_LONGEST = 1000


def ask_secret(*, new: bool) -> str:
    """The passphrase or private key of a backup. Without a terminal it is the first line of standard input that is no
    comment (#), as in a file of `age-keygen`; the rest is not read.

    Parameters
    ----------
    new : bool
        Whether it is a new passphrase, which has to be typed twice.
    """
    if sys.stdin.isatty():
        text = "Passphrase of the backup" if new else "Passphrase or private key of the backup"
        return str(typer.prompt(text, hide_input=True, confirmation_prompt=new, err=True))
    while (line := sys.stdin.buffer.readline(_LONGEST)).startswith(b"#"):
        pass
    return line.decode(errors="replace").strip()


def ask_password(name: str, *, new: bool) -> str:
    """A person's password. Without a terminal it is the next line of standard input.

    Parameters
    ----------
    name : str
        The person.
    new : bool
        Whether it is a new one, which has to be typed twice; "" if nothing is typed.
    """
    if not sys.stdin.isatty():
        return sys.stdin.buffer.readline(_LONGEST).decode(errors="replace").rstrip("\r\n")
    if not new:
        return str(typer.prompt(f"Password of {name}", hide_input=True, err=True))
    text = f"New password of {name} (12 characters or more; Enter: one is made, and shown once)"
    return str(typer.prompt(text, default="", show_default=False, hide_input=True, confirmation_prompt=True, err=True))


def ask_code() -> str:
    """A one-time code, "" for a person who has none. Without a terminal it is the next line of standard input."""
    if not sys.stdin.isatty():
        return sys.stdin.buffer.readline(_LONGEST).decode(errors="replace").strip()
    return str(typer.prompt("One-time code (Enter: none)", default="", show_default=False, err=True))


def make_password() -> str:
    """A person's password that is shown once: 144 random bits."""
    return secrets.token_urlsafe(18)
