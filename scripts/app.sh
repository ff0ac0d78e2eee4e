#!/usr/bin/env bash
# app.sh: the app of a local test clinic, on this machine's loopback, until Ctrl-C. In containers it runs next to the
# clinic's trainer, with its state and its images (read-only). It cannot open connections: its network passes only replies.
# From the environment (`make app NAME=value`): CLINIC (default clinic-1), APP_PORT (default 8088).
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/fail.sh
clinic=${CLINIC:-clinic-1} port=${APP_PORT:-8088} project=${COMPOSE_PROJECT_NAME:-embryofl}
demo=${VENV:-.embryofl/venv}/bin/embryofl-demo
if ! [[ $port =~ ^[1-9][0-9]{0,4}$ ]] || [ "$port" -gt 65535 ]; then
	fail S7 "APP_PORT=$port cannot be used. Expected a number from 1 to 65535."
fi
if [ ! -e "${EMBRYOFL_COMPOSE_DIR:-.embryofl/compose}/clinics.yaml" ]; then
	if [ ! -x "$demo" ] || [ ! -d "${EMBRYOFL_DEMO_DIR:-.embryofl/demo}" ]; then
		fail S9 "There is no federation here yet. Start one with: make up CLINICS=3 (Docker) or make demo CLINICS=3 (without)."
	fi
	exec "$demo" app "$clinic" --port "$port"
fi
clinics=$(docker volume ls -q | sed -n "s/^${project}_\(.*\)-state\$/\1/p" | sort -V | paste -sd ' ')
grep -qwF -- "$clinic" <<<"$clinics" || fail S7 "CLINIC=$clinic is not a clinic on this machine. Expected one of: ${clinics:-none yet}."
network=${project}_desk
docker network inspect "$network" >/dev/null 2>&1 ||
	fail S9 "The federation in containers is not running. Start it with: make up"
if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
	fail S3 "Port $port is in use by another program. Choose another: make app CLINIC=$clinic APP_PORT=$((port + 1))"
fi
terminal=(-i)
if [ -t 0 ] && [ -t 1 ]; then terminal=(-it); fi
exec docker run --rm --init "${terminal[@]}" --name "$project-app-$clinic" --network "$network" -p "127.0.0.1:$port:$port" \
	--read-only --tmpfs /tmp:size=512m,mode=1777 --cap-drop ALL --security-opt no-new-privileges:true --pids-limit 512 \
	--memory "${EMBRYOFL_CLINIC_MEMORY:-2g}" -v "${project}_$clinic-state:/state" -v "${project}_$clinic-data:/data:ro" \
	embryofl-clinic app --host 0.0.0.0 --port "$port"
