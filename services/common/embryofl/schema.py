"""What every message and setting is made of: strict models, the names in them, and validation errors in one line."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

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


def explain(error: ValidationError) -> str:
    """A validation error in one line: field, what is wrong, what was found."""
    parts = [
        f"{'.'.join(str(p) for p in e['loc']) or 'value'}: {e['msg']} (found {str(e.get('input'))[:60]!r})"
        for e in error.errors()[:5]
    ]
    return "; ".join(parts)
