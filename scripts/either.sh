#!/usr/bin/env bash
# either.sh status|logs|down|clean|hub|app|console-password|notify-test|backup|restore: for the federation in containers or as local processes.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/fail.sh
action=$1
none="There is no federation here yet. Start one with: make up CLINICS=3 (Docker) or make demo CLINICS=3 (without)."
demo=${VENV:-.embryofl/venv}/bin/embryofl-demo
containers='' processes=''
[ ! -e "${EMBRYOFL_COMPOSE_DIR:-.embryofl/compose}/clinics.yaml" ] || containers=1
if [ -x "$demo" ] && [ -d "${EMBRYOFL_DEMO_DIR:-.embryofl/demo}" ]; then processes=1; fi


# The secret of a backup is typed, or the first line of standard input that is no comment (#), as in a file of age-keygen. It is
# passed on by standard input as well, never as an argument or in the environment.
ask_secret() { # ask_secret [new]
	local again
	if ! [ -t 0 ]; then
		secret=$(sed -n '/^#/!{p;q;}')
	elif [ "${1:-}" = new ]; then
		read -rsp "Passphrase of the backup (12 characters or more): " secret && echo >&2
		read -rsp "The same again: " again && echo >&2
		[ "$secret" = "$again" ] || fail H4 "The two passphrases differ. Expected the same twice. Run make backup again."
	else
		read -rsp "Passphrase or private key of the backup: " secret && echo >&2
	fi
}

tool=("$demo") # for what is done with one federation: the one in containers, if there is one
[ ! "$containers" ] || tool=(bash scripts/compose.sh)
case $action in
	hub | app | console-password | notify-test | backup) [ "$containers$processes" ] || fail S9 "$none" ;;
esac
case $action in
	hub)
		eval "set -- ${DO:---help}" # words and quotes as in a shell
		exec "${tool[@]}" hub "$@"
		;;
	app)
		bash scripts/options.sh
		exec "${tool[@]}" app "${CLINIC:-clinic-1}" --port "${APP_PORT:-8088}"
		;;
	console-password | notify-test) exec "${tool[@]}" "$action" ;;
	backup)
		file=${FILE:-embryofl-backup-$(date +%Y%m%d-%H%M%S).age} secret=''
		[ "$containers" ] || tool+=(hub)
		[ "${TO:-}" ] || ask_secret new
		umask 077
		# The signer encrypts its key, which nobody else sees; the archive contains what it has encrypted.
		if ! { sealed=$(printf '%s\n' "$secret" | "${tool[@]}" signer backup - ${TO:+--to="$TO"}) &&
			printf '%s\n' ${secret:+"$secret"} "$sealed" | "${tool[@]}" backup - --authority=- ${TO:+--to="$TO"} >"$file.part"; }; then
			rm -f "$file.part"
			fail H4 "No backup was made; the message above says why."
		fi
		mv "$file.part" "$file"
		echo "Written to $file."
		;;
	restore)
		[ -f "${FILE:-}" ] ||
			fail H4 "FILE=${FILE:-} is not a file. Expected an archive written by make backup. Run: make restore FILE=hub.age REVOKED=none"
		ask_secret
		if [ ! "${DEMO:-}" ]; then
			printf '%s\n' "$secret" | bash scripts/compose.sh restore
			exit
		fi
		make --no-print-directory setup
		printf '%s\n' "$secret" | "$demo" restore "$FILE" ${REVOKED:+--revoked="$REVOKED"}
		;;
	*)
		[ ! "$containers" ] || bash scripts/compose.sh "$action"
		[ ! "$containers" ] || [ ! "$processes" ] || echo
		[ ! "$processes" ] || "$demo" "$action"
		[ "$containers$processes" ] || coded S9 "$none"
		;;
esac
