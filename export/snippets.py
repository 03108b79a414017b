"""How to run a bundle from Python, JavaScript and C++: programs written for this very bundle, for its MODEL_CARD.md.

The tests take them out of a card and run them; the C++ one on an emulated Raspberry Pi too.

>>> from edge_runtime import examples
>>> from edge_runtime.bundle import open_bundle
>>> text = snippets(open_bundle(examples.path("cartpole.zip")).manifest)
>>> [line for line in text.splitlines() if line.startswith("```") and len(line) > 3]
['```python', '```js', '```cpp', '```sh']
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from edge_runtime.spec import DTYPES

MOST_LABELS = 50  # in a program; with more of them it prints their numbers
WIDTH = 80  # of a list in a program
# spec dtype: C++'s type, ExecuTorch's and JavaScript's name of it
TYPES = {
    "uint8": ("uint8_t", "Byte", "Uint8Array"),
    "int32": ("int32_t", "Int", "Int32Array"),
    "int64": ("int64_t", "Long", "BigInt64Array"),
    "float32": ("float", "Float", "Float32Array"),
}
_PICTURE = """\
from pathlib import Path

from edge_runtime import load
from edge_runtime.preprocess import open_picture, to_pixels

predictor = load(".")  # after `lokma tune .` it takes what is fastest here
answer = predictor.predict("@picture@")
print(@shown@)

image = predictor.spec.image  # for the programs below: the pixels as the model takes them
Path("input.raw").write_bytes(to_pixels(open_picture("@picture@", image, exact=True), image))
"""
_ROW = """\
from array import array
from pathlib import Path

from edge_runtime import load

row = [@row@]
predictor = load(".")  # after `lokma tune .` it takes what is fastest here
answer = predictor.predict(row)
print(@shown@)

Path("input.raw").write_bytes(array("@code@", row))  # for the programs below
"""
_JAVASCRIPT = """\
// npm install onnxruntime-web; node run.mjs input.raw. In a page fetch() stands for readFileSync().
import { readFileSync } from "node:fs";
import { InferenceSession, Tensor } from "onnxruntime-web";

const labels = [@labels@];
const bytes = new Uint8Array(readFileSync(process.argv[2]));
const input = new Tensor("@dtype@", new @array@(bytes.buffer), [@shape@]); // @unit@
const session = await InferenceSession.create(new Uint8Array(readFileSync("@onnx@")));
const outputs = await session.run({ "@input@": input });
outputs["@output@"].data.forEach((value, i) => console.log(labels[i] ?? i, value));
"""
_CPP = """\
// ./run input.raw, or without a file on zeros
#include <executorch/extension/module/module.h>
#include <executorch/extension/tensor/tensor.h>

#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

int main(int argc, char **argv) {
  const std::vector<std::string> labels = {@labels@};
  std::vector<@type@> input(@size@); // @shape@, @unit@
  std::ifstream file(argc > 1 ? argv[1] : "/dev/zero", std::ios::binary);
  if (!file.read(reinterpret_cast<char *>(input.data()), input.size() * sizeof input[0])) {
    std::fprintf(stderr, "%s is missing or too short\\n", argv[1]);
    return 2;
  }
  executorch::extension::Module model("@pte@");
  const auto outputs =
      model.forward(executorch::extension::from_blob(input.data(), {@shape@}, executorch::aten::ScalarType::@scalar@));
  if (!outputs.ok()) {
    std::fprintf(stderr, "ExecuTorch's error 0x%x\\n", static_cast<int>(outputs.error()));
    return 1;
  }
  const auto answer = outputs->at(0).toTensor();
  for (size_t i = 0; i < static_cast<size_t>(answer.numel()); i++)
    std::printf("%s %.9g\\n", (i < labels.size() ? labels[i] : std::to_string(i)).c_str(),
                answer.const_data_ptr<float>()[i]);
}
"""
_COMPILE = """\
SDK=${SDK:-$(python3 -c 'import importlib.util as u; print(*u.find_spec("executorch").submodule_search_locations)')}
${CXX:-g++} -std=c++17 -O2 -DC10_USING_CUSTOM_GENERATED_MACROS run.cpp -o run \\
  -I$SDK/include -I$SDK/include/executorch/runtime/core/portable_type/c10 \\
  -L$SDK/lib -Wl,-rpath,$SDK/lib -Wl,--no-as-needed -lexecutorch -lexecutorch_kernels_optimized \\
  -lexecutorch_kernels_quantized -lexecutorch_backend_xnnpack -lexecutorch_threadpool
"""


def snippets(manifest: Mapping[str, Any]) -> str:
    """The section of a card, in Markdown. The programs are run inside the bundle's folder.

    Args:
        manifest: with golden cases; JavaScript takes its first `.onnx`, C++ its first `.pte`, where it has them.
    """
    spec = manifest["spec"]
    given, result = spec["inputs"][0], spec["outputs"][0]
    cpp_type, scalar, array = TYPES[given["dtype"]]
    names = output_names(spec)
    labels = [json.dumps(name, ensure_ascii=False) for name in names if len(names) <= MOST_LABELS]
    shape = [1, *given["shape"][1:]]
    words: dict[str, Any] = {
        "labels": _listed(labels),
        "input": given["name"],
        "output": result["name"],
        "unit": given["unit"],
        "shape": ", ".join(map(str, shape)),
        "size": math.prod(shape),
        "dtype": given["dtype"],
        "type": cpp_type,
        "scalar": scalar,
        "array": array,
    }
    files = {engine: [a["file"] for a in manifest["artifacts"] if a["engine"] == engine] for engine in _SECTIONS}
    parts = ["## Run it", "In this folder, with `pip install lokma`, from Python:", _block("python", _python(manifest))]
    for engine, (title, template, language) in _SECTIONS.items():
        if files[engine]:
            program = _filled(template, {**words, "onnx": files[engine][0], "pte": files[engine][0]})
            parts += [title, _block(language, program)]
    if files["executorch"]:
        parts += [
            "It compiles with the libraries and headers inside the `executorch` wheel, for this machine or (with `SDK` "
            "and `CXX` set to an unpacked aarch64 wheel and `aarch64-linux-gnu-g++`) for a Raspberry Pi:",
            _block("sh", _COMPILE),
        ]
    return "\n\n".join(parts) + "\n"


def output_names(spec: Mapping[str, Any]) -> list[str]:
    """What each number of the output row stands for: a label's id, or the output's name."""
    ids = [label["id"] for label in spec["labels"]]
    if spec["task"] == "binary":
        return ids[1:]  # one number: the second label's probability
    return ids or [spec["outputs"][0]["name"]]


_SECTIONS = {
    "onnxruntime": ("From JavaScript, as `run.mjs`:", _JAVASCRIPT, "js"),
    "executorch": ("From C++, as `run.cpp`, without Python or torch:", _CPP, "cpp"),
}


def _python(manifest: Mapping[str, Any]) -> str:
    spec, case = manifest["spec"], manifest["golden"][0]
    words = {
        "picture": case.get("file"),
        "row": _listed(list(map(repr, case.get("input", ())))),
        "code": DTYPES[spec["inputs"][0]["dtype"]][0],
        "shown": f"answer.top({min(3, len(spec['labels']))})" if spec["labels"] else "answer.value",
    }
    return _filled(_PICTURE if spec["image"] else _ROW, words)


def _listed(items: Sequence[str]) -> str:
    """With commas, on as many lines as it takes; an item is never broken."""
    lines = [""]
    for item in items:
        if len(lines[-1]) + len(item) > WIDTH:
            lines.append("")
        lines[-1] += f"{item}, "
    return "\n    ".join(line.rstrip() for line in lines).rstrip(",")


def _filled(template: str, words: Mapping[str, Any]) -> str:
    for name, value in words.items():
        template = template.replace(f"@{name}@", str(value))
    return template


def _block(language: str, program: str) -> str:
    return f"```{language}\n{program}```"
