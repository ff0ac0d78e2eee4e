"""Gardner grades of two clinics are learned with the label; a third clinic without grades takes part, too."""

import json


def test_clinic_without_grades_takes_part_in_a_run_that_learns_them(federation):
    folder = federation.run(rounds=3, local_epochs=2, grades=0.5)
    assert sorted(federation.records(folder.name)[3]["clinics"]) == ["clinic-1", "clinic-2", "clinic-3"]
    grades = json.loads((folder / "results.json").read_text())["grades"]["test"]
    assert set(grades) == {"clinic-1", "clinic-2", "pooled"}  # clinic-3 has no grades
    assert set(grades["pooled"]) == {"expansion", "icm"}  # no trophectoderm grades
    assert grades["pooled"]["icm"]["embryos"] == sum(grades[n]["icm"]["embryos"] for n in ("clinic-1", "clinic-2"))
    assert 0 <= grades["pooled"]["expansion"]["exact"] <= 1 and grades["pooled"]["expansion"]["distance"] < 3
