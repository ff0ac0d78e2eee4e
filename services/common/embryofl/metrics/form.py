"""Types of the numbers in the sums that a clinic sends: pydantic accepts no bool, no text, and nothing out of range."""

from typing import Annotated

from pydantic import Field

MAX_COUNT = 10_000_000

Count = Annotated[int, Field(strict=True, ge=0, le=MAX_COUNT)]
Sum = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
SignedSum = Annotated[float, Field(strict=True, allow_inf_nan=False)]
