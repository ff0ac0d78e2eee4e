"""The commands that start a clinic with an invite. Only the folder of images is left to fill in."""

FOLDER = "/PATH/TO/IMAGES"
_RUN = (
    "run -d --name embryofl --restart unless-stopped{more} -v {folder}:/data:ro -v embryofl-state:/state "
    "-e EMBRYOFL_INVITE={code} embryofl-clinic"
)


def lines_to_run(code: str) -> dict[str, str]:
    """One command for each way to run a clinic: `docker`, `podman`, and `pip` (Linux, Python 3.11, no containers).

    Parameters
    ----------
    code : str
        The invite code.
    """
    # Podman on a machine with SELinux: without the option the container could not read the images.
    docker, podman = (_RUN.format(more=m, folder=FOLDER, code=code) for m in ("", " --security-opt label=disable"))
    pip = f"EMBRYOFL_INVITE={code} embryofl-clinic run --data {FOLDER} --state embryofl-state"
    return {"docker": f"docker {docker}", "podman": f"podman {podman}", "pip": pip}
