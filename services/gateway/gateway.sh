#!/usr/bin/env bash
# gateway.sh CADDYFILE: Caddy, which reads its certificate again when the hub has renewed it. Connections go on.
set -euo pipefail
watched=("$EMBRYOFL_GATEWAY_DIR"/{gateway.crt,gateway.key,ca.crt})
seen=$(cat "${watched[@]}" | cksum)

watch_files() { # PID of Caddy
	local now
	while sleep 0.5 && kill -0 "$1" 2>/dev/null; do
		now=$(cat "${watched[@]}" 2>/dev/null | cksum)
		if [ "$now" != "$seen" ]; then
			seen=$now
			kill -USR1 "$1" # half-written, it says so in its log, keeps what it has, and is told again
		fi
	done
}

watch_files $$ &
exec caddy run --config "$1" --adapter caddyfile
