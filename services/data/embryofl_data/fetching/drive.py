"""Google Drive, through gdown: large files there come behind pages that ask for a confirmation."""

from pathlib import Path

from embryofl.errors import UserError


def fetch_from_drive(file_id: str, target: Path) -> None:
    """Fetch a shared file; what came of it so far is gone on with.

    Raises
    ------
    UserError
        When gdown is not installed or the file cannot be fetched.
    """
    try:
        import gdown
    except ImportError:
        raise UserError(
            "Google Drive needs the package gdown, which is not installed. Install it (pip install "
            "'embryofl-data[drive]'), or fetch the file in a browser, name it "
            f"{target.name}, put it into {target.parent}, and start again."
        ) from None
    part = target.with_name(target.name + ".part")
    try:
        found = gdown.download(id=file_id, output=str(part), resume=True)
    except Exception as error:  # gdown raises errors of its own, of requests, and of the system
        found = None
        why = str(error).strip().splitlines()
    else:
        why = []
    if found is None or not part.exists():
        raise UserError(
            f"The file {file_id} could not be fetched from Google Drive ({why[0] if why else 'no answer'}). Fetch it in a "
            f"browser from https://drive.google.com/file/d/{file_id}/view, name it {target.name}, put it into "
            f"{target.parent.resolve()}, and start again: it goes on from there."
        )
    part.replace(target)
