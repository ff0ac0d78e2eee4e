#!/usr/bin/env bash
# options.sh: ends with 2, and says why, if an option of make up, demo, compare or app (CLINICS, DATA, IMAGES, PORT, SET, APP_PORT) or
# an EMBRYOFL_ variable cannot be used. GIVEN: the names of the options that were given; OPTIONS: those that there are. Needs nothing that is
# installed or built first.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/fail.sh
variables=services/common/embryofl/environment.txt most_clinics=50
options=${OPTIONS:+${OPTIONS// /$'\n'}}

# nearest NAME NAMES: "; did you mean X?" with the name that takes at most two edits; else ".".
nearest() {
	awk -v name="$1" '
		function edits(a, b,    i, j, above, left, cost) { # Levenshtein (1966), one row at a time
			for (j = 0; j <= length(b); j++) row[j] = j
			for (i = 1; i <= length(a); i++) {
				above = row[0]; row[0] = i
				for (j = 1; j <= length(b); j++) {
					cost = above + (substr(a, i, 1) != substr(b, j, 1))
					above = row[j]; left = row[j - 1]
					if (above + 1 < cost) cost = above + 1
					if (left + 1 < cost) cost = left + 1
					row[j] = cost
				}
			}
			return row[length(b)]
		}
		{ n = edits(name, $0); if (best == "" || n < least) { best = $0; least = n } }
		END { printf("%s", best != "" && least <= 2 ? "; did you mean " best "?" : ".") }' <<<"$2"
}

known() { [[ $'\n'$2$'\n' == *$'\n'"$1"$'\n'* ]]; }

names=$(cat "$variables")
for name in $(compgen -e EMBRYOFL_); do
	known "$name" "$names" || fail S7 "There is no variable $name$(nearest "$name" "$names") All variables: docs/settings.md."
done
# shellcheck disable=SC2016 # the names stand between backticks
names=$(awk -F'|' -v column=2 '/^## Strategies/ { column = 3 } /^## Environment/ { exit } /^[|] `/ { print $column }' docs/settings.md |
	grep -oE '`[a-z_0-9]+`' | tr -d '`')
for name in ${GIVEN:-}; do
	[[ $name =~ ^(EMBRYOFL|COMPOSE|DOCKER|NGROK|TORCH|PIP)_ ]] || known "$name" "$options" || {
		setting=$(tr '[:upper:]' '[:lower:]' <<<"$name")
		! known "$setting" "$names" || fail S7 "There is no option $name; did you mean SET=$setting=...?"
		fail S7 "There is no option $name$(nearest "$name" "$options") All options: make help."
	}
done
IFS=, read -ra settings <<<"${SET:-}"
name=
for setting in ${settings[@]+"${settings[@]}"}; do
	[[ $name != clinics || ! $setting =~ ^[a-z0-9-]+$ ]] || continue # one more of them
	[[ $setting == ?*=* ]] || fail R1 "SET=$setting cannot be used. Expected name=value, such as SET=rounds=15,seed=1."
	name=${setting%%=*}
	known "$name" "$names" || fail R1 "There is no setting $name$(nearest "$name" "$names") All settings: docs/settings.md."
done
if [ -n "${CLINICS:-}" ] && { ! [[ $CLINICS =~ ^[1-9][0-9]?$ ]] || [ "$CLINICS" -gt "$most_clinics" ]; }; then
	fail S7 "CLINICS=$CLINICS cannot be used. Expected a number from 1 to $most_clinics."
fi
if [ -n "${IMAGES:-}" ] && ! [[ $IMAGES =~ ^[1-9][0-9]{0,5}$ ]]; then
	fail S7 "IMAGES=$IMAGES cannot be used. Expected the number of synthetic images per clinic, such as 250."
fi
for name in PORT APP_PORT; do
	port=${!name:-8443}
	if ! [[ $port =~ ^[1-9][0-9]{0,4}$ ]] || [ "$port" -gt 65535 ]; then
		fail S7 "$name=$port cannot be used. Expected a number from 1 to 65535."
	fi
done
if [ -n "${DATA:-}" ] && [ ! -d "$DATA" ]; then
	fail D1 "DATA=$DATA is not a folder. Expected a folder of images, or one sub-folder per clinic."
fi
