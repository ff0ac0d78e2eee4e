"""`make up` in real containers. The tests go through one federation's life, in this order."""

import http.client
import itertools
import json
import re
import socket
import subprocess
import sys
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from embryofl import states
from kits.containers import PROJECT, ROOT, run, trained, until

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1500)]  # the first one builds the images

CLINICS = ["clinic-1", "clinic-2", "clinic-3"]
PARTS = ["signer", "server", "superlink", "gateway", "console", "prometheus", "grafana"]
USERS = {"prometheus": "65534:65534", "grafana": "472:0", "signer": "10002:10001"}  # the first two: the images' own


def test_run_finishes_with_all_clinics_in_every_round(federation):
    info = federation.first_run
    rounds = info["settings"]["rounds"]
    assert info["round"] == rounds > 1
    assert info["updates"].startswith("The hub sees only sums of at least 3 clinics' updates")  # masks are on
    assert [trained(info, r) for r in range(1, rounds + 1)] == [set(CLINICS)] * rounds
    assert federation.inside("server", "ls", f"/hub/runs/{info['name']}").split().count("model.safetensors") == 1


def test_up_prints_where_to_look_and_no_invite(federation):
    words = federation.first_words
    assert f"https://localhost:{federation.port}" in words
    assert all(command in words for command in ("make watch", "make status", "make logs", "make down"))
    assert all(name in words for name in CLINICS)
    assert "embryofl1." not in words  # no invite is printed


def test_status_shows_run_and_clinics(federation):
    words = federation.make("status")
    newest = federation.status()["run"]
    assert newest["name"] in words and states.RUN[newest["state"]] in words and all(name in words for name in CLINICS)
    assert newest["updates"] in " ".join(words.split())  # whether there are masks


def test_every_service_becomes_healthy(federation):
    def healthy():
        states = {name: c["State"]["Health"]["Status"] for name, c in federation.containers().items()}
        return set(states) == {*CLINICS, *PARTS} and set(states.values()) == {"healthy"}

    until("all are healthy", healthy, 60)


def test_status_names_the_part_that_does_not_run_and_since_when(federation):
    assert "not running" not in federation.make("status")
    run("docker", "stop", federation.container("prometheus"))
    try:
        words = federation.make("status")
    finally:
        run("docker", "start", federation.container("prometheus"))
    assert re.search(r"^These parts .* are not running:\n  prometheus: Exited \(\d+\) .* ago\n.*make up", words, re.M)
    assert "clinic-1" in words  # the hub's own status comes first


def test_containers_are_locked_down(federation):
    for name, container in federation.containers().items():
        host = container["HostConfig"]
        assert container["Config"]["User"] == USERS.get(name, "10001:10001"), name
        assert host["ReadonlyRootfs"] and not host["Privileged"] and host["Init"], name
        assert host["CapDrop"] == ["ALL"] and not host["CapAdd"], name
        assert host["SecurityOpt"] == ["no-new-privileges:true"], name
        assert host["Memory"] > 0 and host["RestartPolicy"]["Name"] == "unless-stopped", name
        # the kernel's view of the first process, and of a process that tries to write outside its volumes
        capabilities = re.findall(r"^Cap\w+:\s+(\w+)$", federation.inside(name, "cat", "/proc/1/status"), re.M)
        assert capabilities and set(capabilities) == {"0" * 16}, name
        assert "Read-only file system" in federation.inside(name, "sh", "-c", "touch /etc/x", ok=False), name


def test_clinics_images_are_mounted_for_it_alone_and_read_only(federation):
    holders = {}
    for container in json.loads(run("docker", "inspect", *run("docker", "ps", "-aq").split())):
        for mount in container["Mounts"]:
            if mount.get("Name", "").startswith(f"{PROJECT}_clinic-"):
                holders.setdefault(mount["Name"], []).append((container["Name"], mount["Destination"], mount["RW"]))
    assert holders == {
        f"{PROJECT}_{name}-{kind}": [(f"/{PROJECT}-{name}-1", f"/{kind}", kind == "state")]
        for name in CLINICS
        for kind in ("data", "state")
    }
    assert "Read-only file system" in federation.inside("clinic-1", "sh", "-c", "touch /data/x", ok=False)


def secrets_of_the_parts(federation) -> list[str]:
    """Secrets that no other part may have: the hub's in hexadecimal, and the lines of private keys."""
    code = "import pathlib, sys; print(*[pathlib.Path(p).read_bytes().hex() for p in sys.argv[1:]])"
    paths = [f"/hub/identity/{name}" for name in ("control.token", "url.key", "superlink/superexec.secret")]
    secrets = federation.inside("server", "python", "-c", code, *paths).split()
    for service, path in (("signer", "/signer/ca.key"), ("clinic-1", "/state/identity/clinic.key")):
        secrets += [x for x in federation.inside(service, "cat", path).splitlines() if "-----" not in x]
    return secrets


def test_secrets_are_only_with_their_owners(federation):
    everything = json.dumps(federation.containers())
    assert "embryofl1." not in everything and federation.grafana_password not in everything  # nor are there invites
    assert "invite" not in federation.inside("clinic-1", "ls", "-A", "/state").split()  # used up
    mounts = {name: {m["Destination"]: m["RW"] for m in c["Mounts"]} for name, c in federation.containers().items()}
    assert mounts["superlink"] == {"/hub/identity/superlink": False}
    assert mounts["signer"] == {"/signer": True, "/run/signer": True, "/tunnel": False}
    assert not mounts["server"]["/run/signer"] and "/signer" not in mounts["server"]
    assert {name for name, at in mounts.items() if "/run/signer" in at} == {"signer", "server"}
    assert federation.containers()["signer"]["HostConfig"]["NetworkMode"] == "none"
    assert mounts["gateway"] == {"/hub/identity/gateway": False, "/hub/weights": False}
    # nor in what Prometheus shows: its settings, its targets, every series with its labels
    secrets = secrets_of_the_parts(federation)
    match = urllib.parse.urlencode({"match[]": '{__name__=~".+"}'})
    exposed = ""
    for what in ("targets", "status/config", "status/flags", f"series?{match}"):
        with urllib.request.urlopen(federation.prometheus_request(f"/api/v1/{what}"), timeout=30) as response:
            exposed += response.read().decode()
    assert "embryofl_trainer" in exposed and "embryofl_rounds_total" in exposed and len(secrets) >= 8
    assert not [s for s in ["embryofl1.", federation.grafana_password, *secrets] if s in exposed + everything]


def test_clinic_can_reach_only_the_gateway(federation):
    inside = federation.containers()
    parts = ["superlink", "server", "prometheus", "grafana", "console"]
    hosts = list(parts)
    for part in parts:
        hosts += [n["IPAddress"] for n in inside[part]["NetworkSettings"]["Networks"].values()]
    hosts += [
        n["IPAddress"]
        for name, n in inside["gateway"]["NetworkSettings"]["Networks"].items()
        if name != f"{PROJECT}_clinics"
    ]
    assert len(hosts) == 16 and all(hosts)
    ports = (3000, 7860, 8000, 8443, 9000, 9090, 9100)
    targets = [("gateway", 8443), *itertools.product(hosts, ports), ("192.0.2.1", 443), ("1.1.1.1", 53)]
    assert federation.reached("clinic-1", targets) == [("gateway", 8443)]


def test_only_server_and_gateway_reach_the_superlink(federation):
    inside = {name: set(c["NetworkSettings"]["Networks"]) for name, c in federation.containers().items()}
    (shared,) = inside["superlink"]
    assert {name for name, networks in inside.items() if shared in networks} == {"superlink", "server", "gateway"}
    (network,) = federation.containers()["superlink"]["NetworkSettings"]["Networks"].values()
    targets = [("server", 9000), ("superlink", 8000), (network["IPAddress"], 8000)]
    assert federation.reached("console", targets) == [("server", 9000)]


def test_only_the_gateways_port_is_open_to_other_machines(federation):
    published = {
        (name, port): {(b["HostIp"], b["HostPort"]) for b in bound or ()}
        for name, c in federation.containers().items()
        for port, bound in c["NetworkSettings"]["Ports"].items()
        if bound
    }
    assert published == {
        ("gateway", "8443/tcp"): {("0.0.0.0", str(federation.port))},
        ("grafana", "3000/tcp"): {("127.0.0.1", str(federation.grafana_port))},
        ("console", "7860/tcp"): {("127.0.0.1", str(federation.console_port))},
    }


def test_gateway_rejects_plain_http(federation):
    connection = http.client.HTTPConnection("localhost", federation.port, timeout=10)
    connection.request("GET", "/v1/fleet/activate-node")
    assert connection.getresponse().status == 400


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/control/list-nodes"),
        ("POST", "/v1/control/start-run"),
        ("POST", "/v1/runtime/acquire-task"),
        ("GET", "/control/status"),
        ("POST", "/control/invites"),
        ("POST", "/control/runs"),
        ("GET", "/internal/authorise"),
        ("GET", "/healthz"),
        ("GET", "/docs"),
        ("GET", "/openapi.json"),
        ("GET", "/"),
        ("GET", "/v1/fleet/../control/status"),
        ("POST", "/v1/fleet/../control/list-nodes"),
        ("POST", "/v1/fleet/%2e%2e/control/list-nodes"),
        ("POST", "/v1/fleet/..%2fcontrol/list-nodes"),
    ],
)
def test_gateway_forwards_only_what_clinics_need(federation, method, path):
    assert federation.ask(path, method) == 404


def test_strangers_get_nothing(federation):
    run_name = federation.status()["run"]["name"]
    assert federation.ask(f"/v1/model/{run_name}/round-0001.safetensors") == 404
    assert federation.ask("/v1/update/anything", "PUT") == 404
    code = """
import pathlib, threading
from cryptography.hazmat.primitives.asymmetric import ec
from embryofl.clinic_keys import certificate
from embryofl_clinic.link.fleet_link import FleetLink, KeyRejected
from embryofl_clinic.joining.identity import JoinedHub
from embryofl_clinic.joining.route import Route
hub = JoinedHub.model_validate_json(pathlib.Path("/state/identity/hub.json").read_text())
key = ec.generate_private_key(ec.SECP384R1())
try:
    FleetLink(Route(hub, "", lambda: certificate(key)), key, pathlib.Path("/tmp"), threading.Event()).connect()
    print("served")
except KeyRejected as reason:
    print("refused")
"""
    assert federation.python("clinic-1", code).split()[-1] == "refused"


def test_killed_superlink_restarts_and_every_clinic_trains_again(federation):
    kill = """
import os, signal
for pid in filter(str.isdigit, os.listdir("/proc")):
    if open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1] == "1" and int(pid) != os.getpid():
        os.kill(int(pid), signal.SIGKILL)
"""
    federation.python("superlink", kill)
    until("the engine has restarted it", lambda: federation.containers()["superlink"]["RestartCount"] == 1)
    federation.start()
    assert trained(federation.finished(), 1) == set(CLINICS)


def test_adding_a_clinic_restarts_no_other_container(federation):
    before = {name: federation.containers()[name]["Id"] for name in (*CLINICS, *PARTS)}
    started = {name: federation.containers()[name]["State"]["StartedAt"] for name in before}
    federation.up(CLINICS=4)
    assert trained(federation.finished(), 1) == {*CLINICS, "clinic-4"}
    until("it is scraped", lambda: federation.query('sum(up{job="clinics"})') == [({}, 4.0)], 60)
    after = federation.containers()
    assert {name: after[name]["Id"] for name in before} == before
    assert {name: after[name]["State"]["StartedAt"] for name in before} == started


def test_up_with_fewer_clinics_removes_none(federation):
    words = federation.up(CLINICS=2)
    assert "This federation has 4 clinics and keeps them" in words
    assert str(federation.console_port) in words and "shown this once" not in words  # no password is printed twice
    federation.finished()


def test_other_images_are_rejected_before_anything_changes(federation, tmp_path):
    words = federation.up(DATA=tmp_path, ok=False)
    assert "hold other images" in words and "make clean" in words


def test_clinic_joins_with_the_command_of_the_readme(federation, tmp_path):
    data = tmp_path / "images"
    data.mkdir()
    datagen = Path(sys.executable).parent / "embryofl-datagen"
    run(str(datagen), "generate", str(data), "--only", "9", "--clinics", "9", "--images", "60")
    data.chmod(0o755)
    federation.page(
        "docs/operations.md",
        "docker run",
        {
            "/path/to/images": str(data),
            "name embryofl": f"name {PROJECT}-lisbon --network host",
            "exec -i embryofl": f"exec -i {PROJECT}-lisbon",
            "embryofl-state": f"{PROJECT}-lisbon",
        },
    )
    try:
        until("lisbon has joined", lambda: "lisbon" in federation.status()["clinics"])
        lisbon, others = f"{PROJECT}-lisbon", {*CLINICS, "clinic-4"}
        peers = ("docker", "exec", lisbon, "embryofl-clinic", "peers")
        federation.start()  # and waits: nobody at lisbon has compared keys
        until("lisbon was shown the others", lambda: {x.split()[0] for x in run(*peers).splitlines()} == others)
        assert "compare them with embryofl-clinic peers" in " ".join(federation.hub("status").split())
        for name in others:
            told = federation.inside(name, "embryofl-clinic", "status")
            run(*peers, name, re.search(r"SHA256:[\w+/]+", told).group())
        assert trained(federation.finished(), 1) == {*others, "lisbon"}
    finally:
        logs = run("docker", "logs", f"{PROJECT}-lisbon", ok=False)
        run("docker", "rm", "-f", f"{PROJECT}-lisbon")
        run("docker", "volume", "rm", f"{PROJECT}-lisbon")
        print(logs)


def test_down_and_the_next_up_keep_every_key(federation):
    key = ("sha256sum", "/state/identity/clinic.key")
    keys = [federation.inside(name, *key) for name in CLINICS]
    authority = federation.inside("server", "cat", "/hub/identity/ca.crt")
    enrolled = federation.audit("enrolled")
    federation.make("down")
    assert federation.containers() == {}
    assert "not running" in federation.make("status")

    words = federation.up({"min_clinics": 4})
    assert "Joined:" not in words and federation.grafana_password not in words
    assert trained(federation.finished(), 1) == {*CLINICS, "clinic-4"}
    assert federation.inside("server", "cat", "/hub/identity/ca.crt") == authority
    assert [federation.inside(name, *key) for name in CLINICS] == keys
    assert federation.audit("enrolled") == enrolled and len(federation.audit("invited")) == len(enrolled)


def _is_free(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_port_in_use_is_named(federation):
    federation.make("down")
    other = subprocess.Popen(
        [sys.executable, "-m", "http.server", str(federation.port), "--bind", "127.0.0.1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until("the port is taken", lambda: not _is_free(federation.port))
        words = federation.up(ok=False)
    finally:
        other.kill()
        other.wait()
    assert f"Port {federation.port} is in use" in words and f"PORT={federation.port + 1}" in words


def test_gpu_file_fits_the_compose_files(federation):
    clinics = Path(federation.environment["EMBRYOFL_COMPOSE_DIR"]) / "clinics.yaml"
    files = ["-f", "compose.yaml", "-f", "compose.gpu.yaml"]
    run("docker", "compose", *files, "config", "--quiet")
    run("docker", "compose", "--project-directory", str(ROOT), *files, "-f", str(clinics), "config", "--quiet")
