"""What every message and setting is made of: strict models, the names in them, and validation errors in one line."""

import difflib
from collections.abc import Collection
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

ADDRESS = r"^[A-Za-z0-9._-]{1,253}:[0-9]{1,5}$"  # host:port

Meaning = Literal["quality", "implantation", "live_birth"]
Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Strict(BaseModel):
    """Frozen, no unknown fields, no NaN or infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Download(Strict):
    """A file to fetch: signed URL (path and query, relative to the gateway), size in bytes, SHA-256."""

    url: str = Field(pattern=r"^/v1/", max_length=1000)
    size: int = Field(ge=1)
    sha256: Sha256


FAULTS = {
    **dict.fromkeys(("int_type", "int_parsing", "int_parsing_size", "int_from_float"), "must be a whole number"),
    **dict.fromkeys(("float_type", "float_parsing", "finite_number"), "must be a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "must be true or false"),
    "string_type": "must be text",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "must match {pattern}",
    "list_type": "must be a list",
    **dict.fromkeys(("dict_type", "model_type"), "must be a table of names and values"),
    "literal_error": "must be {expected}",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
}
"""What is wrong with a field, by pydantic's type of error."""


def explain(error: ValidationError, names: Collection[str] = (), *, values: bool = True) -> str:
    """What is wrong, field by field, in one line; with the `names` that exist, a misspelt one is recognised. `values`: say
    what was found; not where it may be a secret."""
    return "; ".join(_fault(e, names, values) for e in error.errors()[:5])


def _fault(error: ErrorDetails, names: Collection[str], values: bool) -> str:
    field, value = ".".join(str(p) for p in error["loc"]) or "it", repr(str(error["input"])[:60])
    match error["type"]:
        case "extra_forbidden":
            return there_is_no("setting", field, names).rstrip(".?")
        case "value_error":
            return f"{field}: {error['ctx']['error']}"
        case "missing":
            return f"{field} is missing"
        case kind if kind in FAULTS:
            return f"{field} {FAULTS[kind].format(**error.get('ctx', {}))}" + (f", not {value}" if values else "")
    return f"{field}: {error['msg']}" + (f" (found {value})" if values else "")


def there_is_no(kind: str, name: str, names: Collection[str]) -> str:
    """``"There is no setting modle; did you mean model?"``, or only the first half when none of `names` is near."""
    nearest = difflib.get_close_matches(name, names, 1)
    return f"There is no {kind} {name}" + (f"; did you mean {nearest[0]}?" if nearest else ".")
