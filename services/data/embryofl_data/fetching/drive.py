"""Google Drive, through gdown: it hides large files behind pages that ask for a confirmation."""

from pathlib import Path

from embryofl.errors import UserError

try:
    import gdown
except ImportError:  # the extra `drive` is not installed
    gdown = None


def fetch_from_drive(file_id: str, target: Path) -> None:
    """Fetch a shared file, continuing an interrupted download.

    Raises
    ------
    UserError
        When gdown is not installed or the file cannot be fetched.
    """
    if gdown is None:
        raise UserError(
            "D7",
            "Google Drive needs the package gdown, which is not installed. Install it (pip install "
            f"'embryofl-data[drive]'). Or download the file in a browser, save it as {target}, and start again.",
        )
    part = target.with_name(target.name + ".part")
    reason = "no reply"
    try:
        if gdown.download(id=file_id, output=str(part), resume=True) is not None and part.exists():
            part.replace(target)
            return
    except Exception as error:  # gdown raises errors of its own, of requests, and of the system
        reason = (str(error).strip().splitlines() or [reason])[0]
    raise UserError(
        "D7",
        f"The file {file_id} could not be fetched from Google Drive ({reason}). Download it in a browser from "
        f"https://drive.google.com/file/d/{file_id}/view, save it as {target.resolve()}, and start the same command again.",
    )
