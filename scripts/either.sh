#!/usr/bin/env bash
# either.sh status|watch|logs|down|clean|hub|password|backup|restore: for the federation in containers or as local processes.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/fail.sh
action=$1
none="There is no federation here yet. Start one with: make up CLINICS=3 (Docker) or make demo CLINICS=3 (without)."
demo=${VENV:-.embryofl/venv}/bin/embryofl-demo
done=
# These work on one federation: the one in containers, if there is one.
case $action in
	hub | password | backup)
		export FILE=${FILE:-embryofl-backup-$(date +%Y%m%d-%H%M%S).tar}
		if [ -e "${EMBRYOFL_COMPOSE_DIR:-.embryofl/compose}/clinics.yaml" ]; then exec bash scripts/compose.sh "$action"; fi
		if [ ! -x "$demo" ] || [ ! -d "${EMBRYOFL_DEMO_DIR:-.embryofl/demo}" ]; then fail S9 "$none"; fi
		if [ "$action" = password ]; then exec "$demo" console-password; fi
		if [ "$action" = backup ]; then
			"$demo" hub backup "$FILE" && echo "Written to $FILE."
			exit
		fi
		eval "set -- ${DO:---help}" # words and quotes as in a shell
		exec "$demo" hub "$@"
		;;
	restore)
		[ -f "${FILE:-}" ] ||
			fail H4 "FILE=${FILE:-} is not a file. Expected an archive written by make backup. Run: make restore FILE=hub.tar"
		if [ -z "${DEMO:-}" ]; then exec bash scripts/compose.sh restore; fi
		make --no-print-directory setup
		exec "$demo" restore "$FILE"
		;;
esac
if [ -e "${EMBRYOFL_COMPOSE_DIR:-.embryofl/compose}/clinics.yaml" ]; then
	bash scripts/compose.sh "$action"
	done=1
fi
if [ -x "$demo" ] && [ -d "${EMBRYOFL_DEMO_DIR:-.embryofl/demo}" ]; then
	[ -z "$done" ] || echo
	"$demo" "$action"
	done=1
fi
[ -n "$done" ] || coded S9 "$none"
