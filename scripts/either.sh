#!/usr/bin/env bash
# either.sh status|watch|logs|down|clean: for whichever federation there is, in containers or as plain processes.
set -euo pipefail
cd "$(dirname "$0")/.."
action=$1
demo=${VENV:-.embryofl/venv}/bin/embryofl-demo
done=
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
	echo "There is no federation here yet. Start one with: make up CLINICS=3 (Docker) or make demo CLINICS=3 (without)."
fi
