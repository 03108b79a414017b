"""Runs in a process of its own, `python -I`: imports a user's file, calls her function, and traces the module it gives.

It sees her folder first, and none of our rooms: a `train.py` of hers is hers. For the same reason nothing of ours
is imported here. It answers on its standard output in JSON lines: `content`, a hash of all that decides the module;
then, once asked for it, `saved`; or `error`, one sentence with the line of her code. What she prints goes elsewhere.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import sys
import traceback
from pathlib import Path
from typing import Any

ROOMS = ("benchmarks", "edge_runtime", "export", "mobile_demo", "train")
MOST = 500  # characters of somebody else's message


class Wall:
    """Finds our rooms before anybody else does, and says no, unless the name is hers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:  # noqa: ARG002
        """Refuses a room of lokma."""
        if name in ROOMS and not ((self.folder / f"{name}.py").is_file() or (self.folder / name).is_dir()):
            raise ModuleNotFoundError(f"No module named {name!r} (lokma's rooms cannot be seen from here)", name=name)


def traced(model: Any, sample_shape: tuple[int, ...]) -> Any:
    """An exported program of `model` on float32 (batch, *sample_shape), with a free batch where the model lets it."""
    import torch

    generator = torch.Generator().manual_seed(0)
    example = torch.randn((2, *sample_shape), generator=generator)
    free = torch.export.export(model, (example,), dynamic_shapes=({0: torch.export.Dim.AUTO},), strict=False)
    if isinstance(input_shape(free)[0], int):  # the model has written one batch size into itself
        return torch.export.export(model, (example[:1],), strict=False)
    return free


def input_shape(program: Any) -> tuple[Any, ...]:
    """The shape of its one input, numbers where fixed.

    Raises:
        TypeError: it has another count of inputs, or one that is no float32 tensor.
    """
    import torch

    names = program.graph_signature.user_inputs
    found = [node.meta["val"] for node in program.graph.nodes if node.op == "placeholder" and node.name in names]
    if len(names) != 1 or len(found) != 1 or getattr(found[0], "dtype", None) != torch.float32:
        raise TypeError(f"it takes {len(names)} inputs; one float32 tensor is needed")
    return tuple(size if type(size) is int else "batch" for size in found[0].shape)


def weights_hash(state: dict[str, Any]) -> str:
    """One hash of names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(_bytes()).numpy().tobytes())
    return digest.hexdigest()


def explained(error: BaseException, folder: Path) -> str:
    """One sentence: what Python or torch says, and the last line of code that lies in `folder`."""
    said = " ".join(str(error).split())
    for end in ("Caused by:", "For more information", "The following call raised", "The error above"):
        said = said.split(end)[0].strip()
    if isinstance(error, SyntaxError):
        place = f" (line {error.lineno} of {Path(error.filename or '').name}: {(error.text or '').strip()})"
        return f"SyntaxError: {error.msg}{place}"
    hers = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_in(frame.filename, folder)]
    place = f" (line {hers[-1].lineno} of {Path(hers[-1].filename).name}: {hers[-1].line})" if hers else ""
    return f"{type(error).__name__}: {said[:MOST]}{place}"


def _bytes() -> Any:
    import torch

    return torch.uint8


def _is_in(file: str, folder: Path) -> bool:
    try:
        path = Path(file).resolve()
    except OSError:
        return False
    return path.is_relative_to(folder) and "site-packages" not in path.parts


def _import(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _sources(folder: Path, opened: set[str]) -> dict[str, str]:
    """The hashes of her files that were imported or read."""
    modules = {str(getattr(module, "__file__", None) or "") for module in list(sys.modules.values())}
    found = {}
    for name in sorted(modules | opened):
        path = Path(name)
        if name and path.suffix != ".pyc" and _is_in(name, folder) and path.is_file():
            found[path.resolve().relative_to(folder).as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def main() -> None:
    """Serves one module."""
    ask, answer = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    request = json.loads(ask.readline())
    path = Path(request["file"]).resolve()
    folder, stage = path.parent, ["cannot be imported"]

    def say(**words: Any) -> None:
        print(json.dumps(words), file=answer, flush=True)

    def refuse(_: Any, error: BaseException, __: Any) -> None:
        say(error=f"{path.name} {stage[0]}: {explained(error, folder)}")

    sys.excepthook = refuse
    opened: set[str] = set()
    sys.path[:] = [str(folder), *request["path"]]
    sys.meta_path.insert(0, Wall(folder))
    sys.addaudithook(lambda event, said: opened.add(str(said[0])) if event == "open" else None)
    sys.argv = [str(path)]
    os.chdir(folder)

    module, name, shape = _import(path), request["function"], tuple(request["shape"])
    stage[0] = f"has no function {name!r}"
    function = getattr(module, name)
    stage[0] = f"fails in {name}()"
    model = function()

    import torch

    if not isinstance(model, torch.nn.Module):
        stage[0] = f"gives no torch.nn.Module from {name}()"
        raise TypeError(f"it gives a {type(model).__name__}")
    model = model.cpu().eval().requires_grad_(False)
    sources = _sources(folder, opened)
    content = [weights_hash(model.state_dict()), sources, repr(model)]
    say(content=hashlib.sha256(json.dumps(content).encode()).hexdigest(), files=sorted(sources))
    if ask.readline().strip() != "trace":
        return
    stage[0] = f"gives a module that does not take float32 {(1, *shape)}"
    with torch.no_grad():
        model(torch.zeros(1, *shape))
    stage[0] = "gives a module that torch.export cannot trace"
    program = traced(model, shape)
    place = Path(request["to"]).parent.parent
    free = f"{shutil.disk_usage(place).free >> 20} MiB free"
    stage[0] = f"gives a module that cannot be saved as an exported program in {place} ({free})"
    torch.export.save(program, request["to"])
    say(saved=True)


if __name__ == "__main__":
    main()
