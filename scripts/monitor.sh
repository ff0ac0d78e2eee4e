#!/usr/bin/env bash
# monitor.sh: runs the Prometheus installed on this machine, without Docker, on the federation of `make demo`, with the same
# configuration and rules as in containers. Ctrl-C stops it; its data is kept.
#   PROMETHEUS  the program (default: prometheus on PATH)   MONITOR_PORT  its port (default 9090)
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/fail.sh
. scripts/login.sh
demo=${EMBRYOFL_DEMO_DIR:-.embryofl/demo}
place=${EMBRYOFL_MONITOR_DIR:-.embryofl/monitor}
port=${MONITOR_PORT:-9090}
program=${PROMETHEUS:-prometheus}

command -v "$program" >/dev/null ||
	fail S12 "Prometheus was not found ($program). Install it (Debian, Ubuntu: sudo apt-get install prometheus; macOS: brew install" \
		"prometheus; otherwise https://prometheus.io/download), or name the program with PROMETHEUS=/path/to/prometheus."
[ -e "$demo/current" ] || fail S9 "There is no demo federation. Start one in another terminal: make demo KEEP=1"
federation=$demo/$(cat "$demo/current")
[ -e "$federation/targets/hub.json" ] ||
	fail S9 "$federation has no metrics yet. Start it in another terminal: make demo KEEP=1"

if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
	fail S3 "Port $port is in use by another program (is it another make monitor?). Choose another: make monitor MONITOR_PORT=$((port + 1))"
fi

caddy=${VENV:-.embryofl/venv}/bin/caddy # the gateway's; here it makes a hash
mkdir -p "$place"
make_login "$place" "$caddy" hash-password || fail S2 "The login of Prometheus cannot be made with $caddy. Expected what make demo installs: make setup"
place=$(cd "$place" && pwd)
hub_password=$(cd "$federation" && pwd)/hub/identity/metrics.password
rm -f "$place/prometheus.yml"
sed "s,/run/secrets/prometheus-password,$hub_password," prometheus/prometheus.yml >"$place/prometheus.yml"
ln -sfn "$PWD/prometheus/rules" "$place/rules"
ln -sfn "$(cd "$federation/targets" && pwd)" "$place/targets"
[ -e "$place/grafana-password" ] || (umask 077 && head -c 18 /dev/urandom | base64 | tr '+/' '-_' >"$place/grafana-password")

"$program" --config.file="$place/prometheus.yml" --storage.tsdb.path="$place/data" --storage.tsdb.retention.time=30d \
	--web.listen-address="127.0.0.1:$port" --web.config.file="$place/prometheus-web.yml" --web.cors.origin='^$' --log.level=error >>"$place/prometheus.log" 2>&1 &
child=$!
trap 'kill $child 2>/dev/null || true; wait $child 2>/dev/null || true' EXIT
trap 'exit 130' INT TERM
for _ in $(seq 150); do
	kill -0 $child 2>/dev/null || fail S12 "Prometheus has ended; the end of $place/prometheus.log:"$'\n'"$(tail -n 5 "$place/prometheus.log")"
	if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then break; fi
	sleep 0.2
done

plugins= # the deb and rpm packages put the data sources' plugins where Grafana does not look by default
[ ! -d /var/lib/grafana/plugins-bundled ] || plugins="GF_PATHS_BUNDLED_PLUGINS=/var/lib/grafana/plugins-bundled "

cat <<TEXT
Prometheus:  http://127.0.0.1:$port   (alerts: http://127.0.0.1:$port/alerts), watching $(basename "$federation")
             user embryofl, the password in $place/prometheus-password
Grafana 13, where it is installed (https://grafana.com/grafana/download), in another terminal:

  EMBRYOFL_PROMETHEUS_URL=http://127.0.0.1:$port EMBRYOFL_PROMETHEUS_PASSWORD_FILE=$place/prometheus-password \\
  EMBRYOFL_DASHBOARDS=$PWD/grafana/dashboards \\
  GF_PATHS_PROVISIONING=$PWD/grafana/provisioning GF_PATHS_DATA=$place/grafana \\
  GF_SECURITY_ADMIN_PASSWORD=\$(cat $place/grafana-password) GF_SERVER_HTTP_ADDR=127.0.0.1 \\
  GF_ANALYTICS_REPORTING_ENABLED=false GF_ANALYTICS_CHECK_FOR_UPDATES=false \\
  ${plugins}grafana server --homepath /usr/share/grafana

  then http://127.0.0.1:3000, user admin, the password in $place/grafana-password
Ctrl-C stops Prometheus; its data is kept in $place/data.
TEXT
wait $child
