"""The states that people see, each from one function: console, command line and Grafana all show what these return."""

from embryofl.states import UNDER_WAY


def clinic_state(membership: str, in_round: str, online: bool | None) -> str:
    """A clinic's state, from its membership, the round loop and the SuperLink.

    Parameters
    ----------
    membership : str
        Its state in the store. One that is not enrolled (suspended, say) takes no part, whatever else is known.
    in_round : str
        What the round loop last noted, "" without a run under way or if it was not asked.
    online : bool or None
        Whether it is connected to the SuperLink; None if the SuperLink does not reply.

    Returns
    -------
    str
        "enrolled" if it is unknown whether the clinic is online. Round loop and SuperLink may disagree, as the loop looks
        every few seconds: a clinic it noted as training may be gone, one noted as offline may be back.
    """
    if membership != "enrolled" or online is None:
        return membership
    if not online:
        return "offline"
    return in_round if in_round not in ("", "offline") else "online"


def round_phase(run_state: str, phase: str) -> str:
    """The phase of the round: what the round loop last noted, "idle" unless a run is under way."""
    return phase if run_state in UNDER_WAY else "idle"
