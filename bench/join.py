"""Measure how long a clinic takes from the printed command to 'ready'.

    python bench/join.py "docker run -d --name embryofl ... && docker exec -i ..." <code.txt

Prints the seconds until the data check was done, and from there until it was connected. The line must name a container
(`--name`), and the folder of images must be filled in; the invite code is read from standard input and used.
"""

import re
import subprocess
import sys
import time

LIMIT_S = 600.0
CHECKED, READY = "This is sent to the hub now", "connected to "


def main() -> None:
    """Run the line, which prints the data check, and then watch the container's log."""
    line = sys.argv[1]
    name = re.search(r"--name (\S+)", line)
    if name is None:
        sys.exit("The line names no container. Expected --name NAME in it.")
    began, checked = time.monotonic(), 0.0
    with subprocess.Popen(["bash", "-c", line], stdout=subprocess.PIPE, text=True) as joining:
        for text in joining.stdout or ():
            if CHECKED in text:
                checked = time.monotonic()
    if joining.returncode or not checked:
        sys.exit("The line failed; the message above says why.")
    while time.monotonic() - began < LIMIT_S:
        logs = subprocess.run(["docker", "logs", name.group(1)], capture_output=True, text=True, check=False)
        if READY in logs.stdout + logs.stderr:
            print(f"data check {checked - began:.1f} s, joining {time.monotonic() - checked:.1f} s")
            return
        time.sleep(0.05)
    sys.exit(f"Not ready after {LIMIT_S:.0f} s. See: docker logs {name.group(1)}")


if __name__ == "__main__":
    main()
