"""A compromised hub starts a Flower run with code for the clinics and sends them all kinds of messages.

The attacker has everything that the hub has: the SuperLink's Control and Runtime APIs, the secret, the authority's key.
"""

import json
import time

import numpy as np
import pytest

from embryofl_server.federation import superlink as module
from embryofl_server.federation.fleet import Node
from embryofl_server.federation.superlink import SuperLink
from kits.federation import until


@pytest.fixture
def attack(federation, tmp_path, monkeypatch):
    """A Flower run whose bundle writes a marker file wherever it is imported or called."""
    marker = tmp_path / "executed"
    code = f"""
import pathlib
pathlib.Path({str(marker)!r}).write_text("imported")
from flwr.clientapp import ClientApp
app = ClientApp()
@app.train()
def train(message, context):
    pathlib.Path({str(marker)!r}).write_text("called")
    return message
@app.evaluate()
def evaluate(message, context):
    pathlib.Path({str(marker)!r}).write_text("called")
    return message
"""
    bundle = {**module.BUNDLE, "marker.py": code.encode(), "sitecustomize.py": code.encode()}
    monkeypatch.setattr(module, "BUNDLE", bundle)
    identity = federation.place.hub / "identity"
    link = SuperLink(
        federation.stack.settings.superlink_address,
        (identity / "internal.crt").read_bytes(),
        (identity / "superlink" / "superexec.secret").read_bytes(),
        lambda _: None,
    )
    link.open()
    yield link, marker
    link.close()


def stock_messages(node: int):
    """Messages as Flower's own strategies send them, for every kind of call a ClientApp has."""
    from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

    arrays = ArrayRecord({"w": Array(np.ones(10, np.float32))})
    for kind in ("train", "evaluate", "query", "train.custom"):
        content = RecordDict({"arrays": arrays, "config": ConfigRecord({"lr": 0.1, "server-round": 1})})
        yield Message(content, dst_node_id=node, message_type=kind, ttl=600)
    yield Message(RecordDict(), dst_node_id=node, message_type="train", ttl=600)
    yield Message(RecordDict({"m": MetricRecord({"json": 1.0})}), dst_node_id=node, message_type="train", ttl=600)
    yield Message(
        RecordDict({"m": ConfigRecord({"json": b"\x80\x04\x95"})}), dst_node_id=node, message_type="train", ttl=600
    )
    many = RecordDict({f"r{i}": ConfigRecord({"x": i}) for i in range(30)})
    yield Message(many, dst_node_id=node, message_type="train", ttl=600)


def forged_requests(federation, run: str):
    """Forged requests: not JSON, unknown fields, another clinic, foreign paths and addresses."""
    settings = json.loads((federation.folder(run) / "settings.json").read_text())
    good = {
        "kind": "train",
        "run": run,
        "round": 1,
        "clinic": "clinic-1",
        "settings": settings,
        "layout": "0" * 16,
        "model": {"url": "/v1/model/x", "size": 10, "sha256": "a" * 64},
        "upload_url": "/v1/update/x",
        "deadline": time.time() + 60,
    }
    yield "import os"
    yield "[" * 10_000
    yield json.dumps(good | {"code": "__import__('os').system('x')"})
    yield json.dumps(good | {"clinic": "clinic-2"})
    yield json.dumps(good | {"run": "../../run"})
    yield json.dumps(good | {"model": {"url": "file:///etc/passwd", "size": 1, "sha256": "a" * 64}})
    yield json.dumps(good | {"model": {"url": "/v1/../../etc/passwd", "size": 1, "sha256": "a" * 64}})
    yield json.dumps(good | {"settings": {**settings, "model": "os.system"}})
    yield json.dumps(good | {"settings": {**settings, "pretrained": "/etc/passwd"}})
    yield json.dumps(good)  # a layout that no model has


def node_of(link, name: str) -> Node | None:
    """A clinic's node, once it is online, by the name under which the hub registered it."""
    from flwr.proto.runtime_pb2 import GetNodesRequest

    nodes = link.open_grid().client.GetNodes(GetNodesRequest()).nodes
    online = [
        Node(n.name, n.node_id, True, n.last_activated_at) for n in nodes if (n.name, n.status) == (name, "online")
    ]
    return online[0] if online else None


def test_clinic_never_executes_code_from_the_hub(federation, reference, attack):
    link, marker = attack
    pids = {name: federation.pid(name) for name in ("clinic-1", "clinic-2", "clinic-3")}
    node = until("clinic-1 is online", lambda: node_of(link, "clinic-1"))
    texts = [link.send(node, text, 600, "1") for text in forged_requests(federation, reference.name)]
    for message in stock_messages(node.id):
        link.open_grid().push(message)
    last = link.send(node, "the last request", 600, "1")
    replies: dict[str, str] = {}

    def all_replied():
        for reply in link.replies([i for i in [*texts, last] if i not in replies]):
            assert not reply.lost, "the clinic had to reconnect"
            replies[reply.message_id] = reply.error or json.loads(reply.text)["refused"]
        return len(replies) == len(texts) + 1

    until("the clinic has replied to each", all_replied)  # messages arrive in order, so the clinic has read them all
    assert all(replies.values()), replies
    assert not marker.exists()
    assert {name: federation.pid(name) for name in pids} == pids  # no clinic crashed
    assert not any(target.startswith("/v1/fleet/get-") for _, target in federation.proxy.requests)
    link.close()
    assert (
        federation.run(rounds=4).joinpath("model.safetensors").read_bytes()
        == (reference / "model.safetensors").read_bytes()
    )
    assert not marker.exists()
    assert {name: federation.pid(name) for name in pids} == pids
