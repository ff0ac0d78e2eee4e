"""Errors whose text is meant for a person.

Every message says what happened, what was expected, and what to do, and ends with the code of its kind of trouble:
troubles.toml has a cause and a remedy for each code, and docs/troubleshooting.md is made from it. Command lines print the
text of a `UserError` without a traceback; any other exception is a defect of EmbryoFL.
"""

import re

_NAMED = re.compile(r"\([A-Z]\d+: docs/troubleshooting\.md#")


def with_code(code: str, text: str) -> str:
    """The text with the code of its trouble, unless it names one: that of the error that it passes on says more."""
    if _NAMED.search(text):
        return text
    gap = "\n" if "\n" in text else " "
    return f"{text}{gap}({code}: docs/troubleshooting.md#{code.lower()})"


class UserError(Exception):
    """Something the user can fix; the text says how.

    Parameters
    ----------
    code : str
        Of its trouble in troubles.toml, such as "J2".
    text : str
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(code, text)
        self.code, self.text = code, text

    def __str__(self) -> str:
        return with_code(self.code, self.text)


class NotFiniteError(UserError):
    """Training or a model produced numbers that are not finite. The hub recognises this failure by its name."""


class DataError(UserError):
    """A data folder that cannot be used as it is."""


class ProtocolError(UserError):
    """A message or a step that secure aggregation (`embryofl.secagg`) does not allow.

    Attributes
    ----------
    clinic : str (default: "")
        The clinic whose message it is; "" if it is the hub's, or if the message does not show whose it is.
    """

    def __init__(self, text: str, clinic: str = "") -> None:
        super().__init__("R8", text)
        self.clinic = clinic


class KeysLostError(ProtocolError):
    """A clinic has no keys for the attempt that a request belongs to, as after a restart: the next attempt has new ones.
    The hub recognises this failure by its name."""


class TooFewClinicsError(ProtocolError):
    """Fewer clinics than a step of secure aggregation needs: with more of them, the same step is allowed."""


class SumRefusedError(ProtocolError):
    """A sum that a clinic's own limits do not allow. The hub may know why: the numbers are of the roster that it sent."""
