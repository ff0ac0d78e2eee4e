"""The states that people see, each from one function: console, command line and Grafana all show what these return."""

UNDER_WAY = ("waiting", "running")
"""States of a run in which the round loop conducts it."""


def clinic_state(membership: str, in_round: str, online: bool | None) -> str:
    """A clinic's state, from the three places that know something of it.

    Parameters
    ----------
    membership : str
        Its state in the store. A clinic that is not enrolled (suspended) takes no part, whatever else is known.
    in_round : str
        What the round loop last noted, "" without a run under way or if it was not asked.
    online : bool or None
        Whether the SuperLink has it connected; None if the SuperLink does not answer.

    Returns
    -------
    str
        "enrolled" if it is not known whether the clinic is online. The SuperLink's word is the newer one: the round loop
        looks every few seconds, so a clinic that it has in training may be gone, and one it has offline may be back.
    """
    if membership != "enrolled" or online is None:
        return membership
    if not online:
        return "offline"
    return in_round if in_round not in ("", "offline") else "online"


def round_phase(run_state: str, phase: str) -> str:
    """The phase of the round: what the round loop last noted, "idle" unless a run is under way."""
    return phase if run_state in UNDER_WAY else "idle"
