"""What the tunnel tells the hub of itself: one small JSON file."""

from pydantic import Field

from embryofl.schema import ADDRESS, Strict


class TunnelState(Strict):
    """As the tunnel last knew.

    Attributes
    ----------
    up : bool
    address : str
        Public address, host:port; of the last tunnel while there is none; "" when there never was one.
    before : str
        The address before that one, if it was another: clinics may still know that.
    words : str
        What is wrong, and what to do; "" when nothing is.
    time : float
        Unix time in seconds at which this was written.
    """

    up: bool
    address: str = Field(default="", pattern=ADDRESS + r"|^$")
    before: str = Field(default="", pattern=ADDRESS + r"|^$")
    words: str = Field(default="", max_length=1000)
    time: float
