"""Time scoring with the default model: 1,000 synthetic images of 500x500, and a cohort of 12 with heat maps.

    python bench/score.py [IMAGES]

Ends with 1 if a bound is exceeded: 60 s for 1,000 images, 10 s for the cohort, each from the start of the program and on
two cores.
"""

import hashlib
import io
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from check_folder import draw

BOUND_S, COHORT, COHORT_BOUND_S = 60.0, 12, 10.0
COMMAND = str(Path(sys.executable).parent / "embryofl-clinic")

COHORT_CODE = """
import sys
from pathlib import Path
from embryofl_clinic.app.scoring_service import ScoringService, Upload
from embryofl_clinic.app.records import Records
from embryofl_clinic.scoring.model_store import ModelStore
state, folder = map(Path, sys.argv[1:3])
uploads = [Upload(p.name, p.read_bytes()) for p in sorted(folder.iterdir())[:int(sys.argv[3])]]
record = ScoringService(ModelStore(state), Records(state), "cpu").score(uploads, "bench", "", keep=False)
assert sum(bool(p.heat) for p in record.images.values()) == len(uploads)
"""


def put_model(state: Path) -> None:
    """Write the default model as a finished run leaves it."""
    from embryofl import packing
    from embryofl.models import DEFAULT_MODEL, recipe
    from embryofl.models.zoo import create_model

    folder = state / "models" / "run-0001"
    folder.mkdir(parents=True)
    packed = packing.pack(create_model(DEFAULT_MODEL).state_dict())
    (folder / "model.safetensors").write_bytes(packed)
    settings = {"model": DEFAULT_MODEL, "image_size": int(recipe(DEFAULT_MODEL)["image_size"]), "meaning": "quality"}
    card = {"run": "run-0001", "round": 1, "sha256": hashlib.sha256(packed).hexdigest(), "settings": settings}
    (folder / "model.json").write_text(json.dumps(card))


def main() -> int:
    """Measure the folder and the cohort; 1 if a bound is exceeded."""
    images = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with tempfile.TemporaryDirectory() as temporary:
        state, folder = Path(temporary) / "state", Path(temporary) / "images"
        put_model(state)
        folder.mkdir()
        for number in range(images):
            out = io.BytesIO()
            draw(number).save(out, "JPEG", quality=90)
            (folder / f"{number:05}.jpg").write_bytes(out.getvalue())
        began = time.monotonic()
        words = [COMMAND, "score", str(folder), "--state", str(state), "--out", str(Path(temporary) / "scores.csv")]
        subprocess.run(words, check=True, capture_output=True)
        total = time.monotonic() - began
        began = time.monotonic()
        subprocess.run([sys.executable, "-c", COHORT_CODE, str(state), str(folder), str(COHORT)], check=True)
        cohort = time.monotonic() - began
    bound = BOUND_S * images / 1000
    print(f"{images} images scored in {total:.1f} s (bound {bound:.0f} s); {COHORT} with heat maps in {cohort:.1f} s")
    return int(total > bound or cohort > COHORT_BOUND_S)


if __name__ == "__main__":
    sys.exit(main())
