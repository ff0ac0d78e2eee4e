"""The lines that make a clinic out of an invite, in which the folder of images is all there is to fill in."""

FOLDER = "/PATH/TO/IMAGES"
_RUN = (
    "run -d --name embryofl --restart unless-stopped{more} -v {folder}:/data:ro -v embryofl-state:/state "
    "-e EMBRYOFL_INVITE={word} embryofl-clinic"
)


def lines_to_run(word: str) -> dict[str, str]:
    """One line for each way to run a clinic: `docker`, `podman`, and `pip` (Linux, Python 3.11, no containers).

    Parameters
    ----------
    word : str
        The invite.
    """
    # Podman on a machine with SELinux: the images keep their label, and are read all the same.
    docker, podman = (_RUN.format(more=m, folder=FOLDER, word=word) for m in ("", " --security-opt label=disable"))
    pip = f"EMBRYOFL_INVITE={word} embryofl-clinic run --data {FOLDER} --state embryofl-state"
    return {"docker": f"docker {docker}", "podman": f"podman {podman}", "pip": pip}
