#!/usr/bin/env bash
# up.sh [TIMES]: `make up` and `make down`, 30 times by default, for a federation of its own. Prints a line each time: exit code,
# seconds, the services that run, and the parts that the closing lines name, with the reason where one did not start.
set -euo pipefail
cd "$(dirname "$0")/.."
export COMPOSE_PROJECT_NAME=embryofl-up EMBRYOFL_CONSOLE_PORT=27860 EMBRYOFL_GRAFANA_PORT=23000
EMBRYOFL_COMPOSE_DIR=$(mktemp -d)
export EMBRYOFL_COMPOSE_DIR
trap 'YES=1 bash scripts/compose.sh clean >/dev/null' EXIT
for ((time = 1; time <= ${1:-30}; time++)); do
	began=$SECONDS code=0
	words=$(make up CLINICS=3 IMAGES=60 PORT=28443 SET=model=small_cnn,image_size=48,rounds=1,local_epochs=1 2>&1) || code=$?
	seconds=$((SECONDS - began))
	running=$(docker ps --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" --format '{{.Label "com.docker.compose.service"}}')
	named=$(grep -oE '^(Gateway|Console|Metrics|Grafana)|did not start.*' <<<"$words" || true)
	echo "$time: code $code, $seconds s; running: $(sort <<<"$running" | paste -sd ' ' -); named: $(paste -sd ' ' - <<<"$named")"
	[ "$code" = 0 ] || echo "$words"
	make down >/dev/null
done
