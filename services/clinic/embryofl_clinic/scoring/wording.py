"""What a score means, in words. Research use only: said wherever a score is shown."""

from embryofl.schema import Meaning
from embryofl_clinic.text import texts

RESEARCH_USE: str = texts()["research_short"]
GOOD: dict[Meaning, str] = texts()["became"]
"""What became of an embryo with label 1, by what labels mean in the run."""
