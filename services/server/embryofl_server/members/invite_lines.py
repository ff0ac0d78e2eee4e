"""The commands that start a clinic. Only the folder of images is left to fill in; they ask for the invite code."""

FOLDER = "/PATH/TO/IMAGES"
LIMITS = (
    "--read-only --tmpfs /tmp:size=256m,mode=1777 --cap-drop ALL --security-opt no-new-privileges --memory 4g "
    "--pids-limit 512"
)
"""As compose.clinic.yaml has them."""
_RUN = (
    "{program} run -d --name embryofl --restart unless-stopped {limits} -v {folder}:/data:ro -v embryofl-state:/state "
    "embryofl-clinic && {program} exec -i embryofl embryofl-clinic join"
)


def lines_to_run() -> dict[str, str]:
    """One command for each way to run a clinic: `docker`, `podman`, and `pip` (Linux, Python 3.11, no containers)."""
    # Podman on a machine with SELinux: without the option the container could not read the images.
    more = {"docker": LIMITS, "podman": f"{LIMITS} --security-opt label=disable"}
    containers = {
        program: _RUN.format(program=program, limits=limits, folder=FOLDER) for program, limits in more.items()
    }
    return {**containers, "pip": f"embryofl-clinic run --data {FOLDER} --state embryofl-state"}
