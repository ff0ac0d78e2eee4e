"""A fleet of stand-ins for clinics, for tests of the round loop."""

import asyncio
import hashlib
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from embryofl.messages import Reply, Request, UploadReceipt
from embryofl.metrics import ScoreSums
from embryofl.settings import RunSettings
from embryofl.wire import Layout
from embryofl_server.federation import exchange as module
from embryofl_server.federation.blobs import SignedUrls, Uploads
from embryofl_server.federation.checkpoint import Checkpoints
from embryofl_server.federation.fleet import FleetLost, Node, RawReply
from embryofl_server.federation.loop import RoundLoop
from embryofl_server.federation.mailboxes import Mailboxes
from embryofl_server.federation.run_context import RunContext
from embryofl_server.members.store import ClinicStore
from embryofl_server.runs.log import Runs
from embryofl_server.runs.progress import Progress

NAMES = ["anna", "bert", "cleo"]
LAYOUT = Layout.of({"w": ("F32", (3, 50)), "b": ("F32", (7,)), "half": ("F16", (5,)), "count": ("I64", ())})


class FakeFleet:
    """Clinics that reply at once. `fault(step, name, round)` is called before each step: "send", "reply" or "poll"."""

    poll_s = 0.01

    def __init__(self, uploads: Uploads, packed: Callable[..., np.ndarray], names: Iterable[str] = NAMES) -> None:
        self.uploads, self.packed = uploads, packed
        self.fault: Callable[[str, str, int], Any] = lambda *_: None
        self.names = list(names)
        self.activated = dict.fromkeys(self.names, 1)
        self.online = set(self.names)
        self.ready: dict[str, RawReply] = {}
        self.sent: list[tuple[str, int]] = []
        self.recovered = 0
        self.right: dict[int, int] = {}  # how many of ten good embryos each round's model ranks above the poor ones
        self.asked: list[tuple[str, int]] = []
        self.quiet: set[str] = set()  # clinics that release no metrics

    def key(self, name: str) -> str:
        return f"key-{name}"

    def _metrics(self, request: Request) -> dict[str, Any]:
        self.asked.append((request.kind, request.round))
        if request.clinic in self.quiet:
            return {"train_loss": None}
        if not self.right:
            return {"train_loss": 0.5}
        above = self.right[request.round - (request.kind == "train")]
        scores = [0.9] * above + [0.1] * (10 - above) + [0.5] * 10
        sums = ScoreSums.from_scores(scores, [1] * 10 + [0] * 10, [5] * 20).to_dict()
        return {"train_loss": 0.5, "validation": sums} | ({"test": sums} if request.kind == "evaluate" else {})

    def recover(self, keys: Any) -> list[str]:
        self.recovered += 1
        self.ready.clear()
        return []

    def close(self) -> None:
        pass

    def nodes(self) -> dict[str, Node]:
        return {n: Node(n, i, n in self.online, str(self.activated[n])) for i, n in enumerate(self.names)}

    def send(self, node: Node, text: str, ttl_s: float, group: str) -> str:
        request = Request.model_validate_json(text)
        if self.fault("send", node.name, request.round):
            raise FleetLost("gone")
        self.sent.append((node.name, request.round))
        message = f"m{len(self.sent)}"
        what = self.fault("reply", node.name, request.round)
        if what != "silent":
            self.ready[message] = what if isinstance(what, RawReply) else self.reply(message, request, what)
        return message

    def reply(self, message: str, request: Request, what: Any) -> RawReply:
        update = None
        if request.kind == "train":
            state = self.packed(NAMES.index(request.clinic) + 10 * request.round)
            if what == "nan":
                state[-8 * 4 :] = 255
            if what == "far":
                for view in LAYOUT.section_views(state):
                    if view.dtype == np.float32:
                        view *= 1e6
            data = state.tobytes()

            async def body() -> Any:
                yield data

            asyncio.run(self.uploads.receive(request.upload_url.split("?")[0], len(data), body()))
            update = UploadReceipt(size=len(data), sha256=hashlib.sha256(data).hexdigest())
        reply = Reply(
            protocol=request.protocol,
            kind=request.kind,
            run=request.run,
            round=request.round,
            layout=request.layout,
            examples=20,
            update=update,
            refused="not today" if what == "refuse" else "",
            **self._metrics(request),
        )
        return RawReply(message, text=reply.model_dump_json())

    def replies(self, ids: list[str]) -> list[RawReply]:
        if self.fault("poll", "", 0):
            raise FleetLost("gone")
        return [self.ready.pop(i) for i in ids if i in self.ready]


def stages(
    tmp_path: Path, packed: Any, monkeypatch: Any, make_fleet: Callable[..., FakeFleet] = FakeFleet
) -> Iterator[Any]:
    """`stage(**settings)`: a run ready to be executed with `stage.go()`."""
    monkeypatch.setattr(module, "PRESENCE_S", 0.02)
    uploads = Uploads(tmp_path / "uploads")
    store = ClinicStore(tmp_path / "clinics.db")
    fleet, runs, audit = make_fleet(uploads, packed), Runs(tmp_path / "runs"), []
    for name in fleet.names:
        store.enrol(name, store.invite(name, 1), fleet.key(name), "quality", {})
    idle: dict[str, float] = {}
    context = RunContext(
        fleet=fleet,
        store=store,
        urls=SignedUrls(b"k", lambda _: True),
        uploads=uploads,
        mailboxes=Mailboxes(uploads.arrived, used=False),
        progress=Progress(),
        audit=lambda event, **details: audit.append((event, details)),
        suspend=lambda name, reason: store.set_state(name, "suspended", reason),
        idle_at=lambda name: idle.get(name, 0.0),
    )

    def make(**settings: Any) -> SimpleNamespace:
        run = runs.create(RunSettings(**({"rounds": 3, "min_clinics": 3, "norm_clip": 0} | settings)))
        checkpoints = Checkpoints(run.folder, tmp_path / "weights" / run.name, 3)
        checkpoints.save(0, packed(99), {"clinics": {}, "refused": {}})
        run.set_state("queued", 0)

        def go() -> bytes:
            made.message = RoundLoop(context, run, checkpoints, threading.Event()).execute()
            return (run.folder / "model.safetensors").read_bytes()

        made = SimpleNamespace(
            run=run,
            context=context,
            go=go,
            fleet=fleet,
            audit=audit,
            checkpoints=checkpoints,
            uploads=uploads,
            mailboxes=context.mailboxes,
            store=store,
            progress=context.progress,
            idle=idle,
            message="",
            loop=lambda: RoundLoop(context, run, checkpoints, threading.Event()),
        )
        return made

    yield make
    store.close()


def events(run: Any) -> list[dict[str, Any]]:
    return [json.loads(x) for x in (run.folder / "events.jsonl").read_text().splitlines()]


def once(kind: str, name: str = "", round_: int = 0, what: Any = True):
    """A fault that happens once."""
    left = [what]

    def fault(k: str, n: str, r: int) -> Any:
        if k == kind and name in ("", n) and round_ in (0, r) and left:
            return left.pop()
        return None

    return fault


def always(name: str, what: Any, kinds: tuple[str, ...] = ("reply",)):
    """A fault of one clinic in every round."""
    return lambda kind, n, r: what if kind in kinds and n == name else None
