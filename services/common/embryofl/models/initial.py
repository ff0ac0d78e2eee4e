"""Write a run's initial model: ``python -m embryofl.models.initial MODEL PRETRAINED SEED GRADES FILE`` (GRADES: 1 or 0).

In a separate process, so that the hub never loads PyTorch.
"""

import sys
from pathlib import Path

from embryofl.errors import UserError
from embryofl.files import write_atomic
from embryofl.models.zoo import create_model
from embryofl.packing import pack


def main(arguments: list[str]) -> int:
    """Write the packed model. Returns 0, or 2 with one line of text on stderr."""
    name, pretrained, seed, grades, path = arguments
    try:
        model = create_model(name, pretrained=pretrained, seed=int(seed), grades=grades == "1")
        write_atomic(Path(path), pack(model.state_dict()).data)
    except UserError as exc:
        print(exc, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
