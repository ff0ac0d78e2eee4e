#!/usr/bin/env bash
# setup.sh PYTHON VENV: the virtual environment of `make demo` and the tests.
# PyTorch is a CPU build from PyTorch's own index if that can be reached, otherwise whatever pip finds (on Linux PyPI serves
# a CUDA build: several GB). TORCH_INDEX_URL names another index, such as a CUDA one or a folder.
set -euo pipefail
python=$1 venv=$2
here=$(cd "$(dirname "$0")/.." && pwd)
. "$here/scripts/fail.sh"
url=${TORCH_INDEX_URL:-https://download.pytorch.org/whl/cpu}

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
	fail S2 "Found $("$python" --version 2>/dev/null || echo "no $python"), expected Python 3.11 or later." \
		"Install it, or name another Python: make demo PYTHON=python3.12"
fi
reachable() {
	"$python" - "$url" <<-'PYTHON'
		import sys, urllib.request
		try:
		    urllib.request.urlopen(sys.argv[1] + "/", timeout=5)
		except Exception:
		    sys.exit(not sys.argv[1].startswith("file:"))
	PYTHON
}
index=()
if reachable; then
	index=(--extra-index-url "$url")
else
	echo "$url cannot be reached: PyTorch is installed from pip's default index (on Linux a CUDA build, several GB)."
fi
if [ ! -x "$venv/bin/python" ] && ! "$python" -m venv "$venv"; then
	fail S2 "Python's venv module is missing. On Debian and Ubuntu: apt install python3-venv"
fi
echo "Installing into $venv (once: about 450 MB to download, usually 2 to 4 minutes)..."
cd "$here"
# Modules are compiled when they are first imported, which most never are.
install() { # install VENV ARGUMENTS
	"$1/bin/python" -m pip install -q --disable-pip-version-check --retries 2 --no-compile "${@:2}" ||
		fail S6 "The packages could not be installed; the message above says why."
}
ours() { # ours VENV ARGUMENTS: our own packages, built with the setuptools of the environment instead of one for each
	install "$1" --no-build-isolation "${@:2}"
}
# The console has its own environment: Gradio does not accept Pillow 13, which clinics need to read some TIFF files.
"$python" -m venv "$venv/console"
grep -v "^pillow=" constraints.txt >"$venv/console/constraints.txt"
install "$venv/console" -c "$venv/console/constraints.txt" setuptools gradio & # the larger part of it, at the same time as PyTorch
gradio=$!
trap 'kill "$gradio" 2>/dev/null || true' EXIT # if the other one fails
install "$venv" -c constraints.txt setuptools
ours "$venv" -c constraints.txt "${index[@]}" \
	-e 'services/common[train]' -e 'services/data[report]' -e services/server -e services/clinic -e services/datagen -e services/tunnel -e services/demo
wait "$gradio"
ours "$venv/console" -c "$venv/console/constraints.txt" -e services/common -e services/console
ours "$venv" --no-deps -e services/console
touch "$venv/.ready"
