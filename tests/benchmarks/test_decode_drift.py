import pytest

from benchmarks import decode_drift, results, runtime_budget
from benchmarks.photographs import generated
from edge_runtime.errors import Missing


def answer(exact, fast):
    return {"exact": [exact, 1 - exact], "fast": [fast, 1 - fast]}


def test_changed_labels_are_counted_and_the_largest_move_is_kept(pictures, tmp_path):
    found = [answer(0.9, 0.8), answer(0.6, 0.4), answer(0.2, 0.2)]
    whole = decode_drift.record(pictures.folder, found)
    assert (whole["changed"], whole["pictures"]) == (1, 3)
    assert whole["moved"] == pytest.approx([0.1, 0.2, 0.0])
    results.append([whole], tmp_path / "a.jsonl")
    said = decode_drift.sentence(results.read(tmp_path).records)
    assert "changed the best label of 1 of 3 photographs" in said
    assert "largest move of a probability was 0.200" in said
    assert decode_drift.sentence([]) is None


def test_both_ways_of_decoding_are_asked_of_the_same_enlarged_picture(pictures, tmp_path):
    paths = [tmp_path / f"{seed}.jpg" for seed in range(2)]
    for seed, path in enumerate(paths):
        generated(64, 48, seed).save(path)
    found = decode_drift.answers(pictures.folder, paths, processes=1)
    assert len(found) == 2
    for one in found:
        assert one["exact"] == pytest.approx(one["fast"], abs=0.05)
        assert one["exact"] != one["fast"]  # reduced decoding is on: the study would prove nothing without


def test_the_study_names_the_pictures_that_it_lacks(tmp_path, monkeypatch, capsys):
    (tmp_path / "pizza_steak_sushi/test/pizza").mkdir(parents=True)
    (tmp_path / "pizza_steak_sushi/test/pizza/1.jpg").touch()
    with pytest.raises(Missing, match="LOKMA_DATA names the folder that holds food10"):
        decode_drift.test_pictures(tmp_path)
    monkeypatch.setenv("LOKMA_DATA", str(tmp_path))
    assert decode_drift.main([]) == 3
    assert "food10" in capsys.readouterr().err


def test_the_study_stands_in_results_md_only_where_it_was_run(pictures, monkeypatch):
    monkeypatch.setattr(runtime_budget, "rows", lambda records: [])
    whole = decode_drift.record(pictures.folder, [answer(0.9, 0.8)] * 4)
    assert "of 4 photographs enlarged to 12 megapixels" in runtime_budget.markdown([whole])
    assert "photographs" not in runtime_budget.markdown([])
