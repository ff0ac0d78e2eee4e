#!/usr/bin/env bash
# install_torch.sh PYTHON: PyTorch, into an environment that has its other requirements. Only PyTorch comes from PyTorch's index,
# and nothing else does, so that no index can put its own package in the place of another's.
# Of PyTorch's CPU index only the files of requirements/torch.txt are accepted. TORCH_INDEX_URL names another index, such as a
# CUDA one or a folder (file:///...): the versions are the same, the hashes of its files are not known, and what that build
# needs besides, such as NVIDIA's libraries, comes from there, too.
set -euo pipefail
cd "$(dirname "$0")/.."
cpu=https://download.pytorch.org/whl/cpu
index=${TORCH_INDEX_URL:-$cpu}
pins=requirements/torch.txt
install=("$1" -m pip install -q --disable-pip-version-check --retries 2 --no-compile --index-url "$index")
if [ "$index" = "$cpu" ]; then
	"${install[@]}" --no-deps --require-hashes -r "$pins"
else
	mapfile -t versions < <(sed -nE 's/^(torch[a-z]*==[0-9.]+).*/\1/p' "$pins")
	"${install[@]}" "${versions[@]}"
fi
