#!/usr/bin/env bash
# either.sh status|watch|logs|down|clean|hub|password|backup|restore: for whichever federation there is, in containers or as plain processes.
set -euo pipefail
cd "$(dirname "$0")/.."
action=$1
there="There is no federation here yet. Start one with: make up CLINICS=3 (Docker) or make demo CLINICS=3 (without)."
demo=${VENV:-.embryofl/venv}/bin/embryofl-demo
done=
# For one of them: the one in containers, if there is one.
case $action in
	hub | password | backup)
		export FILE=${FILE:-embryofl-backup-$(date +%Y%m%d-%H%M%S).tar}
		if [ -e "${EMBRYOFL_COMPOSE_DIR:-.embryofl/compose}/clinics.yaml" ]; then exec bash scripts/compose.sh "$action"; fi
		if [ ! -x "$demo" ] || [ ! -d "${EMBRYOFL_DEMO_DIR:-.embryofl/demo}" ]; then
			echo "$there" >&2
			exit 2
		fi
		if [ "$action" = password ]; then exec "$demo" console-password; fi
		if [ "$action" = backup ]; then
			"$demo" hub backup "$FILE" && echo "Written to $FILE."
			exit
		fi
		eval "set -- ${DO:---help}" # words and quotes as in a shell
		exec "$demo" hub "$@"
		;;
	restore)
		if [ ! -f "${FILE:-}" ]; then
			echo "FILE=${FILE:-} is no file. Expected one that make backup wrote: make restore FILE=hub.tar" >&2
			exit 2
		fi
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
if [ -z "$done" ]; then
	echo "$there"
fi
