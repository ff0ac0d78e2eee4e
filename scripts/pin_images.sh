#!/usr/bin/env bash
# pin_images.sh: pulls each image that is named by tag and digest, and writes the tag's newest digest in the place of the old one.
set -euo pipefail
cd "$(dirname "$0")/.."
files=(services/Dockerfile compose.yaml)
mapfile -t images < <(grep -ohE '[a-z][a-z/]*:[a-z0-9.-]+@sha256:[0-9a-f]{64}' "${files[@]}" | sort -u)
for image in "${images[@]}"; do
	tag=${image%@*}
	docker pull -q "$tag" >/dev/null
	digest=$(docker image inspect --format '{{index .RepoDigests 0}}' "$tag")
	sed -i "s,$image,$tag@${digest#*@}," "${files[@]}"
	echo "$tag@${digest#*@}"
done
