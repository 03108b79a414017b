"""The page's pure modules in Node: pixels as Pillow's, physics as Gymnasium's, hashes, quantiles, answers."""

import base64
import hashlib
import json
import random
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from edge_runtime.measure import quantile
from edge_runtime.postprocess import Prediction
from edge_runtime.preprocess import to_pixels
from edge_runtime.spec import ImageSpec, Label
from mobile_demo.phone_site import PAGE

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="Node.js is not installed")


def node(module, code, given):
    """What JavaScript makes of `given`; `code` is an expression over it and the module's names."""
    script = f"""
        const page = await import({json.dumps((Path(PAGE) / module).as_uri())});
        const given = JSON.parse(await new Promise((go) => {{
          let text = ""; process.stdin.on("data", (part) => text += part).on("end", () => go(text)); }}));
        const bytes = (text) => new Uint8Array(Buffer.from(text, "base64"));
        const made = await ({code});
        console.log(JSON.stringify(made));
    """
    command = [NODE, "--input-type=module", "-e", script]
    ran = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def base64_of(data):
    return base64.b64encode(data).decode()


def test_resized_pixels_are_pillows_to_the_last_bit_for_any_size_and_filter():
    draw = random.Random(0)
    sizes = [(224, 224), (256, 256), (1, 1), (1, 300), (300, 1), (2, 2), (640, 480), (3000, 20)]
    sizes += [(draw.randint(1, 400), draw.randint(1, 400)) for _ in range(60)]
    cases, wanted = [], []
    for number, (width, height) in enumerate(sizes):
        resize = draw.choice([1, 7, 16, 64, 224, 256])
        spec = ImageSpec(
            resize, draw.randint(max(1, resize - 32), resize), ("bilinear", "bicubic", "lanczos")[number % 3]
        )
        picture = Image.frombytes("RGB", (width, height), draw.randbytes(3 * width * height))
        rgba = base64_of(picture.convert("RGBA").tobytes())
        image = {"resize": spec.resize, "crop": spec.crop, "filter": spec.filter}
        cases.append({"width": width, "height": height, "rgba": rgba, "image": image})
        wanted.append(hashlib.sha256(to_pixels(picture, spec)).hexdigest())
    code = """(async () => {
        const {createHash} = await import("node:crypto");
        return given.map(({width, height, rgba, image}) => {
          const data = new Uint8ClampedArray(bytes(rgba));
          const rows = (first, count) => data.slice(4 * width * first, 4 * width * (first + count));
          return createHash("sha256").update(page.toPixels({width, height, rows}, image)).digest("hex");
        });
    })()"""
    assert node("resize.js", code, cases) == wanted


def test_a_pole_falls_and_stands_as_in_gymnasium():
    gymnasium = pytest.importorskip("gymnasium", reason="gymnasium is not installed (extra train)")
    env = gymnasium.make("CartPole-v1").unwrapped
    env.reset(seed=7)
    start = [0.03, -0.02, 0.04, 0.01]
    env.state = tuple(start)
    draw = random.Random(3)
    actions = [draw.randint(0, 1) for _ in range(60)]
    states, over = [], []
    for action in actions:
        _, _, terminated, _, _ = env.step(action)
        states.append([float(value) for value in env.state])
        over.append(bool(terminated))
        if terminated:
            break
    assert over[-1]
    code = """given.actions.reduce((made, action) => {
        const state = page.step(made.length ? made[made.length - 1].state : given.start, action);
        return [...made, {state, over: page.fell(state)}];
    }, [])"""
    found = node("cartpole.js", code, {"start": start, "actions": actions[: len(states)]})
    assert [one["over"] for one in found] == over
    for mine, theirs in zip(found, states, strict=True):
        assert mine["state"] == pytest.approx(theirs, abs=1e-12)


def test_hashes_without_the_browsers_own_are_right_at_every_length():
    data = [
        random.Random(number).randbytes(number) for number in (0, 1, 55, 56, 57, 63, 64, 65, 119, 120, 1000, 70_001)
    ]
    code = 'given.map((text) => Buffer.from(page.ownSha256(bytes(text))).toString("hex"))'
    assert node("sha256.js", code, [base64_of(one) for one in data]) == [
        hashlib.sha256(one).hexdigest() for one in data
    ]


def test_quantiles_are_the_ranks_of_the_common_schema():
    samples = [[draw.randint(1, 10**9) for _ in range(n)] for n in range(1, 130) for draw in [random.Random(n)]]
    found = node("speed.js", "given.map((one) => [0.5, 0.55, 0.9].map((q) => page.quantile(one, q)))", samples)
    assert found == [[quantile(one, q) for q in (0.5, 0.55, 0.9)] for one in samples]


@pytest.mark.parametrize(
    ("task", "values", "unsure_below"),
    [
        ("multiclass", (0.2, 0.7, 0.1), None),
        ("multiclass", (0.4, 0.35, 0.25), 0.5),
        ("binary", (0.5,), None),
        ("binary", (0.2,), 0.9),
        ("multilabel", (0.6, 0.1, 0.55), None),
        ("policy", (-1.0, -2.0, -0.5), None),
    ],
)
def test_answers_are_the_runtimes(task, values, unsure_below):
    labels = [
        Label(str(number), f"label {number}", f"etiket {number}") for number in range(2 if task == "binary" else 3)
    ]
    theirs = Prediction(task, tuple(labels), values, unsure_below=unsure_below)
    plain = [{"id": one.id, "en": one.en, "tr": one.tr} for one in labels]
    given = {"spec": {"task": task, "labels": plain, "unsure_below": unsure_below}, "values": values}
    mine = node("answer.js", "page.answerOf(given.spec, given.values)", given)
    assert mine["best"]["id"] == theirs.label
    assert mine["probability"] == theirs.probability
    assert [(one["label"]["id"], one["value"]) for one in mine["top"]] == theirs.top(3)
    assert mine["unsure"] == theirs.unsure
    if task == "multilabel":
        assert [one["id"] for one in mine["yes"]] == theirs.labels_at(0.5)


def test_the_page_starts_with_int8_unless_its_verdict_failed():
    def chosen(answer):
        artifacts = [
            {"id": "onnx-fp32", "precision": "fp32", "verdict": None},
            {"id": "onnx-int8", "precision": "int8", "verdict": {"accuracy": {"answer": answer}}},
        ]
        return node("bundle.js", "page.firstChoice(given)", {"artifacts": artifacts})["id"]

    assert [chosen(answer) for answer in ("pass", "inconclusive", "fail")] == ["onnx-int8", "onnx-int8", "onnx-fp32"]
