"""`embryofl-server signer`: run the signer, back up its key, restore it. Only these read its folder."""

from typing import Annotated

import typer

from embryofl.command_line import command_line
from embryofl_server.cli.secret import ask_secret
from embryofl_server.settings import load_settings

app = command_line("The signer, which has the key of the authority that clinics trust.")


@app.command()
def serve() -> None:
    """Run the signer until it is stopped; it makes the key when there is none."""
    from embryofl_server.state.signer.process import serve as run

    run()


@app.command()
def backup(
    file: Annotated[str, typer.Argument(help="The file to write; - is standard output.")],
    to: Annotated[str, typer.Option(help="Encrypt to this public key of age (age1...), not to a passphrase.")] = "",
) -> None:
    """Write the key, encrypted, for `embryofl-server backup`, which includes it. Secrets are given as there."""
    from embryofl_server.state.backup import opened_for_writing
    from embryofl_server.state.encryption import sealed
    from embryofl_server.state.signer.authority import saved

    data, passphrase = saved(load_settings().signer), "" if to else ask_secret(new=True)
    with opened_for_writing(file) as out:
        out.write(sealed(data, passphrase, to))


@app.command()
def restore(
    file: Annotated[str, typer.Argument(help="What `embryofl-server restore` has written; - is standard input.")],
) -> None:
    """Decrypt the key into the signer's folder, which has none, or the same one."""
    from embryofl_server.state.backup import opened_for_reading
    from embryofl_server.state.encryption import unsealed
    from embryofl_server.state.signer.authority import put_back

    secret = ask_secret(new=False)
    with opened_for_reading(file) as source:
        put_back(load_settings().signer, unsealed(source.read(), secret))
