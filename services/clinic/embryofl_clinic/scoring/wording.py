"""What a score means, in words. Research use only: said wherever a score is shown."""

from embryofl.messages import Meaning

RESEARCH_USE = "Research use only: not a medical device."
GOOD: dict[Meaning, str] = {
    "quality": "were graded good",
    "implantation": "implanted",
    "live_birth": "led to a live birth",
}
"""What became of an embryo with label 1, by what labels mean in the run."""
