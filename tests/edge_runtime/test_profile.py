"""Where an artifact's time goes, and what a `.pte` that its backend did not take whole is told."""

import json
import logging

import numpy as np
import pytest

from edge_runtime import store
from edge_runtime.bundle import Artifact
from edge_runtime.engines import Operator, open_session
from edge_runtime.errors import EngineError
from edge_runtime.profile import Delegation, delegation_of, measured, require_delegated

RECORDED = {"operators": 9, "delegated": 8, "ops_share": 0.9, "time_share": 0.97, "outside": {"erf": 0.03}}


def opened(tiny, data=None):
    data = tiny.artifacts["xnnpack-fp32"] if data is None else data
    return open_session("executorch", data, None, tiny.spec.inputs, tiny.spec.outputs)


def entry(delegation=None, sha256=""):
    details = {} if delegation is None else {"delegation": delegation}
    return Artifact("xnnpack-fp32", "xnnpack-fp32.pte", "executorch", "fp32", sha256, 1, details)


@pytest.fixture(scope="module")
def portable(pictures):
    """The same model, exported and not lowered: every operator runs by portable kernels."""
    import torch
    from executorch.exir import to_edge

    from export.contract import example_input

    program = torch.export.export(pictures.eager, (example_input(pictures.spec),), strict=False)
    return bytes(to_edge(program).to_executorch().buffer)


def test_a_profile_lists_the_operators_in_order_with_their_backend_and_time(pictures):
    rows = opened(pictures).profile()
    assert [row.name for row in rows[:2]] == ["_to_dim_order_copy", "delegate"]
    assert {row.backend for row in rows if row.name == "delegate"} == {"xnnpack"}
    assert {row.backend for row in rows if row.name != "delegate"} == {"portable"}
    assert all(0 < row.ns < 1e9 for row in rows)


def test_a_profile_is_of_the_input_that_is_given_and_changes_no_answer(pictures):
    session, given = opened(pictures), {"pixels": pictures.inputs.numpy()[:1]}
    before = np.asarray(session.run(given)["probabilities"])
    assert len(session.profile(given, runs=1)) == len(session.profile(runs=3)) >= 2
    assert (np.asarray(session.run(given)["probabilities"]) == before).all()
    session.close()
    with pytest.raises(EngineError, match="this session was closed"):
        session.profile()


def test_a_session_that_is_not_profiled_keeps_no_rows(policy):
    session = opened(policy)
    session.run({"observation": bytes(16)})
    assert session._native.lokma_profile_row(session._handle, 0, None) == -1
    assert session.profile(runs=1) and session._native.lokma_profile_row(session._handle, 0, None) == -1


def rows_of(text):
    """`name:ns …`; x is a delegate."""
    pairs = [part.split(":") for part in text.split()]
    return [Operator(name, "xnnpack" if name == "x" else "portable", int(ns)) for name, ns in pairs]


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ("permute_copy:50 _to_dim_order_copy:20 x:100", Delegation(1, 1, 1.0, {})),
        ("permute_copy:50 x:60 erf:30 x:10 clone:9", Delegation(3, 2, 0.7, {"erf": 0.3})),
        ("x:40 permute_copy:20 x:40", Delegation(3, 2, 0.8, {"permute_copy": 0.2})),
        ("clone:5 add:20 mul:70 add:10", Delegation(3, 0, 0.0, {"mul": 0.7, "add": 0.3})),
        ("permute_copy:50", Delegation(0, 0, 1.0, {})),
        ("", Delegation(0, 0, 1.0, {})),
    ],
)
def test_casts_and_layout_changes_count_as_outside_only_between_other_operators(rows, found):
    got = delegation_of(rows_of(rows))
    assert got == Delegation(found.operators, found.delegated, pytest.approx(found.time_share), found.outside)
    assert list(got.outside) == list(found.outside)  # the largest first


def test_a_lowered_policy_is_delegated_whole(policy):
    assert measured(opened(policy)).to_dict() == {
        "operators": 1,
        "delegated": 1,
        "ops_share": 1.0,
        "time_share": 1.0,
        "outside": {},
    }


def test_a_pte_that_was_not_lowered_is_loaded_with_a_warning_and_refused_by_strict(pictures, portable, caplog):
    session = opened(pictures, portable)
    says = (
        r"xnnpack-fp32 spends 100% of its time outside XNNPACK \(\w+ \d+%, \w+ \d+%, \w+ \d+%\), where operators run "
        "many times slower: lower it whole with `lokma export`, or take another artifact"
    )
    with pytest.raises(EngineError, match=says):
        require_delegated(session, entry(), strict=True)
    assert not caplog.records
    require_delegated(session, entry())
    (record,) = caplog.records
    assert record.levelno == logging.WARNING and record.name == "edge_runtime.profile"
    assert "convolution" in record.getMessage() and "\n" not in record.getMessage()


def test_what_the_manifest_records_is_believed_and_nothing_is_measured(pictures, caplog, monkeypatch):
    session = opened(pictures)
    monkeypatch.delattr(type(session), "profile")
    require_delegated(session, entry(RECORDED), strict=True)
    with pytest.raises(EngineError, match=r"spends 6% of its time outside XNNPACK \(erf 6%\)"):
        require_delegated(session, entry({**RECORDED, "time_share": 0.94, "outside": {"erf": 0.06}}), strict=True)
    stranger = {**RECORDED, "time_share": 0.5, "outside": {"\x1b[31m\nerf": 0.5}}
    require_delegated(session, entry(stranger))
    assert caplog.records[0].getMessage().isprintable()


@pytest.mark.parametrize(
    "notes", [{"delegates": 1, "operators_outside": []}, [], 1, {**RECORDED, "time_share": "x"}, {"outside": []}]
)
def test_notes_of_an_older_bundle_are_measured_once_and_remembered_by_the_files_hash(policy, notes, monkeypatch):
    session = opened(policy)
    require_delegated(session, entry(notes, "a" * 64), strict=True)
    (kept,) = (store.home() / "delegation").iterdir()
    assert kept.name == "a" * 64 + ".json" and json.loads(kept.read_text())["time_share"] == 1.0
    kept.write_text(json.dumps({**RECORDED, "time_share": 0.5, "outside": {"erf": 0.5}}))
    with pytest.raises(EngineError, match="erf 50%"):  # remembered, so not measured
        require_delegated(session, entry(notes, "a" * 64), strict=True)
    kept.write_text("{")
    require_delegated(session, entry(notes, "a" * 64), strict=True)
    assert json.loads(kept.read_text())["time_share"] == 1.0


def test_one_interrupted_run_is_measured_again_before_it_is_said(policy, monkeypatch):
    session, asked = opened(policy), []

    def profile(inputs=None, runs=5):
        asked.append(runs)
        return rows_of("x:50 erf:50" if runs == 1 else "x:99 erf:1")

    monkeypatch.setattr(session, "profile", profile)
    require_delegated(session, entry(), strict=True)
    assert asked == [1, 5]


def test_what_was_measured_is_written_whole_or_not_at_all(policy, monkeypatch):
    from edge_runtime import writing

    session, key, seen = opened(policy), "c" * 64, []
    replace = writing.replace_file
    monkeypatch.setattr(writing, "replace_file", lambda path, data: (seen.append(path.name), replace(path, data))[1])
    require_delegated(session, entry([], key), strict=True)
    assert seen == [f"{key}.json"] and [path.name for path in (store.home() / "delegation").iterdir()] == seen


def test_a_home_that_cannot_be_written_only_costs_the_measurement(policy, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LOKMA_HOME", str(tmp_path / "file"))
    require_delegated(opened(policy), entry(sha256="b" * 64), strict=True)


def test_an_onnx_is_not_asked(policy):
    artifact = Artifact("onnx-fp32", "onnx-fp32.onnx", "onnxruntime", "fp32", "", 1, {})
    session = open_session("onnxruntime", policy.artifacts["onnx-fp32"], None, policy.spec.inputs, policy.spec.outputs)
    require_delegated(session, artifact, strict=True)
