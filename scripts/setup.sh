#!/usr/bin/env bash
# setup.sh PYTHON VENV: the virtual environment of `make demo` and the tests. What is installed is listed in requirements/, with the
# hashes of its files; a file with another hash and a package that is not listed are refused. PyTorch: scripts/install_torch.sh.
set -euo pipefail
python=$1 venv=$2
here=$(cd "$(dirname "$0")/.." && pwd)
. "$here/scripts/fail.sh"

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
	fail S2 "Found $("$python" --version 2>/dev/null || echo "no $python"), expected Python 3.11 or later." \
		"Install it, or name another Python: make demo PYTHON=python3.12"
fi
if [ ! -x "$venv/bin/python" ] && ! "$python" -m venv "$venv"; then
	fail S2 "Python's venv module is missing. On Debian and Ubuntu: apt install python3-venv"
fi
echo "Installing into $venv (once: about 450 MB to download, usually 2 to 4 minutes)..."
cd "$here"
failed() {
	fail S6 "The packages could not be installed; the message above says why."
}
# Modules are compiled when they are first imported, which most never are.
install() { # install ARGUMENTS
	"$venv/bin/python" -m pip install -q --disable-pip-version-check --retries 2 --no-compile --no-deps "$@" || failed
}
install --require-hashes -r requirements/all.txt
bash scripts/install_torch.sh "$venv/bin/python" || failed
# Our own packages are built with the setuptools of the environment instead of one for each.
install --no-build-isolation -e services/common -e services/data -e services/web -e services/server -e services/clinic -e services/console \
	-e services/datagen -e services/tunnel -e services/demo
touch "$venv/.ready"
