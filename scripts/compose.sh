#!/usr/bin/env bash
# compose.sh up|status|watch|hub|password|backup|restore|logs|down|clean: runs the federation in containers. Needs only Docker on the host.
# It calls Docker; what can be decided in Python is in the images: `embryofl-server local`, `embryofl-datagen count`.
# Options of `up`, from the environment (`make up NAME=value`):
#   CLINICS  number of clinics, 1 to 50   DATA  folder of real images   IMAGES  synthetic images per clinic
#   PORT     of the gateway               SET   settings of the run     GPU=1   clinics on an NVIDIA GPU
#   NGROK=1  remote access through ngrok, with NGROK_AUTHTOKEN, NGROK_AGENT (the agent) and NGROK_REMOTE_ADDR (if reserved)
# EMBRYOFL_COMPOSE_EXTRA: a further compose file. EMBRYOFL_COMPOSE_DIR: the folder for generated files.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/fail.sh
project=${COMPOSE_PROJECT_NAME:-embryofl}
place=${EMBRYOFL_COMPOSE_DIR:-.embryofl/compose}
generated=$place/clinics.yaml # the clinics as services
source_file=$place/source     # their images: "synthetic N", or "folder /path"
filled=$place/filled          # complete data volumes: name and time of creation
log=$place/last.log           # output of the last long step
taken='port is already allocated|address already in use'
export EMBRYOFL_PORT=${PORT:-8443}
console=http://localhost:${EMBRYOFL_CONSOLE_PORT:-7860}
gpu='' running=() # running: the closing lines, as options of `embryofl-server local closing`
[ ! -e "$place/ngrok" ] || NGROK=${NGROK:-1}
if [ "${NGROK:=0}" != 0 ]; then
	export EMBRYOFL_TUNNEL_FILE=/tunnel/state.json COMPOSE_PROFILES=ngrok NGROK_AGENT=${NGROK_AGENT:-$(command -v ngrok || true)}
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
	[ -z "${EMBRYOFL_COMPOSE_EXTRA:-}" ] || files+=(-f "$EMBRYOFL_COMPOSE_EXTRA")
	docker compose --project-directory . -p "$project" "${files[@]}" "$@"
}
job() { compose --progress quiet run --rm --no-deps "$@"; }
quietly() { "$@" >"$log" 2>&1 </dev/null; }
volumes() { docker volume ls -q --filter "label=com.docker.compose.project=$project"; }
is_up() { [ -n "$(compose ps -q --status running server 2>/dev/null)" ]; }
need_hub() { is_up || fail S9 "The hub is not running. See what is: make status"; }
# The hub's command line, in the server's container: on a person's terminal, if there is one.
hub() {
	if [ -t 0 ] && [ -t 1 ]; then
		compose exec server embryofl-server "$@"
	else
		compose exec -T -e COLUMNS="${COLUMNS:-140}" server embryofl-server "$@" </dev/null
	fi
}

need_docker() {
	local otherwise="Without Docker, run the same federation as local processes: make demo" version
	command -v docker >/dev/null ||
		fail S1 "Docker is not installed (https://docs.docker.com/engine/install/). $otherwise"
	docker compose version >/dev/null 2>&1 ||
		fail S1 "Docker has no Compose plugin; version 2.24 or later is needed (https://docs.docker.com/compose/install/). $otherwise"
	version=$(docker version --format '{{.Server.Version}}' 2>&1) || case $version in
		*"permission denied"*) fail S1 "User $(id -un) has no permission to use Docker. Add the user to the group docker, or use sudo. $otherwise" ;;
		*) fail S1 "Docker is installed, but its engine is not running: start it (such as: sudo systemctl start docker). $otherwise" ;;
	esac
	[ "${version%%.*}" -ge 25 ] 2>/dev/null || fail S1 "Docker Engine $version was found; 25 or later is needed. $otherwise"
}

read_options() {
	mkdir -p "$place"
	existing=$(volumes | sed -n "s/^${project}_clinic-\([0-9]*\)-state\$/\1/p" | sort -n | tail -n 1) # clinics it already has
	existing=${existing:-0}
	[ "$existing" != 0 ] || rm -f "$source_file" "$filled"
	images="synthetic ${IMAGES:-400}"
	[ -z "${DATA:-}" ] || images="folder $(cd "$DATA" && pwd)"
	if [ -e "$source_file" ]; then
		[ -z "${DATA:-}${IMAGES:-}" ] || [ "$images" = "$(cat "$source_file")" ] ||
			fail S11 "The clinics of this federation hold other images: $(cat "$source_file") (asked for: $images). Leave out" \
				"DATA and IMAGES, or start another federation after: make clean"
		images=$(cat "$source_file")
	fi
	if [ "$NGROK" != 0 ]; then touch "$place/ngrok"; else rm -f "$place/ngrok"; fi
	gpu=${GPU:-$([ ! -e "$place/gpu" ] || echo 1)}
	if [ "${gpu#0}" ]; then touch "$place/gpu"; else gpu= && rm -f "$place/gpu"; fi
	case $(docker ps --filter "label=com.docker.compose.project=$project" --format '{{.Ports}}') in
		*":$EMBRYOFL_PORT->"*) ;; # the gateway's own
		*) ! (exec 3<>"/dev/tcp/127.0.0.1/$EMBRYOFL_PORT") 2>/dev/null || port_taken ;;
	esac
}

port_taken() {
	fail S3 "Port $EMBRYOFL_PORT is in use by another program. Expected a free one for the gateway: stop that program (is it" \
		"make demo?), or choose another port: make up PORT=$((EMBRYOFL_PORT + 1))"
}

build_images() { # STEP IMAGE...
	say "$1 Images (the first time about 1 GB to download, usually 3 to 5 minutes; log: $log)"
	local build=(compose build)
	[ -t 1 ] || build=(quietly compose --progress plain build) # on a terminal Docker shows its own progress
	"${build[@]}" "${@:2}" || {
		tail -n 40 "$log" >&2
		fail S6 "The images could not be built; the message above says why (all of it: $log)."
	}
}

# A job that reads a host folder runs as the folder's owner; in rootless Docker that is the container's root.
data_user() {
	case $(docker info -f '{{.SecurityOptions}}') in
		*rootless*) echo 0:10001 ;;
		*) echo "$(stat -c %u "${images#folder }" 2>/dev/null || stat -f %u "${images#folder }"):10001" ;;
	esac
}

count_clinics() {
	local mount=() source=() counted
	if [ "${images%% *}" = folder ]; then
		mount=(--user "$(data_user)" --mount "type=bind,source=${images#folder },target=/source,readonly") source=(--source /source)
	fi
	counted=$(docker run --rm --network none --cap-drop ALL --read-only ${mount[@]+"${mount[@]}"} embryofl-datagen count \
		--existing "$existing" ${CLINICS:+--asked="$CLINICS"} ${source[@]+"${source[@]}"}) ||
		fail D5 "The number of clinics cannot be used; the message above says why (/source is DATA)."
	read -r count kind <<<"$counted" # such as: 3 folders
}

write_clinics() {
	local k clinic="extends: {file: compose.clinic.yaml, service: clinic}"
	[ -z "$gpu" ] || clinic="extends: {file: compose.gpu.yaml, service: clinic-gpu}, profiles: !reset []"
	{
		say "# Written by scripts/compose.sh."$'\n'"services:"
		for ((k = 1; k <= count; k++)); do
			say "  clinic-$k: {$clinic, volumes: [\"clinic-$k-data:/data:ro\", \"clinic-$k-state:/state\"]}"
			say "  data-$k: {extends: {file: compose.clinic.yaml, service: data}, volumes: [\"clinic-$k-data:/out\"]}"
		done
		say "volumes:"
		for ((k = 1; k <= count; k++)); do say "  clinic-$k-data:"$'\n'"  clinic-$k-state:"; done
	} >"$generated.part"
	mv "$generated.part" "$generated"
	say "$images" >"$source_file"
}

start_hub() { # STEP
	say "$1 Hub: gateway on https://localhost:$EMBRYOFL_PORT"
	quietly compose up -d --wait --wait-timeout 300 server superlink gateway && return
	! grep -qE "$taken" "$log" || port_taken
	cat "$log" >&2
	compose logs --tail 20 server superlink gateway >&2
	fail S10 "The hub did not start; the messages above say why."
}

# start PART NAME ADDRESS TEXT: a part that the federation can do without. Its closing line says where it is, or why it does not run.
start() {
	local text=$4 code=0
	if ! quietly compose up -d --wait --wait-timeout 120 --no-deps "$1"; then
		code=1 text=$(coded S10 "did not start: $(tail -n 1 "$log")")
		! grep -qE "$taken" "$log" || text=$(coded S3 "did not start: its port is in use. Choose another (docs/settings.md) and run make up again.")
	fi
	running+=(--part "$2"$'\t'"$3"$'\t'"$text")
	return $code
}

# Passwords are printed here and are no argument of a process. The console creates its own in its container and keeps a hash.
start_parts() {
	local password file=$place/grafana-password login
	if start console Console "$console" "runs, clinics, results; from this machine only"; then
		password=$(compose exec -T console embryofl-console password </dev/null) ||
			coded H9 "    The console has no password yet; the message above says why. Try: make console-password"
		[ -z "$password" ] || say "    Console: $console, password (shown this once; for a new one: make console-password): $password"
	fi
	[ "$NGROK" = 0 ] || quietly compose up -d --wait --wait-timeout 45 --no-deps tunnel || true # the hub's status says how it is
	login="user admin, password in $file"
	chmod 0700 "$place" # Grafana's own user reads the password through its mount; the folder's mode keeps others out
	if [ ! -e "$file" ]; then
		(umask 077 && head -c 18 /dev/urandom | base64 | tr '+/' '-_' >"$file")
		chmod 0444 "$file"
	fi
	start prometheus Metrics "http://localhost:${EMBRYOFL_PROMETHEUS_PORT:-9090}" "Prometheus; /alerts lists the alerts; from this machine only" || true
	start grafana Grafana "http://localhost:${EMBRYOFL_GRAFANA_PORT:-3000}" "dashboards; $login" || true
}

fill_data() {
	say "3/5 Data of $count clinics ($images)"
	local k volume command tty=-T
	if [ -t 0 ] && [ -t 1 ]; then tty=; fi
	for ((k = 1; k <= count; k++)); do
		volume=${project}_clinic-$k-data
		! grep -qxF "$volume $(docker volume inspect -f '{{.CreatedAt}}' "$volume" 2>/dev/null)" "$filled" 2>/dev/null || continue
		command=("data-$k" generate /out --images "${images#synthetic }")
		[ "${images%% *}" = synthetic ] || command=(-u "$(data_user)" -v "${images#folder }:/source:ro" "data-$k" divide /source /out)
		job $tty "${command[@]}" --only "$k" --clinics "$count" || {
			[ $? != 130 ] || interrupted # on a terminal Ctrl-C goes to the job
			fail D5 "The data of clinic-$k could not be prepared; the message above says why (/out is its volume)."
		}
		say "$volume $(docker volume inspect -f '{{.CreatedAt}}' "$volume")" >>"$filled"
	done
}

join_clinics() {
	say "4/5 Clinics join with their own keys"
	local invites clinic code joining=" " have end
	have=$'\n'$(volumes)$'\n'
	invites=$(hub local invites "$count")
	while read -r clinic code; do # through standard input into the clinic's volume, never in an image, an environment or a command line
		[ -n "$clinic" ] || continue
		printf '%s' "$code" | job -T --entrypoint sh "$clinic" -c 'umask 077 && cat >/state/invite.part && mv /state/invite.part /state/invite'
		joining+="$clinic "
	done <<<"$invites"
	for clinic in $(local_clinics); do
		[[ $joining == *" $clinic "* || $have == *$'\n'"${project}_$clinic-state"$'\n'* ]] ||
			fail S11 "$clinic is enrolled, but the volume with its key is gone. Start over with: make clean"
	done
	start_clinics
	end=$((SECONDS + 900))
	until hub local wait "$count" --seconds 5; do
		[ "$SECONDS" -lt "$end" ] || fail S10 "These clinics have not joined after 15 minutes. Their logs say why: make logs"
		for clinic in $joining; do check_clinic "$clinic"; done
	done
	[ "$joining" = " " ] || say "    Joined:$joining"
}

local_clinics() { seq -f clinic-%g "$count"; }

start_clinics() {
	local clinics
	read -ra clinics <<<"$(local_clinics | tr '\n' ' ')"
	quietly compose up -d --no-deps "${clinics[@]}" && return
	cat "$log" >&2
	fail S10 "The clinics could not be started; the message above says why."
}

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

up() {
	read_options
	local images_needed=(server gateway console clinic datagen) setting settings=()
	[ "$NGROK" = 0 ] || images_needed+=(tunnel)
	build_images 1/5 "${images_needed[@]}"
	count_clinics
	write_clinics
	start_hub 2/5
	fill_data
	join_clinics
	start_parts
	IFS=, read -ra setting <<<"${SET:-}"
	for setting in ${setting[@]+"${setting[@]}"}; do settings+=(--set "$setting"); done
	say "5/5 $(hub local start ${settings[@]+"${settings[@]}"})"
	hub local closing "$EMBRYOFL_PORT" "${running[@]}"
}

# The archive is written to standard output, so the host decides where it is stored. Only its owner may read it.
backup() {
	umask 077
	# shellcheck disable=SC2153 # FILE comes from the environment
	job -T server backup - </dev/null >"$FILE.part" || {
		rm -f "$FILE.part"
		fail H4 "No backup was made; the message above says why."
	}
	mv "$FILE.part" "$FILE"
	say "Written to $FILE."
}

restore() {
	read_options
	build_images 1/3 server gateway console
	say "2/3 State of $FILE"
	! is_up || fail H4 "A hub is running here (project $project). A backup can only be restored where no hub runs: make down, and" \
		"make clean to delete its state."
	job -T server restore - <"$FILE" || fail H4 "Nothing was restored; the message above says why."
	start_hub 3/3
	if [ "$existing" != 0 ]; then # local clinics have their own keys and data, which a backup does not contain
		count=$existing
		[ -e "$generated" ] || write_clinics
		start_clinics
	fi
	start_parts
	hub local closing "$EMBRYOFL_PORT" "${running[@]}"
}

# Which parts do not run, since when, and what brings them back; nothing when all of them run.
list_parts() {
	local defined seen down
	defined=$(compose config --services) || fail S1 "Docker Compose could not read the compose files; the message above says why."
	seen=$(compose ps -a --format '{{.Service}} {{.State}} {{.Status}}')
	down=$(awk '
		NR == FNR { seen[$1] = 1; if ($2 == "running" && !/unhealthy/) next; name = $1; $1 = $2 = ""; print "  " name ":" substr($0, 2); next }
		!($1 in seen) { print "  " $1 ": not started" }' <(say "$seen") <(say "$defined"))
	[ -z "$down" ] || say "These parts of the federation are not running:"$'\n'"$down"$'\n'"$(coded S9 "Start them with: make up   Their logs: make logs")"
}

clean() {
	local answer left
	if [ -z "${YES:-}" ]; then
		read -r -p "Delete the federation in containers with its models, keys and data (project $project)? [y/N] " answer || true
		case ${answer:-} in [yY]*) ;; *) say "Nothing was deleted." && exit 1 ;; esac
	fi
	compose --progress quiet down --timeout 4 --remove-orphans --volumes
	left=$(volumes)
	[ -z "$left" ] || xargs docker volume rm <<<"$left" >/dev/null
	(cd "$place" 2>/dev/null && rm -f clinics.yaml source filled last.log gpu ngrok grafana-password) || true
	rmdir "$place" 2>/dev/null || true
	say "Deleted. The Docker images are kept; to remove them: docker image rm embryofl-server embryofl-clinic embryofl-datagen embryofl-console embryofl-gateway (and embryofl-tunnel)"
}

action=${1:-}
case $action in
	up | restore)
		bash scripts/options.sh
		trap interrupted INT TERM
		;;
esac
need_docker
if [ "$action" = up ] && python3 -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null; then
	COMPOSE_PROJECT_NAME=$project python3 scripts/doctor.py --short containers
fi
case $action in
	up | restore | backup | clean) "$action" ;;
	status | down)
		if [ -z "$(compose ps -aq)" ]; then
			coded S9 "The federation in containers is not running. Start it with: make up"
		elif [ "$action" = down ]; then
			compose --progress quiet down --timeout 4 --remove-orphans
			say "Stopped; keys, models and data are kept. The next make up continues from there."
		else
			! is_up || hub status
			list_parts
		fi
		;;
	watch) need_hub && hub status --follow ;;
	hub)
		need_hub
		eval "set -- ${DO:---help}" # words and quotes as in a shell
		hub "$@"
		;;
	password)
		need_hub
		password=$(compose exec -T console embryofl-console password --new </dev/null) ||
			fail H9 "No new password was created; the message above says why. See the console's log: make logs"
		say "Console: $console, new password (shown this once; everyone was logged out): $password"
		;;
	logs) compose logs --tail "${TAIL:-15}" ${FOLLOW:+--follow} ;;
	*) fail S7 "compose.sh up|status|watch|hub|password|backup|restore|logs|down|clean" ;;
esac
