#!/usr/bin/env bash
# compose.sh ACTION: runs the federation in containers, for the Makefile and either.sh. Needs only Docker on the host; what can be decided
# in Python is in the images. Options of `up`, from the environment: `make help`. EMBRYOFL_ variables: docs/settings.md.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/fail.sh
. scripts/login.sh
action=${1:-}
project=${COMPOSE_PROJECT_NAME:-embryofl}
place=${EMBRYOFL_COMPOSE_DIR:-.embryofl/compose}
generated=$place/clinics.yaml # the clinics as services
kept=$place/options           # of the last `up`: NGROK, GPU, and the clinics' images, in words
notify=$place/notify.toml     # a copy of the file that NOTIFY named; while it is there, there is a notifier
log=$place/last.log           # of the last build
console=http://localhost:${EMBRYOFL_CONSOLE_PORT:-7860}
gpu='' clinics=() parts=() # parts: the closing lines, as options of `embryofl-server local closing`
export EMBRYOFL_PORT=${PORT:-8443}
[ ! -e "$kept" ] || read -r kept_ngrok kept_gpu kept_images <"$kept"
if [ "${NGROK:=${kept_ngrok:-0}}" != 0 ]; then
	export EMBRYOFL_TUNNEL_FILE=/tunnel/state.json COMPOSE_PROFILES=ngrok NGROK_AGENT=${NGROK_AGENT:-$(command -v ngrok || true)}
fi
case $action:${NOTIFY:-} in
	up:?* | restore:?*)
		rm -f "$notify"
		if [ "$NOTIFY" != 0 ]; then
			[ -f "$NOTIFY" ] || fail H14 "NOTIFY=$NOTIFY is not a file. Expected the settings of notifications (docs/operations.md#notifications)."
			mkdir -p "$place"
			chmod 0700 "$place" # the notifier's user reads the file through a mount; the folder's mode keeps others out
			(umask 0333 && cat "$NOTIFY" >"$notify")
		fi
		;;
esac
if [ -e "$notify" ]; then
	export EMBRYOFL_NOTIFIER_FILE=/notifier/state.json COMPOSE_PROFILES=${COMPOSE_PROFILES:+$COMPOSE_PROFILES,}notify
fi
tty=() # a person's terminal is passed on to the programs in containers; without one they have no standard input
if ! [ -t 0 ] || ! [ -t 1 ]; then
	tty=(-T -e COLUMNS="${COLUMNS:-140}")
	case $action in
		clean | backup | signer) ;; # read what they are given
		restore) read -r secret && exec </dev/null ;; # of either.sh
		*) exec </dev/null ;;
	esac
fi

say() { printf '%s\n' "$*"; }
interrupted() {
	printf '\nInterrupted. Containers already started keep running. Continue with make up, or stop them with make down.\n' >&2
	exit 130
}

compose() {
	local files=(-f compose.yaml)
	[ -z "$gpu" ] || files+=(-f compose.gpu.yaml)
	[ ! -e "$generated" ] || files+=(-f "$generated")
	[ -z "${EMBRYOFL_PROMETHEUS_PORT:-}" ] || files+=(-f compose.prometheus.yaml)
	[ -z "${EMBRYOFL_OIDC_ISSUER:-}" ] || files+=(-f compose.oidc.yaml)
	[ -z "${EMBRYOFL_COMPOSE_EXTRA:-}" ] || files+=(-f "$EMBRYOFL_COMPOSE_EXTRA")
	docker compose --project-directory . -p "$project" "${files[@]}" "$@"
}
job() { compose --progress quiet run --rm --no-deps "$@"; }
bring() { compose --progress quiet up -d "$@"; }
hub() { compose exec ${tty[@]+"${tty[@]}"} server embryofl-server "$@"; }
is_up() { [ -n "$(compose ps -q --status running server 2>/dev/null)" ]; }

read_options() {
	trap interrupted INT TERM
	mkdir -p "$place"
	chmod 0700 "$place"
	make_password "$place/prometheus-password" # also that of the hub's own metrics
	have=$(docker volume ls -q | sed -n "s/^${project}_\(clinic-[0-9]*\)-state\$/\1/p" | paste -sd , -) # clinics with a key
	gpu=${GPU:-${kept_gpu:-}} gpu=${gpu#0} images="${IMAGES:-250} synthetic images each"
	[ -z "${DATA:-}" ] || images="images in $(cd "$DATA" && pwd)"
	if [ -n "$have" ] && [ -n "${kept_images:-}" ]; then
		[ -z "${DATA:-}${IMAGES:-}" ] || [ "$images" = "$kept_images" ] ||
			fail S11 "The clinics of this federation hold other images: $kept_images (asked for: $images). Leave out DATA and" \
				"IMAGES, or start another federation after: make clean"
		images=$kept_images
	fi
	say "$NGROK ${gpu:-0} $images" >"$kept"
}

build_images() { # STEP [PROFILE]
	say "$1 Docker images (the first time about 1 GB to download, usually 3 to 5 minutes; log: $log)"
	local project=embryofl profiles=${COMPOSE_PROFILES:-},${2:-} # images carry its name, and all federations of a machine share them
	if [ -t 1 ]; then # Docker shows its own progress
		COMPOSE_PROFILES=$profiles compose build || fail S6 "The images could not be built; the message above says why."
	elif ! COMPOSE_PROFILES=$profiles compose --progress plain build >"$log" 2>&1; then
		tail -n 40 "$log" >&2
		fail S6 "The images could not be built; the message above says why (all of it: $log)."
	fi
}

# A job that reads a folder of the host runs as the folder's owner; in rootless Docker that is the container's root.
plan_clinics() {
	local folder=${images#images in } owner=''
	source=() from=(--images "${images%% *}")
	if [ "$images" != "$folder" ]; then
		[ -d "$folder" ] || fail D1 "$folder, the folder of the clinics' images, is gone. Expected it where make up first found it."
		owner=$(stat -c %u "$folder" 2>/dev/null || stat -f %u "$folder")
		[[ $(docker info -f '{{.SecurityOptions}}') != *rootless* ]] || owner=0
		source=(-u "$owner:10001" -v "$folder:/source:ro") from=(--source=/source)
	fi
	job -T ${source[@]+"${source[@]}"} datagen compose-file ${owner:+--source=/source} --have "$have" ${CLINICS:+--asked="$CLINICS"} \
		${gpu:+--gpu} >"$generated.part" || fail D5 "The number of clinics cannot be used; the message above says why (/source is DATA)."
	mv "$generated.part" "$generated"
	read_clinics
}

read_clinics() {
	read -ra clinics <"$generated"
	kind=${clinics[1]} clinics=("${clinics[@]:2}")
}

start_hub() { # STEP
	say "$1 Hub: gateway on https://localhost:$EMBRYOFL_PORT"
	bring --wait --wait-timeout 300 signer server superlink gateway && return
	compose logs --tail 20 signer server superlink gateway >&2
	fail S10 "The hub did not start; the messages above say why. If its port is in use: make up PORT=$((EMBRYOFL_PORT + 1))"
}

fill_clinics() {
	say "3/5 Data of ${#clinics[@]} clinics ($images)"
	job ${tty[@]+"${tty[@]}"} ${source[@]+"${source[@]}"} datagen fill /out --clinics ${#clinics[@]} "${from[@]}" || {
		[ $? != 130 ] || interrupted # on a terminal Ctrl-C goes to the job
		fail D5 "The clinics' data could not be prepared; the message above says why (/source is DATA, /out holds the clinics' volumes)."
	}
}

join_clinics() {
	say "4/5 Clinics join with their own keys"
	local invites clinic code joining=() end
	# dashboards live, nobody compares keys, and two clinics may train together
	local policy='cp -n /opt/venv/lib/python3.11/site-packages/embryofl_clinic/policy/one_owner.toml /state/policy.toml'
	invites=$(hub local invites "${clinics[@]}" --have "$have")
	while read -r clinic code; do # through standard input into the clinic's volume, never in an image, an environment or a command line
		[ -n "$clinic" ] || continue
		printf '%s' "$code" | job -T --entrypoint sh "$clinic" -c "umask 077 && cat >/state/invite.part && mv /state/invite.part /state/invite && $policy"
		joining+=("$clinic")
	done <<<"$invites"
	start_clinics
	end=$((SECONDS + 900))
	until hub local wait "${clinics[@]}"; do
		[ "$SECONDS" -lt "$end" ] || fail S10 "These clinics have not joined after 15 minutes. Their logs say why: make logs"
		for clinic in ${joining[@]+"${joining[@]}"}; do check_clinic "$clinic"; done
	done
	[ ${#joining[@]} = 0 ] || say "    Joined: ${joining[*]}"
}
start_clinics() { bring --no-deps "${clinics[@]}" || fail S10 "The clinics could not be started; the message above says why."; }

# A clinic that ends before it has joined would be restarted forever: its log is shown, and it is removed.
check_clinic() {
	local id
	id=$(compose ps -aq "$1")
	case $(docker inspect -f '{{.RestartCount}} {{.State.Status}}' "$id") in "0 running" | "0 created") return ;; esac
	until [ "$(docker inspect -f '{{.State.Status}}' "$id")" != running ]; do sleep 0.2; done # its log is complete when it has ended again
	docker logs --since "$(docker inspect -f '{{.State.StartedAt}}' "$id")" "$id" >&2
	compose rm --stop --force "$1" >/dev/null 2>&1
	[ "$kind" != folders ] || docker volume rm "${project}_$1-data" >/dev/null # a faulty copy: the next make up copies its folder again
	[ "$kind" != divided ] || fail S10 "$1 does not start; its log above says why. Correct the images, then run make clean and make up."
	fail S10 "$1 does not start; its log above says why. The others are running. Fix the cause and run make up again, or stop them with make down."
}

# start SERVICE ADDRESS: a part that the federation can do without. Its closing line says where it is, or why it does not run.
start() {
	local failure
	if failure=" $(bring --wait --wait-timeout 120 --no-deps "$1" 2>&1 | tail -n 1)"; then failure=; fi
	parts+=(--part "$1"$'\t'"$2"$'\t'"$failure")
	[ -z "$failure" ]
}

# Passwords are printed here and are no argument of a process. The hub creates that of the first person and keeps a hash.
start_parts() {
	if start console "$console"; then
		compose exec -T server embryofl-server local password "$console" </dev/null | sed 's/^/    /' ||
			coded H9 "    Nobody can log in yet; the message above says why. Try: make console-password"
	fi
	[ "$NGROK" = 0 ] || bring --wait --wait-timeout 45 --no-deps tunnel >/dev/null 2>&1 || true # the hub's status says how it is
	if [ "${NOTIFY:-}" ]; then compose --profile notify --progress quiet rm --stop --force notifier >/dev/null 2>&1; fi # it read another file
	[ ! -e "$notify" ] || start notifier "by mail or webhook" || true
	make_login "$place" job -T --entrypoint caddy gateway hash-password ||
		coded S10 "    Prometheus has no login, so that it cannot start; the message above says why."
	make_password "$place/grafana-password"
	start prometheus "${EMBRYOFL_PROMETHEUS_PORT:+http://localhost:$EMBRYOFL_PROMETHEUS_PORT}" || true
	start grafana "http://localhost:${EMBRYOFL_GRAFANA_PORT:-3000}" || true
}

up() {
	read_options
	build_images 1/5 images
	plan_clinics
	start_hub 2/5
	fill_clinics
	join_clinics
	start_parts
	say "5/5 $(hub local start "${SET:-}")"
	hub local closing "$EMBRYOFL_PORT" "$place" "${parts[@]}"
}

restore() {
	local authority && read_options
	build_images 1/3
	say "2/3 State of $FILE"
	! is_up || fail H4 "A hub is running here (project $project). A backup can only be restored where no hub runs: make down, and" \
		"make clean to delete its state."
	authority=$({ printf '%s\n' "$secret" && cat "$FILE"; } | job -T server restore - --authority=- ${REVOKED:+--revoked="$REVOKED"}) ||
		fail H4 "Nothing was restored; the message above says why."
	printf '%s\n%s\n' "$secret" "$authority" | job -T signer signer restore - ||
		fail H4 "The hub was restored, but not the key of its authority; the message above says why. Run make clean, then make restore."
	start_hub 3/3
	[ -z "$have" ] || [ ${#clinics[@]} = 0 ] || start_clinics # they have their own keys and data, which a backup does not contain
	start_parts
	hub local closing "$EMBRYOFL_PORT" "$place" "${parts[@]}"
}

status() {
	local down
	! is_up || hub status
	down=$(
		compose ps -a --format '{{.Service}}: {{.Status}}' | awk '!/: Up / || /unhealthy|Paused/ { print "  " $0 }'
		comm -23 <(compose config --services | sort) <(compose ps -a --services | sort) | sed 's/.*/  &: not started/'
	)
	[ -z "$down" ] || say "These parts of the federation are not running:"$'\n'"$down"$'\n'"$(coded S9 "Start them with: make up   Their logs: make logs")"
}

clean() {
	local answer=${YES:+yes}
	[ -n "$answer" ] || read -r -p "Delete the federation in containers with its models, keys and data (project $project)? [y/N] " answer || true
	case $answer in [yY]*) ;; *) say "Nothing was deleted." && exit 1 ;; esac
	compose --progress quiet down --timeout 4 --remove-orphans --volumes
	docker volume prune --all --force --filter "label=com.docker.compose.project=$project" >/dev/null # those of earlier clinics, too
	rm -f "$generated" "$kept" "$log" "$notify" "$place"/{grafana-password,prometheus-password,prometheus-web.yml}
	rmdir "$place" 2>/dev/null || true
	say "Deleted. The Docker images are kept; to remove them: docker image rm embryofl-server embryofl-clinic embryofl-datagen embryofl-console embryofl-gateway (and embryofl-tunnel)"
}

app() { # CLINIC --port PORT
	[[ " ${clinics[*]} " == *" $1 "* ]] || fail S7 "CLINIC=$1 is not a clinic on this machine. Expected one of: ${clinics[*]}."
	! (exec 3<>"/dev/tcp/127.0.0.1/$3") 2>/dev/null ||
		fail S3 "Port $3 is in use by another program. Choose another: make app CLINIC=$1 APP_PORT=$(($3 + 1))"
	job ${tty[@]+"${tty[@]}"} --name "$project-app-$1" -p "127.0.0.1:$3:$3" "$1-app" app --host 0.0.0.0 --port "$3"
}

found=$(docker version --format '{{.Server.Version}}' 2>&1 && docker compose version --short 2>&1) ||
	fail S1 "Docker cannot be used: $found"$'\n'"Expected Docker Engine 25 and Docker Compose 2.24, or later, running, and a user who may use" \
		"them (https://docs.docker.com/engine/install/). Without Docker, run the same federation as local processes: make demo"
[ ! -e "$generated" ] || read_clinics
case $action in
	up | restore | app | clean) "$action" "${@:2}" ;;
	status | down)
		if [ -z "$(compose ps -aq)" ]; then
			coded S9 "The federation in containers is not running. Start it with: make up"
		elif [ "$action" = status ]; then
			status
		else
			compose --progress quiet down --timeout 4 --remove-orphans
			say "Stopped; keys, models and data are kept. The next make up continues from there."
		fi
		;;
	notify-test)
		compose exec -T notifier embryofl-server notifier test </dev/null ||
			fail H14 "No test message was taken, or not by all; the message above says why. Expected a notifier: make up NOTIFY=file" ;;
	hub) is_up || fail S9 "The hub is not running. See what is: make status" && hub "${@:2}" ;;
	console-password)
		compose exec -T server embryofl-server local password --new "$console" </dev/null ||
			fail H9 "No new password was created; the message above says why. See what runs: make status" ;;
	backup) job -T server backup "${@:2}" ;;
	signer) job -T signer signer "${@:2}" ;;
	logs) compose logs --tail "${TAIL:-15}" ${FOLLOW:+--follow} ;;
	*) fail S7 "compose.sh up|status|hub|app|console-password|notify-test|backup|restore|logs|down|clean" ;;
esac
