"""A module or an exported program, checked and in the one form that the recipes take: float32 in, logits out.

`torch.export.load` reads parts of a `.pt2` by pickle where the file says so, and falls back to it; such files are
refused before torch sees them. What is left is JSON and plain tensors, which torch is trusted to read.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edge_runtime.errors import BadInput, BadRequest, one_line
from edge_runtime.spec import ModelSpec
from export.asked import Asked, spec_of
from export.sources import ENGINES, Plan, Source
from export.user_child import explained, input_shape, traced, weights_hash
from train.user_data import Data

# What torch.export lets through: its own errors are RuntimeErrors, the rest is raised by the code that it runs
TRACE_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NameError,
    RuntimeError,
    TypeError,
    ValueError,
)
MAX_JSON_BYTES = 64 << 20
SAME_SHAPE = ("flatten", "view", "reshape", "squeeze", "unsqueeze", "dropout", "clone", "contiguous", "alias", "detach")
PROBABILITIES = ("softmax", "_softmax")
LOGITS = ("linear", "addmm", "mm", "matmul", "conv2d", "log_softmax", "_log_softmax")
ASK_OUTPUTS = "--outputs logits|probabilities: what the model gives; its last operator does not show it"


def as_module(program: Any) -> nn.Module:
    """An exported program as a graph module that can stand in another one; it stays in the mode it was traced in."""
    module: nn.Module = program.module(check_guards=False)  # its guards ask for a batch of 2 or more
    for name in ("train", "eval"):  # torch's own that only raise; there is no mode left to change
        vars(module).pop(name, None)
    return module


class Logits(nn.Module):
    """Turns a model of probabilities into one of logits: softmax(log(p)) is p."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return torch.log(self.model(x).clamp_min(1e-38))


def plan(typed: str, asked: Asked, data: Data | None) -> Plan:
    """The plan for a `.pt2`; its input's shape stands in it."""
    path = Path(typed)
    program = load_program(path)
    shape = _shape(program, path.name)
    spec, missing = spec_of(path.stem, asked, data, side=_side(shape, path.name, data))
    if spec is not None and shape[1:] != _wanted(spec):
        raise BadInput(f"{path} takes {shape}, and {data.name if data else 'the data'} has {_wanted(spec)} a row")
    return Plan(
        kind="exported program",
        what=typed,
        name=path.stem,
        spec=spec,
        missing=(*missing, *_asks_outputs(program, asked)),
        data=data,
        content=lambda: program_hash(program),
        load=lambda: source_of_program(program, spec, asked, typed),
    )


def plan_module(model: nn.Module, asked: Asked, data: Data | None) -> Plan:
    """The plan for a module that lives in this process: a notebook's."""
    name = type(model).__name__.lower()
    what = f"a {type(model).__name__} of this process"
    spec, missing = spec_of(name, asked, data)
    if spec is None:
        return Plan("module", what, name, None, missing, data)
    program = module_program(model, _wanted(spec), what)
    return Plan(
        kind="module",
        what=what,
        name=name,
        spec=spec,
        missing=(*missing, *_asks_outputs(program, asked)),
        data=data,
        content=lambda: program_hash(program),
        load=lambda: source_of_program(program, spec, asked, what),
    )


def module_program(model: nn.Module, shape: tuple[int, ...], what: str) -> Any:
    """Traces a module; her mode and place stay as they are.

    Raises:
        BadInput: it does not take the shape, or torch.export cannot trace it; with torch's explanation.
    """
    was = model.training
    stage = f"does not take float32 {(1, *shape)}"
    try:
        model.eval()
        with torch.no_grad():
            model(torch.zeros(1, *shape))
        stage = "cannot be traced by torch.export"
        return traced(model, shape)
    except TRACE_ERRORS as error:
        raise BadInput(one_line(f"{what} {stage}: {explained(error, Path.cwd())}")) from error
    finally:
        model.train(was)


def load_program(path: Path) -> Any:
    """Reads a `.pt2`.

    Raises:
        BadInput: it is none, or holds a pickle.
    """
    refuse_pickle(path)
    try:
        return torch.export.load(path)
    except (*TRACE_ERRORS, OSError, zipfile.BadZipFile) as error:
        raise BadInput(f"{path} cannot be read as an exported program: {one_line(str(error))[:300]}") from error


def refuse_pickle(path: Path) -> None:
    """Lets pass only archives whose weights and constants are plain tensors.

    Raises:
        BadInput: it is no archive of `torch.export.save`, or one that needs pickle.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            configs = [name for name in names if name.endswith("_config.json")]
            if not any("/models/" in name for name in names) or not any("_weights_" in name for name in configs):
                raise BadInput(f"{path} was not written by a recent torch.export.save; save the program again")
            if any(name.endswith(".pt") and "/sample_inputs/" not in name for name in names):
                raise BadInput(f"{path} holds a pickle, which can run code; save it again by torch.export.save")
            for name in configs:
                if archive.getinfo(name).file_size > MAX_JSON_BYTES:
                    raise BadInput(f"{path} has a {name} of more than {MAX_JSON_BYTES} bytes")
                for entry in json.loads(archive.read(name)).get("config", {}).values():
                    plain = str(entry["path_name"]).startswith(("weight_", "tensor_"))
                    if entry.get("use_pickle") is not False or not plain:
                        raise BadInput(f"{path} keeps {entry['path_name']!r} as a pickle, which can run code")
            for name in names:
                if "/sample_inputs/" in name:  # torch tries weights_only first, and falls back to pickle
                    with archive.open(name) as handle:
                        torch.load(handle, weights_only=True)
    except zipfile.BadZipFile as error:
        raise BadInput(f"{path} is not a .pt2: {error}") from error
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror or error}") from error
    except UNPICKLING as error:
        raise BadInput(f"{path} holds example inputs that only pickle can read; save the program again") from error
    except (LookupError, AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise BadInput(f"{path} is damaged: {one_line(str(error))[:200]}") from error


def source_of_program(program: Any, spec: ModelSpec | None, asked: Asked, what: str) -> Source:
    """The model of a program that fits the spec."""
    assert spec is not None
    asks = _asks_outputs(program, asked)
    if asks:
        raise BadRequest(f"{what} asks for {asks[0]}")
    model = as_module(program)
    fixed = isinstance(_shape(program, what)[0], int)
    if fixed:
        free = _with_free_batch(model, _wanted(spec))
        model, fixed = (model, True) if free is None else (free, False)
    if (asked.outputs or ends_in(program)) == "probabilities":
        model = Logits(model)
    engines = ("executorch",) if fixed else ENGINES
    why = f"{what} was exported for one batch size; give Dim('batch') in its dynamic_shapes" if fixed else ""
    return checked(Source(spec, model, engines=engines, why=why, weights_sha256=program_hash(program)), what)


def checked(source: Source, what: str) -> Source:
    """The source itself.

    Raises:
        BadInput: a weight is no finite number, or the model does not take or give what the spec says.
    """
    for name, value in source.model.state_dict().items():
        if value.is_floating_point() and not value.isfinite().all():
            bad = int((~value.isfinite()).sum())
            raise BadInput(f"{what}: the weights hold NaN or infinity: {name}, {bad} of {value.numel()}")
    spec, shape = source.spec, (1, *_wanted(source.spec))
    try:
        with torch.no_grad():
            answer = source.model(torch.zeros(shape))
    except TRACE_ERRORS as error:
        raise BadInput(f"{what} does not take float32 {shape}: {explained(error, Path.cwd())}") from error
    if not isinstance(answer, Tensor) or answer.ndim != 2:
        kind = f"a tensor of {tuple(answer.shape)}" if isinstance(answer, Tensor) else f"a {type(answer).__name__}"
        raise BadInput(f"{what} gives {kind}; one tensor (batch, outputs) is needed")
    if answer.shape[1] == 1:
        raise BadInput(
            f"{what} has one output, so it is binary or regression; this version judges multiclass and policy"
        )
    if answer.shape[1] != len(spec.labels):
        names = ", ".join(label.id for label in spec.labels[:10])
        raise BadInput(f"{what} has {answer.shape[1]} outputs, and there are {len(spec.labels)} labels: {names}")
    return source


def ends_in(program: Any) -> str | None:
    """What the last operator that is more than a change of shape shows: logits, probabilities, or nothing."""
    node = next(node for node in program.graph.nodes if node.op == "output").args[0][0]
    while node.op == "call_function":
        name = str(node.target).removeprefix("aten.").split(".")[0]
        if name in (*PROBABILITIES, *LOGITS):
            return "probabilities" if name in PROBABILITIES else "logits"
        if name not in SAME_SHAPE:
            return None
        node = node.args[0]
    return None


def program_hash(program: Any) -> str:
    """A hash of the graph and all its tensors."""
    tensors = {**program.state_dict, **{name: v for name, v in program.constants.items() if isinstance(v, Tensor)}}
    return hashlib.sha256(f"{program.graph}{weights_hash(tensors)}".encode()).hexdigest()


def _asks_outputs(program: Any, asked: Asked) -> tuple[str, ...]:
    return () if asked.outputs or ends_in(program) else (ASK_OUTPUTS,)


def _shape(program: Any, what: str) -> tuple[Any, ...]:
    try:
        return input_shape(program)
    except TypeError as error:
        raise BadInput(f"{what} cannot be exported: {error}") from error


def _side(shape: tuple[Any, ...], what: str, data: Data | None) -> int | None:
    """The side of the square pictures that a program takes; None for rows."""
    if len(shape) == 2 and data is not None and data.columns:
        return None
    if len(shape) != 4 or shape[1] != 3 or shape[2] != shape[3] or not isinstance(shape[2], int):
        raise BadInput(f"{what} takes {shape}; pictures are (batch, 3, side, side), rows of a --data table (batch, n)")
    return int(shape[2])


def _wanted(spec: ModelSpec) -> tuple[int, ...]:
    """What the model inside takes, without the batch."""
    sizes = spec.inputs[0].sample_shape
    return (sizes[2], sizes[0], sizes[1]) if spec.image else sizes


def _with_free_batch(model: nn.Module, shape: tuple[int, ...]) -> nn.Module | None:
    """The same program for any batch, where tracing it again gives one that answers two samples as one by one."""
    two = torch.randn((2, *shape), generator=torch.Generator().manual_seed(1))
    try:
        program = traced(model, shape)
        if isinstance(input_shape(program)[0], int):
            return None
        free = as_module(program)
        with torch.no_grad():
            alone = torch.cat([model(two[:1]), model(two[1:])])
            return free if torch.allclose(free(two), alone, rtol=1e-3, atol=1e-5) else None
    except TRACE_ERRORS:
        return None


def _unpickling() -> type[Exception]:
    from pickle import UnpicklingError  # noqa: TID251  (the name of torch.load's refusal; nothing is unpickled)

    return UnpicklingError


UNPICKLING = _unpickling()
