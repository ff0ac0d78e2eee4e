"""How the tests are distributed between the workers of pytest-xdist (`make test`)."""

import os
import signal
from pathlib import Path

import psutil
import pytest
from xdist.workermanage import WorkerController

TESTS = Path(__file__).parent
WORKER_BYTES = 2 << 30  # a worker with a federation of three clinics needs 1.7 GB
MEMORY_BYTES = 4 << 30  # all tests write less than 1 GB
SECOND_STACK = ("test_containers.py", "test_faults.py")  # take half of the time of all tests in containers
SHARED = 2  # groups of the files that use the shared federation, so that it is started twice at most
LONG = ("docs", "shared", "federation/test_reach", "federation/test_attackers", "federation", "browser")
"""Prefixes of the groups that take a minute or more, longest first."""


if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"  # PyTorch's threads of several workers would only wait for each other

# Files that are synced cost nothing in memory: where there is enough of it, the tests write there.
_memory = Path("/dev/shm")
if "TMPDIR" not in os.environ and _memory.is_dir():
    _facts = os.statvfs(_memory)
    if not _facts.f_flag & os.ST_NOEXEC and _facts.f_bavail * _facts.f_frsize > MEMORY_BYTES:
        os.environ["TMPDIR"] = os.environ["PYTEST_DEBUG_TEMPROOT"] = str(_memory)

# A shell ignores Ctrl-C for what it starts in the background, and whatever tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Three workers per two cores, if memory allows: tests of federations often wait, and more would make others time out."""
    return max(1, min(3 * (os.cpu_count() or 1) // 2, psutil.virtual_memory().available // WORKER_BYTES))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a file together, because they share fixtures, and so those that run `make` in the checkout.

    Files that use the shared federation form a few groups. Every worker begins with a long group; short ones come last,
    so that the workers end together.
    """
    items.sort(key=lambda item: item.path.name != "test_traffic.py")  # first, because it searches all traffic so far
    using = [item.path for item in items if "federation" in item.fixturenames and _folder(item) == "federation"]
    shared = list(dict.fromkeys(using))
    groups = {item: _group(item, shared) for item in items}
    for item, group in groups.items():
        item.add_marker(pytest.mark.xdist_group(group))
    order = _in_order(list(dict.fromkeys(groups.values())))
    items.sort(key=lambda item: order.index(groups[item]))  # stable: the order within a file stays


def pytest_xdist_node_collection_finished(node: WorkerController, ids: list[str]) -> None:
    """End at once if pytest-xdist distributes single tests: each worker would start every federation again."""
    apart = [i for i in ids if "@" not in i]
    if apart and node.config.option.dist == "loadgroup":
        pytest.exit(f"pytest-xdist ignores the groups of tests, as of {apart[0]}: see requirements/dev.in", 4)


def _folder(item: pytest.Item) -> str:
    return item.path.relative_to(TESTS).parts[0]


def _group(item: pytest.Item, shared: list[Path]) -> str:
    if item.get_closest_marker("containers"):  # two federations, each of which waits much of the time
        return f"containers-{item.path.name in SECOND_STACK:d}"
    if _folder(item) == "docs":  # `make` in the checkout
        return "docs"
    if item.path in shared:
        return f"shared-{shared.index(item.path) % SHARED}"
    return str(item.path.relative_to(TESTS))


def _in_order(groups: list[str]) -> list[str]:
    """xdist gives each worker two groups at once: the second is a short one, which cannot hold up a long one."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0"))
    long = list(dict.fromkeys(g for kind in LONG for g in groups if g.startswith(kind)))
    short = [g for g in groups if not g.startswith(LONG)]
    return long[:workers] + short[:workers] + long[workers:] + short[workers:]
