"""Every input that fuzzing kept or found is answered or refused, never anything else."""

import pytest

from tests.fuzz.targets import CORPUS, TARGETS

INPUTS = [(target, path) for target in TARGETS for path in sorted((CORPUS / target).iterdir())]


@pytest.mark.parametrize(("target", "path"), INPUTS, ids=[f"{target}-{path.name}" for target, path in INPUTS])
def test_an_input_of_the_corpus_is_answered_or_refused(target, path):
    TARGETS[target](path.read_bytes())


def test_every_target_has_inputs_to_start_from():
    assert {target for target, _ in INPUTS} == set(TARGETS)


def test_a_target_fails_where_something_other_than_a_refusal_comes(monkeypatch):
    def broken(*_):
        raise RecursionError("not a refusal")

    monkeypatch.setattr("tests.fuzz.targets.open_bundle", broken)
    with pytest.raises(RecursionError):
        TARGETS["manifest"](b"{}")
