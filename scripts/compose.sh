#!/usr/bin/env bash
# compose.sh up|status|watch|hub|password|backup|restore|logs|down|clean: runs the federation in containers. Needs only Docker on the host.
# Options of `up`, from the environment (`make up NAME=value`):
#   CLINICS  number of clinics, 1 to 50   DATA  folder of real images   IMAGES  synthetic images per clinic
#   PORT     of the gateway               SET   settings of the run     GPU=1   clinics on an NVIDIA GPU
#   NGROK=1  remote access through ngrok, with NGROK_AUTHTOKEN, NGROK_AGENT (the agent) and NGROK_REMOTE_ADDR (if reserved)
# EMBRYOFL_CONSOLE_PORT, EMBRYOFL_PROMETHEUS_PORT and EMBRYOFL_GRAFANA_PORT: their ports on this machine (default 7860, 9090
# and 3000). EMBRYOFL_COMPOSE_EXTRA: a further compose file. EMBRYOFL_COMPOSE_DIR: the folder for generated files.
set -euo pipefail
cd "$(dirname "$0")/.."
project=${COMPOSE_PROJECT_NAME:-embryofl}
place=${EMBRYOFL_COMPOSE_DIR:-.embryofl/compose}
generated=$place/clinics.yaml # the clinics as services
source_file=$place/source     # their images: "synthetic N", or "folder /path"
filled=$place/filled          # complete data volumes: name and time of creation
log=$place/last.log           # output of the last long step
export EMBRYOFL_PORT=${PORT:-8443}
[ ! -e "$place/ngrok" ] || NGROK=${NGROK:-1}
case ${NGROK:-} in
	'' | 0) NGROK= ;;
	*)
		export EMBRYOFL_TUNNEL_FILE=/tunnel/state.json COMPOSE_PROFILES=ngrok
		export NGROK_AGENT=${NGROK_AGENT:-$(command -v ngrok || true)}
		;;
esac
default_clinics=3 default_images=400 least_engine=25
gpu=
console=http://localhost:${EMBRYOFL_CONSOLE_PORT:-7860}
watched= # lines about console, Prometheus and Grafana
password_text="user admin, password in $place/grafana-password"
bold='' plain=''
if [ -t 1 ]; then bold=$'\e[1m' plain=$'\e[0m'; fi

say() { printf '%s\n' "$*"; }
step() { printf '%s\n' "$bold$1$plain $2"; }
fail() {
	printf '%s\n' "$*" >&2
	exit 2
}

compose() {
	local files=(-f compose.yaml)
	[ -z "$gpu" ] || files+=(-f compose.gpu.yaml)
	[ ! -e "$generated" ] || files+=(-f "$generated")
	[ -z "${EMBRYOFL_COMPOSE_EXTRA:-}" ] || files+=(-f "$EMBRYOFL_COMPOSE_EXTRA")
	docker compose --project-directory . -p "$project" "${files[@]}" "$@"
}

# The hub's command line, in the server's container.
hub() { compose exec -T server embryofl-server "$@" </dev/null; }

# The same on a person's terminal, if there is one: as wide as it, and redrawn in place.
hub_show() {
	if [ -t 0 ] && [ -t 1 ]; then
		compose exec server embryofl-server "$@"
	else
		compose exec -T -e COLUMNS="${COLUMNS:-140}" server embryofl-server "$@" </dev/null
	fi
}

# Run a command with its output in the log.
quietly() {
	"$@" >"$log" 2>&1 </dev/null
}

need_docker() {
	local otherwise="Without Docker, run the same federation as local processes: make demo" version engine
	command -v docker >/dev/null ||
		fail "Docker is not installed (https://docs.docker.com/engine/install/). $otherwise"
	docker compose version >/dev/null 2>&1 ||
		fail "Docker has no Compose plugin; version 2.24 or later is needed (https://docs.docker.com/compose/install/). $otherwise"
	if ! version=$(docker version --format '{{.Server.Version}}' 2>&1); then
		case $version in
			*"permission denied"*) fail "User $(id -un) has no permission to use Docker. Add the user to the group docker, or use sudo. $otherwise" ;;
			*) fail "Docker is installed, but its engine is not running: start it (such as: sudo systemctl start docker). $otherwise" ;;
		esac
	fi
	engine=${version%%.*}
	[ "$engine" -ge "$least_engine" ] 2>/dev/null ||
		fail "Docker Engine $version was found; $least_engine or later is needed. $otherwise"
}

# has_line LINE TEXT: whether a text has this line. Never `command | grep -q`: grep ends at the first match, the command then
# fails with a broken pipe, and with pipefail the answer is no.
has_line() { grep -qxF -- "$1" <<<"$2"; }

is_up() { has_line server "$(compose ps --status running --services 2>/dev/null)"; }

# The services that the compose files define.
defined_services() {
	compose config --services || fail "Docker Compose could not read the compose files; the message above says why."
}

volumes() { docker volume ls -q --filter "label=com.docker.compose.project=$project"; }

# The number of clinics that this federation already has.
count_existing() {
	volumes | sed -n "s/^${project}_clinic-\([0-9]*\)-state\$/\1/p" | sort -n | tail -n 1
}

read_options() {
	existing=$(count_existing)
	existing=${existing:-0}
	[ "$existing" != 0 ] || rm -f "$source_file" "$filled"
	images="synthetic ${IMAGES:-$default_images}"
	if [ -n "${DATA:-}" ]; then
		images="folder $(cd "$DATA" && pwd)"
	fi
	if [ -e "$source_file" ]; then
		if { [ -n "${DATA:-}" ] || [ -n "${IMAGES:-}" ]; } && [ "$images" != "$(cat "$source_file")" ]; then
			fail "The clinics of this federation hold other images: $(cat "$source_file") (asked for: $images). Leave out" \
				"DATA and IMAGES, or start another federation after: make clean"
		fi
		images=$(cat "$source_file")
	fi
	count=${CLINICS:-$existing}
	if [ -n "$NGROK" ]; then touch "$place/ngrok"; else rm -f "$place/ngrok"; fi
	case ${GPU:-$([ ! -e "$place/gpu" ] || echo 1)} in
		'' | 0) gpu= && rm -f "$place/gpu" ;;
		*) gpu=1 && touch "$place/gpu" ;;
	esac
}

port_taken() {
	fail "Port $EMBRYOFL_PORT is in use by another program. Expected a free one for the gateway: stop that program (is it" \
		"make demo?), or choose another port: make up PORT=$((EMBRYOFL_PORT + 1))"
}

check_port() {
	local ours
	ours=$(docker ps --filter "label=com.docker.compose.project=$project" --format '{{.Ports}}')
	case $ours in *":$EMBRYOFL_PORT->"*) return ;; esac # the gateway's own
	if (exec 3<>"/dev/tcp/127.0.0.1/$EMBRYOFL_PORT") 2>/dev/null; then port_taken; fi
}

build_images() { # STEP IMAGE...
	step "$1" "Images (the first time takes minutes)"
	shift
	compose --progress plain build "$@" >"$log" 2>&1 </dev/null &
	local job=$! began=$SECONDS printed=0 now
	trap 'kill $job 2>/dev/null; interrupted' INT TERM
	while kill -0 $job 2>/dev/null; do
		sleep 1
		now="    building, $((SECONDS - began)) s: $(grep -E '^#[0-9]+ \[' "$log" | tail -n 1 | sed 's,^#[0-9]* ,,' | cut -c 1-90 || true)"
		if [ -t 1 ]; then
			printf '\r%s\e[K' "$now"
		elif [ $((SECONDS - began - printed)) -ge 30 ]; then
			printed=$((SECONDS - began))
			say "$now"
		fi
	done
	if [ -t 1 ]; then printf '\r\e[K'; fi
	trap interrupted INT TERM
	wait $job || {
		tail -n 40 "$log" >&2
		fail "The images could not be built; the message above says why (all of it: $log)."
	}
}

interrupted() {
	printf '\nInterrupted. Containers already started keep running. Continue with make up, or stop them with make down.\n' >&2
	exit 130
}

# A job that reads a host folder runs as the folder's owner; in rootless Docker that is the container's root.
data_user() {
	local folder=${images#folder }
	case $(docker info -f '{{.SecurityOptions}}') in
		*rootless*) echo 0:10001 ;;
		*) echo "$(stat -c %u "$folder" 2>/dev/null || stat -f %u "$folder"):10001" ;;
	esac
}

# Decide the number of clinics. A folder of real images with one sub-folder per clinic determines it.
count_clinics() {
	folders=0 # sub-folders of DATA, one per clinic
	if [ "${images%% *}" = folder ]; then
		folders=$(docker run --rm --network none --user "$(data_user)" --cap-drop ALL --read-only \
			--mount "type=bind,source=${images#folder },target=/source,readonly" --entrypoint python embryofl-datagen -c '
import sys
from pathlib import Path
from embryofl.errors import UserError
from embryofl_data.dividing import clinic_folders
try:
    print(len(clinic_folders(Path("/source")) or []))
except (UserError, OSError) as error:
    sys.exit(str(error))') || fail "DATA=${images#folder } cannot be used; the message above says why (/source is that folder)."
		if [ "$folders" != 0 ]; then
			[ -z "${CLINICS:-}" ] || [ "$CLINICS" = "$folders" ] ||
				fail "${images#folder } has sub-folders for $folders clinics, but CLINICS=$CLINICS. Leave CLINICS out."
			count=$folders
		elif [ "$existing" != 0 ] && [ "$count" -gt "$existing" ]; then
			fail "${images#folder } was divided over $existing clinics. Another number needs a new federation: run make clean first."
		fi
	fi
	[ "$count" != 0 ] || count=$default_clinics
	if [ "$count" -lt "$existing" ]; then
		say "    This federation has $existing clinics and keeps them. To start over with $count, run make clean first."
		count=$existing
	fi
}

write_clinics() {
	local k template="{file: compose.clinic.yaml, service: clinic}"
	[ -z "$gpu" ] || template="{file: compose.gpu.yaml, service: clinic-gpu}"
	{
		echo "# Written by scripts/compose.sh."
		echo "services:"
		for ((k = 1; k <= count; k++)); do
			echo "  clinic-$k:"
			echo "    extends: $template"
			[ -z "$gpu" ] || echo "    profiles: !reset []"
			echo "    volumes: [\"clinic-$k-data:/data:ro\", \"clinic-$k-state:/state\"]"
			echo "  data-$k:"
			echo "    extends: {file: compose.clinic.yaml, service: data}"
			echo "    volumes: [\"clinic-$k-data:/out\"]"
		done
		echo "volumes:"
		for ((k = 1; k <= count; k++)); do printf '  clinic-%d-data:\n  clinic-%d-state:\n' "$k" "$k"; done
	} >"$generated.part"
	mv "$generated.part" "$generated"
	echo "$images" >"$source_file"
}

start_hub() { # STEP
	step "$1" "Hub: gateway on https://localhost:$EMBRYOFL_PORT"
	quietly compose up -d --wait --wait-timeout 300 server superlink gateway && return
	if grep -qE 'port is already allocated|address already in use' "$log"; then port_taken; fi
	cat "$log" >&2
	compose logs --tail 20 server superlink gateway >&2
	fail "The hub did not start; the messages above say why."
}

# Create Grafana's password once. Grafana's own user reads the file through its mount; the folder's mode keeps others out.
make_password() {
	chmod 0700 "$place"
	[ ! -e "$place/grafana-password" ] || return 0
	(umask 077 && head -c 18 /dev/urandom | base64 | tr '+/' '-_' >"$place/grafana-password")
	chmod 0444 "$place/grafana-password"
	if has_line "${project}_grafana" "$(volumes)"; then # Grafana reads the password only when it creates its database
		password_text="the password file was lost. To set the new password from that file:
          docker compose exec -T grafana grafana cli admin reset-admin-password --password-from-stdin <$place/grafana-password"
	else
		password_text="user admin, password (shown only now; kept in $place/grafana-password): $(cat "$place/grafana-password")"
	fi
}

# The coordinator's console; the federation also runs without it. The password is created inside its container, so that it is
# no argument of a process here, and by exec, whose output the engine does not log. It is shown once and kept as a hash.
start_console() {
	local password services text="runs, clinics, results. From this machine only"
	services=$(defined_services)
	has_line console "$services" || return 0
	if quietly compose up -d --wait --wait-timeout 120 --no-deps console; then
		if ! password=$(compose exec -T console embryofl-console password </dev/null); then
			text="is running without a password; the message above says why. Try: make console-password"
		elif [ -n "$password" ]; then
			say "    Console: $console, password (shown this once; for a new one: make console-password): $password"
		fi
	elif grep -qE 'port is already allocated|address already in use' "$log"; then
		text="did not start: its port is in use (by make demo?). Choose another (EMBRYOFL_CONSOLE_PORT) and run make up again."
	else
		text="did not start: $(tail -n 1 "$log")"
	fi
	watched="Console   $console   $text${watched:+$'\n'}$watched"
}

new_password() {
	local password
	password=$(compose exec -T console embryofl-console password --new </dev/null) ||
		fail "No new password was created; the message above says why. See the console's log: make logs"
	say "Console: $console, new password (shown this once; everyone was logged out): $password"
}

# Prometheus and Grafana. The federation does not need them: if one does not start, that is reported and the run continues.
start_monitoring() {
	local services parts=() part text
	services=$(defined_services)
	for part in prometheus grafana; do
		if has_line "$part" "$services"; then parts+=("$part"); fi
	done
	[ "${#parts[@]}" != 0 ] || return 0
	say "    Monitoring: ${parts[*]} (downloaded the first time)"
	for part in "${parts[@]}"; do
		[ "$part" != grafana ] || make_password
		if quietly compose up -d --wait --wait-timeout 120 --no-deps "$part"; then
			case $part in
				prometheus) text="Metrics   http://localhost:${EMBRYOFL_PROMETHEUS_PORT:-9090}   Prometheus; /alerts lists the alerts. From this machine only" ;;
				grafana) text="Grafana   http://localhost:${EMBRYOFL_GRAFANA_PORT:-3000}   $password_text" ;;
			esac
		elif grep -qE 'port is already allocated|address already in use' "$log"; then
			text="$part did not start: its port is in use. Choose another (EMBRYOFL_PROMETHEUS_PORT, EMBRYOFL_GRAFANA_PORT) and run make up again."
		else
			text="$part did not start: $(tail -n 1 "$log")"
		fi
		watched="$watched${watched:+$'\n'}$text"
	done
}

# The tunnel. If it does not open, that is reported and the federation continues on the local network.
start_tunnel() {
	[ -n "$NGROK" ] || return 0
	say "    Tunnel: ngrok"
	if quietly compose up -d --wait --wait-timeout 45 --no-deps tunnel; then
		watched="$(compose exec -T tunnel embryofl-tunnel status </dev/null)${watched:+$'\n'}$watched"
	else
		watched="$(compose exec -T tunnel embryofl-tunnel status 2>&1 </dev/null || true)${watched:+$'\n'}$watched"
	fi
}

fill_data() {
	step 3/5 "Data of $count clinics ($images)"
	local k volume made tty=-T command
	if [ -t 0 ] && [ -t 1 ]; then tty=; fi
	for ((k = 1; k <= count; k++)); do
		volume=${project}_clinic-$k-data
		made=$(docker volume inspect -f '{{.CreatedAt}}' "$volume" 2>/dev/null || true)
		if [ -n "$made" ] && grep -qxF "$volume $made" "$filled" 2>/dev/null; then continue; fi
		command=(--only "$k" --clinics "$count")
		if [ "${images%% *}" = folder ]; then
			compose --progress quiet run --rm --no-deps $tty -u "$(data_user)" -v "${images#folder }:/source:ro" "data-$k" \
				divide /source /out "${command[@]}"
		else
			compose --progress quiet run --rm --no-deps $tty "data-$k" \
				generate /out "${command[@]}" --images "${images#synthetic }"
		fi || {
			[ $? != 130 ] || interrupted # on a terminal Ctrl-C goes to the job
			fail "The data of clinic-$k could not be prepared; the message above says why (/out is its volume)."
		}
		echo "$volume $(docker volume inspect -f '{{.CreatedAt}}' "$volume")" >>"$filled"
	done
}

enrolled() { hub clinics | sed -n 's/^\([a-z0-9-]*\)  .*/\1/p'; }

join_clinics() {
	step 4/5 "Clinics join with their own keys"
	local k members have word services=()
	members=$(enrolled)
	have=$(volumes)
	for ((k = 1; k <= count; k++)); do
		services+=("clinic-$k")
		if has_line "clinic-$k" "$members"; then
			has_line "${project}_clinic-$k-state" "$have" ||
				fail "clinic-$k is enrolled, but the volume with its key is gone. Start over with: make clean"
			continue
		fi
		word=$(hub invite --code "clinic-$k")
		# through standard input into the clinic's volume, never in an image, an environment or a command line
		printf '%s' "$word" | compose --progress quiet run --rm --no-deps -T --entrypoint sh "clinic-$k" \
			-c 'umask 077 && cat >/state/invite.part && mv /state/invite.part /state/invite'
	done
	quietly compose up -d --no-deps "${services[@]}" || {
		cat "$log" >&2
		fail "The clinics could not be started; the message above says why."
	}
	wait_enrolled
}

wait_enrolled() {
	local k missing reported=$members end=$((SECONDS + 900))
	while :; do
		missing=
		members=$(enrolled)
		for ((k = 1; k <= count; k++)); do
			if ! has_line "clinic-$k" "$members"; then
				missing="$missing clinic-$k"
				check_clinic "clinic-$k"
			elif ! has_line "clinic-$k" "$reported"; then
				say "    clinic-$k has joined"
			fi
		done
		reported=$members
		[ -n "$missing" ] || return 0
		[ "$SECONDS" -lt "$end" ] ||
			fail "These clinics have not joined after 15 minutes:$missing. Their logs say why: make logs"
		sleep 1
	done
}

# A clinic that ends before it has joined is not restarted; its log is shown.
check_clinic() {
	local id state
	id=$(compose ps -aq "$1")
	state=$(docker inspect -f '{{.RestartCount}} {{.State.Status}}' "$id")
	case $state in "0 running" | "0 created") return ;; esac
	for _ in {1..100}; do # its log is complete when it has ended again
		[ "$(docker inspect -f '{{.State.Status}}' "$id")" = running ] || break
		sleep 0.2
	done
	docker logs --since "$(docker inspect -f '{{.State.StartedAt}}' "$id")" "$id" >&2
	compose rm --stop --force "$1" >/dev/null 2>&1
	if [ "$folders" != 0 ]; then # its data volume is a faulty copy; the next make up copies its folder again
		docker volume rm "${project}_$1-data" >/dev/null
	elif [ "${images%% *}" = folder ]; then # the folder must be divided again, for all clinics
		fail "$1 does not start; its log above says why. Correct the images, then run make clean and make up."
	fi
	fail "$1 does not start; its log above says why. The others are running. Fix the cause and run make up again, or stop them with make down."
}

start_run() {
	local name state part options=()
	read -r name state _ <<<"$(hub runs | tail -n 1)"
	case ${state:-none} in
		none | Finished | Stopped | Failed | yet*) ;;
		Paused)
			step 5/5 "$name is paused; resume it with: make hub DO=resume"
			return
			;;
		*)
			[ "$name" = No ] || {
				step 5/5 "$name has not ended and continues${SET:+ (with the settings it was started with, not SET=$SET)}"
				return
			}
			;;
	esac
	IFS=, read -ra part <<<"${SET:-}"
	for name in ${part[@]+"${part[@]}"}; do options+=(--set "$name"); done
	step 5/5 "$(hub start ${options[@]+"${options[@]}"})"
}

up() {
	need_docker
	mkdir -p "$place"
	read_options
	check_port
	build_images 1/5 server gateway console clinic datagen ${NGROK:+tunnel}
	count_clinics
	write_clinics
	start_hub 2/5
	start_console
	start_tunnel
	fill_data
	join_clinics
	start_monitoring
	start_run
	sleep 2
	say
	hub_show status
	say
	say "Gateway   https://localhost:$EMBRYOFL_PORT   clinics connect here; the only port open to other machines"
	[ -z "$watched" ] || say "$watched"
	say "Follow    make watch     once: make status     logs: make logs"
	say "Model     docker compose cp server:/hub/runs/$(hub runs | tail -n 1 | cut -d ' ' -f 1) .     when the run is finished"
	say "Stop      make down      keeps everything; the next make up continues from there"
}

# The archive is written to standard output, so the host decides where it is stored. Only its owner may read it.
backup() {
	local run=(compose exec -T)
	umask 077
	is_up || run=(compose --progress quiet run --rm --no-deps -T)
	if [ "${run[1]}" = exec ]; then run+=(server embryofl-server); else run+=(server); fi
	"${run[@]}" backup - </dev/null >"$FILE.part" || {
		rm -f "$FILE.part"
		fail "No backup was made; the message above says why."
	}
	mv "$FILE.part" "$FILE"
	say "Written to $FILE."
}

restore() {
	mkdir -p "$place"
	read_options
	check_port
	local k clinics=()
	build_images 1/3 server gateway console
	step 2/3 "State of $FILE"
	if is_up; then fail "A hub is running here (project $project). A backup can only be restored where no hub runs: make down, and" \
		"make clean to delete its state."; fi
	compose --progress quiet run --rm --no-deps -T server restore - <"$FILE" ||
		fail "Nothing was restored; the message above says why."
	start_hub 3/3
	start_console
	if [ "$existing" != 0 ]; then # local clinics have their own keys and data, which a backup does not contain
		[ -e "$generated" ] || { count=$existing && write_clinics; }
		for ((k = 1; k <= existing; k++)); do clinics+=("clinic-$k"); done
		quietly compose up -d --no-deps "${clinics[@]}" || cat "$log" >&2
	fi
	start_monitoring
	say
	hub_show status
	[ -z "$watched" ] || say $'\n'"$watched"
}

# Which parts do not run, since when, and what brings them back; nothing when all of them run.
list_parts() {
	local service state since seen='' down='' services running=0
	services=$(defined_services)
	while IFS=$'\t' read -r service state since; do
		seen="$seen"$'\n'"$service"
		if [ "$state" = running ] && [[ $since != *unhealthy* ]]; then
			running=$((running + 1))
		else
			down="$down"$'\n'"  $service: $since"
		fi
	done < <(compose ps -a --format '{{.Service}}\t{{.State}}\t{{.Status}}')
	for service in $services; do
		has_line "$service" "$seen" || down="$down"$'\n'"  $service: not started"
	done
	[ -z "$down" ] || say "$running parts of the federation are running. These are not:$down"$'\n'"Start them with: make up   Their logs: make logs"
}

need_hub() { is_up || fail "The hub is not running. See what is: make status"; }

not_up() { say "The federation in containers is not running. Start it with: make up"; }

case ${1:-} in
	up)
		bash scripts/options.sh
		trap interrupted INT TERM
		up
		;;
	status)
		need_docker
		if [ -z "$(compose ps -aq)" ]; then
			not_up
			exit
		fi
		if is_up; then hub_show status; fi
		list_parts
		;;
	watch)
		need_docker
		need_hub
		hub_show status --follow
		;;
	hub)
		need_docker
		need_hub
		eval "set -- ${DO:---help}" # words and quotes as in a shell
		hub_show "$@"
		;;
	password)
		need_docker
		need_hub
		new_password
		;;
	backup)
		need_docker
		backup
		;;
	restore)
		bash scripts/options.sh
		trap interrupted INT TERM
		need_docker
		restore
		;;
	logs)
		need_docker
		compose logs --tail "${TAIL:-15}" ${FOLLOW:+--follow}
		;;
	down)
		need_docker
		if [ -z "$(compose ps -aq)" ]; then
			not_up
			exit
		fi
		compose --progress quiet down --timeout 4 --remove-orphans
		say "Stopped; keys, models and data are kept. The next make up continues from there."
		;;
	clean)
		need_docker
		if [ -z "${YES:-}" ]; then
			read -r -p "Delete the federation in containers with its models, keys and data (project $project)? [y/N] " answer || true
			case ${answer:-} in [yY]*) ;; *) say "Nothing was deleted." && exit 1 ;; esac
		fi
		compose --progress quiet down --timeout 4 --remove-orphans --volumes
		left=$(volumes)
		[ -z "$left" ] || xargs docker volume rm <<<"$left" >/dev/null
		rm -f "$generated" "$source_file" "$filled" "$log" "$place/gpu" "$place/ngrok" "$place/grafana-password"
		rmdir "$place" 2>/dev/null || true
		say "Deleted. The Docker images are kept; to remove them: docker image rm embryofl-server embryofl-clinic embryofl-datagen embryofl-console embryofl-gateway (and embryofl-tunnel)"
		;;
	*) fail "compose.sh up|status|watch|hub|password|backup|restore|logs|down|clean" ;;
esac
