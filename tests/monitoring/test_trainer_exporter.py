"""A clinic's own metrics: progress, speed, connection; and those that its replies carry to the hub."""

import dataclasses
import urllib.request

import numpy as np
import pytest

from embryofl_clinic import exporter
from embryofl_clinic.exporter import METRICS, TrainerMetrics, make_registry, memory
from embryofl_clinic.settings import ClinicSettings
from kits.ports import free_port
from kits.process_metrics import PROCESS


@dataclasses.dataclass(frozen=True)
class Examples:
    pixels: np.ndarray


def value(metrics, name, **labels):
    return make_registry(metrics).get_sample_value(f"embryofl_trainer_{name}", {"clinic": "anna", **labels})


@pytest.fixture
def metrics(tmp_path):
    return TrainerMetrics("anna", tmp_path / "alive")


def test_progress_through_epochs_and_images(metrics):
    metrics.begin_training(examples=50, batch_size=16, epochs=2)  # 4 batches an epoch, the last one of 2 images
    seen = []
    for done in range(1, 9):
        metrics.progress(done, 8, 0.7 - done / 100)
        seen.append((value(metrics, "epoch"), value(metrics, "images_total")))
    assert seen == [(1, 16), (1, 32), (1, 48), (1, 50), (2, 66), (2, 82), (2, 98), (2, 100)]
    assert value(metrics, "batch") == value(metrics, "batches") == 8
    assert value(metrics, "train_loss") == pytest.approx(0.62)
    metrics.begin_training(examples=50, batch_size=16, epochs=1)
    metrics.progress(1, 4, 0.5)
    assert value(metrics, "images_total") == 116 and value(metrics, "epoch") == 1


def test_time_for_reading_images_is_measured_and_pixels_are_unchanged(metrics):
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3)
    timed = metrics.timed(Examples(pixels))
    assert np.array_equal(timed.pixels[np.array([1, 0])], pixels[[1, 0]])
    first = metrics.take_loading()
    assert first > 0 and metrics.take_loading() == 0
    assert value(metrics, "loading_seconds_total") == first


def test_first_connection_is_not_a_reconnect(metrics):
    for up in (False, True, True, False, False, True):
        metrics.connection(up)
    assert value(metrics, "reconnects_total") == metrics.reconnects == 1
    assert value(metrics, "connected") == 1


def test_phases_and_replies_are_counted(metrics):
    metrics.phase("train")
    assert value(metrics, "phase", phase="train") == 1 and value(metrics, "phase", phase="idle") == 0
    metrics.answered("trained")
    assert value(metrics, "phase", phase="idle") == 1 and value(metrics, "answers_total", result="trained") == 1
    assert value(metrics, "phase_seconds_total", phase="train") > 0


def test_trainer_exports_all_of_its_table_and_nothing_else(metrics):
    metrics.progress(1, 2, 0.5)
    exported = {s.name for family in make_registry(metrics).collect() for s in family.samples}
    assert {n for n in exported if n.startswith("embryofl_")} == set(METRICS)
    assert exported - set(METRICS) <= set(PROCESS)


def test_clinic_is_the_only_name_in_a_label():
    assert all(labels[0] == "clinic" for _, *labels in METRICS.values())
    assert {label for _, *labels in METRICS.values() for label in labels} == {
        "clinic",
        "version",
        "protocol",
        "device",
        "result",
        "phase",
        "direction",
    }


def test_memory_is_that_of_the_process_without_a_gpu():
    assert memory("cpu") > 1_000_000


def test_metrics_are_served_on_the_set_port(tmp_path, metrics):
    port = free_port()
    exporter.start(ClinicSettings(state_dir=tmp_path, metrics_port=port), metrics)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:
        assert b'embryofl_trainer_connected{clinic="anna"}' in response.read()


def test_metrics_are_off_by_default():
    assert ClinicSettings().metrics_port == 0 and ClinicSettings().metrics_host == "127.0.0.1"
