#!/usr/bin/env bash
# gateway.sh CADDYFILE: runs Caddy and reloads its certificate when the hub has renewed it. Connections stay open.
set -euo pipefail
watched=("$EMBRYOFL_GATEWAY_DIR"/{gateway.crt,gateway.key,ca.crt})
seen=$(cat "${watched[@]}" | cksum)

runs() { # PID: not if it has ended, even where nobody has waited for it
	kill -0 "$1" 2>/dev/null && ! grep -q '^State:.Z' "/proc/$1/status" 2>/dev/null
}

watch_files() { # PID of Caddy
	local now
	while sleep 0.5 && runs "$1"; do
		now=$(cat "${watched[@]}" 2>/dev/null | cksum)
		if [ "$now" != "$seen" ]; then
			seen=$now
			kill -USR1 "$1" # if it is half written, Caddy logs that and keeps the old one; the next change signals again
		fi
	done
}

watch_files $$ &
exec caddy run --config "$1" --adapter caddyfile
