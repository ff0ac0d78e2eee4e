"""How the stored states are shown: one dictionary a kind, the same labels in console, command line and Grafana.

Keys are the values in files, messages and metrics, which stay; only the labels are for people.
"""

RUN = {
    "queued": "Queued",
    "waiting": "Waiting for clinics",
    "running": "Running",
    "paused": "Paused",
    "finished": "Finished",
    "stopped": "Stopped",  # by the coordinator
    "failed": "Failed",
}
UNDER_WAY = ("waiting", "running")
"""States of a run that the round loop conducts."""
OVER = ("finished", "stopped", "failed")
PHASE = {
    "idle": "Between rounds",
    "waiting": "Waiting for clinics",
    "training": "Training",
    "aggregating": "Aggregating",
    "evaluating": "Evaluating",
}
MEMBER = {
    "waiting": "Awaiting approval",
    "enrolled": "Enrolled",
    "suspended": "Suspended",
    "refused": "Declined",
    "revoked": "Revoked",
    "left": "Left",
    "replaced": "Replaced",  # of a key
}
CLINIC = {  # in a round; the order is that of `embryofl:clinic_state_number` in prometheus/rules/recording.yml
    "enrolled": "Enrolled",  # online or not is unknown: the SuperLink does not reply
    "online": "Online",
    "training": "Training",
    "evaluating": "Evaluating",
    "done": "Replied",
    "late": "Late",
    "refused": "Rejected",
    "failed": "Failed",
    "offline": "Offline",
    "suspended": "Suspended",
}
INVITE = {"open": "Open", "used": "Used", "expired": "Expired", "withdrawn": "Withdrawn"}
PROCESS = {  # a local test clinic
    "starting": "Starting",
    "running": "Running",
    "stopping": "Stopping",
    "stopped": "Stopped",
    "failed": "Crashed",
}


def label(kind: dict[str, str], state: str) -> str:
    """The label of a state; a state without one as it is."""
    return kind.get(state, state)
