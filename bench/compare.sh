#!/usr/bin/env bash
# compare.sh [small|big] [OUT]: floor, EmbryoFL (without and with masks) and FLARE in one sitting; a row each. See README.md.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
size=${1:-small}
out=$(mkdir -p "${2:-$here/../.embryofl/bench}" && cd "${2:-$here/../.embryofl/bench}" && pwd)
export BENCH_DIR=${BENCH_DIR:-$(cd "$here/../../shared/bench" && pwd)}
export BENCH_SIZE=$size OMP_NUM_THREADS=1
python=${PYTHON:-$here/../.embryofl/venv/bin/python}
if [ "$size" = big ]; then export BENCH_ROUNDS=${BENCH_ROUNDS:-4} BENCH_BATCHES=${BENCH_BATCHES:-2}; fi
"$python" -c 'import psutil' 2>/dev/null || { echo "psutil is missing in $python; run: make setup" >&2; exit 2; }
export BENCH_INITIAL=$out/initial-$size.safetensors
"$python" "$here/make_initial.py" "$BENCH_INITIAL"
measure() { "$python" "$BENCH_DIR/measure.py" "$out/$1.json" -- "${@:2}"; }
sets=${SETS:-1}
for i in $(seq "$sets"); do
	measure "$size-$i-1-floor" "$python" "$BENCH_DIR/baseline.py" sync
	measure "$size-$i-2-embryofl" "$python" "$here/run_embryofl.py" "${BENCH_ROUNDS:-5}" secure_aggregation=off
	measure "$size-$i-2-masked" "$python" "$here/run_embryofl.py" "${BENCH_ROUNDS:-5}" secure_aggregation=required
	if [ "${FLARE:-1}" = 1 ]; then
		flare=${FLARE_VENV:-$out/flare-venv}
		[ -x "$flare/bin/python" ] || { 
			"$python" -m venv "$flare"
			"$python" -c 'import site; print(site.getsitepackages()[0])' >"$("$flare/bin/python" -c 'import site; print(site.getsitepackages()[0])')/torch.pth"
			"$flare/bin/pip" install -q nvflare
		}
		measure "$size-$i-3-flare-sim" "$flare/bin/python" "$BENCH_DIR/nvf_job.py" sim
		measure "$size-$i-4-flare-poc" env PATH="$flare/bin:$PATH" "$flare/bin/python" "$BENCH_DIR/nvf_job.py" poc
	fi
done
"$python" "$BENCH_DIR/summarise.py" "$out"
