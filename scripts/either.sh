#!/usr/bin/env bash
# either.sh status|watch|logs|down|clean|hub: for whichever federation there is, in containers or as plain processes.
set -euo pipefail
cd "$(dirname "$0")/.."
action=$1
there="There is no federation here yet. Start one with: make up CLINICS=3 (Docker) or make demo CLINICS=3 (without)."
demo=${VENV:-.embryofl/venv}/bin/embryofl-demo
done=
if [ "$action" = hub ]; then # one of them: the one in containers, if there is one
	if [ -e "${EMBRYOFL_COMPOSE_DIR:-.embryofl/compose}/clinics.yaml" ]; then exec bash scripts/compose.sh hub; fi
	if [ ! -x "$demo" ] || [ ! -d "${EMBRYOFL_DEMO_DIR:-.embryofl/demo}" ]; then
		echo "$there" >&2
		exit 2
	fi
	eval "set -- ${DO:---help}" # words and quotes as in a shell
	exec "$demo" hub "$@"
fi
if [ -e "${EMBRYOFL_COMPOSE_DIR:-.embryofl/compose}/clinics.yaml" ]; then
	bash scripts/compose.sh "$action"
	done=1
fi
if [ -x "$demo" ] && [ -d "${EMBRYOFL_DEMO_DIR:-.embryofl/demo}" ]; then
	[ -z "$done" ] || echo
	"$demo" "$action"
	done=1
fi
if [ -z "$done" ]; then
	echo "$there"
fi
