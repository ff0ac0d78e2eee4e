"""Which versions of hub and clinic understand each other.

A hub speaks its own protocol and the one before. So the hub is updated first, and each clinic when its IT person has time;
a clinic speaks only its own. What they say of themselves, `Program`, is the one part of a message whose form never changes.
"""

from importlib.metadata import version

from pydantic import Field, ValidationError

from embryofl.schema import Strict

PROTOCOL = 3  # raised when a message changes meaning
OLDEST = 3  # that of the first release; once PROTOCOL is raised, the one before it


class Program(Strict):
    """What one side runs: the version of its packages, and the protocol that it speaks."""

    version: str = Field(pattern=r"^[0-9A-Za-z.+-]{1,40}$")
    protocol: int = Field(ge=1, le=10_000)


def our_program() -> Program:
    """What runs here."""
    return Program(version=version("embryofl"), protocol=PROTOCOL)


def why_not(theirs: Program) -> str:
    """Why a hub of this version does not work with a clinic's program, and what to do; "" if it does."""
    if OLDEST <= theirs.protocol <= PROTOCOL:
        return ""
    ours = version("embryofl")
    spoken = f"protocol {PROTOCOL}" if OLDEST == PROTOCOL else f"protocols {OLDEST} to {PROTOCOL}"
    found = f"The clinic runs version {theirs.version} (protocol {theirs.protocol}), the hub {ours} ({spoken})."
    if theirs.protocol < OLDEST:
        return f"{found} The clinic's is too old: start the trainer from the image of {ours}. Key and membership stay."
    return f"{found} The hub's is too old: ask the coordinator to update it, or start the trainer from the image of {ours}."


def why_not_message(message: object) -> str:
    """The same of a clinic's message of any version; "" if it does not say what the clinic runs."""
    try:
        return why_not(Program.model_validate(message["program"])) if isinstance(message, dict) else ""
    except (KeyError, ValidationError):
        return ""
