"""Run by `__main__.py` on the host: writes the tiny models of tests/conftest.py for the guests, which have no torch.

`NAME/` holds the fixture NAME, `bundles/` the same model lowered by every recipe, `asked/` more pictures, and
`answers.json` what this machine answers to all of them.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from export.recipes import RECIPES
from tests.conftest import lowered

INTO = Path(os.environ["LOKMA_ARM_TINY"])


@pytest.mark.parametrize("name", ["pictures", "policy"])
def test_the_tiny_bundles_are_written(name, request, tmp_path):
    tiny = request.getfixturevalue(name)
    shutil.copytree(tiny.folder, INTO / name / tiny.folder.name)
    shutil.copy(tiny.zip, INTO / name)
    np.save(INTO / name / "inputs.npy", tiny.inputs.numpy())
    np.save(INTO / name / "answers.npy", tiny.answers())
    whole = lowered(tiny.spec, tiny.eager.model, tiny.inputs, tiny.goldens, tmp_path / "whole", tuple(RECIPES))
    (INTO / "bundles").mkdir(exist_ok=True)
    shutil.copy(whole.zip, INTO / "bundles")


def test_this_machine_answers_first(draw):
    (INTO / "asked").mkdir()
    for index in range(40):
        draw(30 + 7 * index, 320 - 6 * index, index).save(INTO / "asked" / f"{index:02}.png")
    draw(2000, 1500, 40).save(INTO / "asked" / "photograph.jpg", quality=90)  # large enough for the reduced decode
    command = [sys.executable, Path(__file__).with_name("answers.py"), INTO, "1"]
    said = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    (INTO / "answers.json").write_text(json.dumps({"recipes": list(RECIPES), **said}))
