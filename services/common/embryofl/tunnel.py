"""What the tunnel reports to the hub: one small JSON file."""

from pathlib import Path

from pydantic import Field, ValidationError

from embryofl.schema import ADDRESS, Strict


class TunnelState(Strict):
    """The tunnel's last known state.

    Attributes
    ----------
    up : bool
    address : str
        Public address, host:port; without a tunnel that of the last one; "" if there has never been one.
    before : str
        The previous address, if it was another: clinics may still know only that one.
    words : str
        What is wrong, and what to do; "" if nothing is.
    time : float
        Unix time in seconds at which this was written.
    """

    up: bool
    address: str = Field(default="", pattern=ADDRESS + r"|^$")
    before: str = Field(default="", pattern=ADDRESS + r"|^$")
    words: str = Field(default="", max_length=1000)
    time: float


def read_tunnel_state(path: Path) -> TunnelState | None:
    """The state in a file; None if there is none, or it cannot be read."""
    try:
        return TunnelState.model_validate_json(path.read_text())
    except (OSError, ValidationError):
        return None
