"""Free ports, none of them given to two tests, even across workers and checkouts."""

import fcntl
import random
import tempfile
from pathlib import Path
from typing import IO

from embryofl_demo.stack import port_is_free

FIRST, LAST = (
    20_000,
    32_000,
)  # below Linux's range for outgoing connections, which could take a port before its server does
_reserved: list[IO[bytes]] = []  # locks on files named after ports, until this process ends


def free_port() -> int:
    """A loopback port that nothing listens on, reserved for this process."""
    folder = Path(tempfile.gettempdir()) / "embryofl-test-ports"
    folder.mkdir(exist_ok=True)
    while True:
        port = random.randrange(FIRST, LAST)
        lock = (folder / str(port)).open("wb")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # another test has it
            lock.close()
            continue
        if port_is_free(port):
            _reserved.append(lock)
            return port
        lock.close()
