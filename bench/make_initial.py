"""Write the benchmark model's initial weights: make_initial.py FILE."""

import os
import sys
from pathlib import Path

sys.path.insert(0, os.environ["BENCH_DIR"])
import common
from embryofl.packing import pack

Path(sys.argv[1]).write_bytes(pack(common.make_model().state_dict()).tobytes())
