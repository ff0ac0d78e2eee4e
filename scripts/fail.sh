# shellcheck shell=bash
# fail.sh, for other scripts: a text with the code of its trouble (docs/troubleshooting.md). `fail CODE TEXT...` also ends with 2.
coded() {
	local code=$1
	shift
	printf '%s (%s: docs/troubleshooting.md#%s)\n' "$*" "$code" "$(tr '[:upper:]' '[:lower:]' <<<"$code")"
}
fail() {
	coded "$@" >&2
	exit 2
}
