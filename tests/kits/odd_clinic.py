"""An honest clinic with something odd about its machine, set by environment variables. For the fault tests.

ODD_CLOCK_S       its clock is off by this many seconds
ODD_ADDRESS_FILE  its name server: the hub (`localhost`, 127.0.0.1) resolves to the IP address in this file
ODD_HUBS          the only hub address it has
ODD_SLOW          training takes this many times as long
"""

import datetime
import os
import socket
import time
from pathlib import Path
from typing import Any

_OFF = float(os.environ.get("ODD_CLOCK_S", "0"))
if _OFF:
    _time, _datetime = time.time, datetime.datetime

    class _Shifted(_datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return _datetime.now(tz) + datetime.timedelta(seconds=_OFF)

    time.time = lambda: _time() + _OFF
    datetime.datetime = _Shifted  # type: ignore[misc]

_FILE = os.environ.get("ODD_ADDRESS_FILE")
if _FILE:
    _lookup = socket.getaddrinfo

    def _getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        return _lookup(Path(_FILE).read_text() if host in ("localhost", "127.0.0.1") else host, *args, **kwargs)

    socket.getaddrinfo = _getaddrinfo

import quick_clinic  # noqa: E402, F401

from embryofl_clinic.joining.identity import ClinicIdentity  # noqa: E402
from embryofl_clinic.service import serve  # noqa: E402
from embryofl_clinic.settings import load_settings  # noqa: E402
from embryofl_clinic.workload.embryo import WorkloadCache  # noqa: E402


class SlowBench(WorkloadCache):
    """The same work, slowly."""

    def get(self, request: Any) -> Any:
        workload = super().get(request)
        if not hasattr(workload, "quick_train"):
            workload.quick_train = workload.train

            def train(request: Any, seed: int) -> Any:
                began = time.monotonic()
                trained = workload.quick_train(request, seed)
                time.sleep((float(os.environ["ODD_SLOW"]) - 1) * (time.monotonic() - began))
                return trained

            workload.train = train
        return workload


if __name__ == "__main__":
    settings = load_settings(hubs=os.environ.get("ODD_HUBS"))
    if os.environ.get("ODD_HUBS"):
        identity = ClinicIdentity(settings.identity_dir)
        identity.remember(identity.membership.model_copy(update={"hubs": [settings.hubs]}))  # type: ignore[union-attr]
    serve(settings, SlowBench(settings) if os.environ.get("ODD_SLOW") else None)
