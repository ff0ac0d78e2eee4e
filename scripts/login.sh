# shellcheck shell=bash
# login.sh: the login of Prometheus. It shows every clinic's metrics, so nobody reads them without; Grafana has the password.

make_password() { [ -e "$1" ] || (umask 0333 && head -c 18 /dev/urandom | base64 | tr '+/' '-_' >"$1"); } # FILE, unless it exists

# make_login FOLDER COMMAND...: makes FOLDER/prometheus-password and FOLDER/prometheus-web.yml, which Prometheus checks, unless they
# exist. COMMAND makes a bcrypt hash of its standard input. Containers read both through mounts; the folder's mode keeps others out.
make_login() {
	local folder=$1 password=$1/prometheus-password web=$1/prometheus-web.yml hash
	chmod 0700 "$folder"
	make_password "$password"
	[ ! -e "$web" ] || return 0
	hash=$("${@:2}" <"$password") && [[ $hash == \$2* ]] || return
	(umask 0333 && printf 'basic_auth_users:\n  embryofl: %s\n' "$hash" >"$web.part" && mv "$web.part" "$web")
}
