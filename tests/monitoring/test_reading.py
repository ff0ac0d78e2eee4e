"""Growing files are read once, and distances are estimated from sketches."""

import os

import numpy as np
import pytest

from embryofl.wire import Layout
from embryofl_server.jsonlines import JsonLines
from embryofl_server.presence import LastSeen
from embryofl_server.sketch import distance, sketch, sketch_file


def test_only_new_whole_lines_are_given(tmp_path):
    path = tmp_path / "lines"
    reader = JsonLines(path)
    assert reader.read() == (False, [])
    path.write_text('{"a": 1}\n{"a": 2}\n{"a"')
    assert reader.read() == (False, [{"a": 1}, {"a": 2}])
    with path.open("a") as file:
        file.write(": 3}\n")
    assert reader.read() == (False, [{"a": 3}])
    assert reader.read() == (False, [])


def test_a_file_rewritten_with_more_at_its_end_goes_on(tmp_path):
    path = tmp_path / "lines"
    path.write_text('{"a": 1}\n')
    reader = JsonLines(path)
    reader.read()
    other = tmp_path / "other"
    other.write_text('{"a": 1}\n{"a": 2}\n')
    os.replace(other, path)
    assert reader.read() == (False, [{"a": 2}])


@pytest.mark.parametrize("text", ['{"b": 1}\n{"b": 2}\n{"b": 3}\n', '{"a": 1}\n', ""])
def test_another_beginning_starts_anew(tmp_path, text):
    path = tmp_path / "lines"
    path.write_text('{"a": 1}\n{"a": 2}\n')
    reader = JsonLines(path)
    reader.read()
    path.write_text(text)
    anew, lines = reader.read()
    assert anew and len(lines) == text.count("\n")


def test_a_distance_is_known_to_a_few_percent(tmp_path):
    layout = Layout.of({"w": ("F32", (400, 1000)), "half": ("F16", (999,)), "count": ("I64", (3,))})
    rng = np.random.default_rng(1)
    models = []
    for scale in (1.0, 1.0, 0.1):
        packed = layout.empty()
        for view in layout.section_views(packed):
            view[:] = rng.normal(0, scale, view.size) if view.dtype.kind == "f" else 9
        models.append(packed)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        parts = [
            np.concatenate([v.astype(float) for v in layout.section_views(models[k]) if v.dtype.kind == "f"])
            for k in (i, j)
        ]
        exact = np.linalg.norm(parts[0] - parts[1])
        assert distance(sketch(models[i], layout), sketch(models[j], layout)) == pytest.approx(exact, rel=0.1)
    models[0].tofile(tmp_path / "update")
    assert distance(sketch_file(tmp_path / "update", layout), sketch(models[0], layout)) == 0


def test_times_of_being_seen_are_kept(tmp_path):
    path = tmp_path / "last_seen.json"
    at = LastSeen(path).note(["anna"])["anna"]
    assert LastSeen(path).note([]) == {"anna": at}
    path.write_text("damaged")
    assert LastSeen(path).note([]) == {}
