"""Lowering without what torch and ExecuTorch do again after each of their passes, and nobody reads.

A graph goes through some sixty passes on its way to a `.pte`. After each, torch writes and compiles Python source for
it, which nothing runs, checks the whole program for mistakes that only a pass of somebody's own could make, and copies
each node's family tree from its first ancestor on. On EfficientNet-B2 that was half of the time. The file that comes
out is the same to the byte (tests/export/test_lean.py), and it is run and compared with the model before it is used.

>>> with lean():                                                                        # doctest: +SKIP
...     edge = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any

from torch._export.verifier import Verifier
from torch.export import ExportedProgram
from torch.fx import Graph, GraphModule
from torch.fx.graph import _PyTreeCodeGen
from torch.fx.traceback import NodeSource

_compiled = GraphModule.recompile
_decomposed = ExportedProgram.run_decompositions
_MARK = "_lokma_functional"


@contextlib.contextmanager
def lean() -> Iterator[None]:
    """Inside, a graph's Python source is made when it is called, and no pass is checked. Not for several threads."""
    swaps = [*_SWAPS, *_passes()]
    kept = [(owner, name, vars(owner).get(name)) for owner, name, _ in swaps]
    try:
        for owner, name, ours in swaps:
            setattr(owner, name, ours)
        yield
    finally:
        for owner, name, theirs in kept:
            if theirs is None:
                delattr(owner, name)
            else:
                setattr(owner, name, theirs)


class _Forward:
    """Compiles a graph's source when its `forward` is asked for."""

    def __get__(self, module: GraphModule | None, kind: type) -> Any:
        if module is None:
            return self
        _compiled(module)
        return module.forward


def _compile_later(module: GraphModule) -> None:
    codegen = module.graph._codegen
    if isinstance(codegen, _PyTreeCodeGen):
        module._in_spec, module._out_spec = codegen.pytree_info.in_spec, codegen.pytree_info.out_spec
    kind: Any = type(module)  # each graph module has a class of its own
    kind.forward = _Forward()


def _decompose_what_is_there(program: ExportedProgram, decomp_table: Any = None) -> ExportedProgram:
    """As `run_decompositions`, which traces the whole program anew, where the table has an operator of the program.

    The first call also takes what writes to its inputs out of the program; after it, nothing is left to do.
    """
    if hasattr(program, _MARK) and decomp_table is not None and not _any_in(program, decomp_table):
        return program
    made = _decomposed(program, decomp_table)
    setattr(made, _MARK, True)
    return made


def _any_in(program: ExportedProgram, table: Any) -> bool:
    graphs = (module.graph for module in program.graph_module.modules() if isinstance(module, GraphModule))
    return any(node.target in table for graph in graphs for node in graph.nodes if node.op == "call_function")


def _passes() -> Iterator[tuple[type, str, Any]]:
    """XNNPACK's passes, where they are loaded: each traces the graph anew at its end, also where it changed nothing."""
    module = sys.modules.get("executorch.backends.xnnpack._passes")
    for name, words in _LOOKS_FOR.items() if module else ():
        owner = getattr(module, name)
        yield owner, "call", _only_with(owner.call, words)


def _only_with(call: Callable[..., Any], words: tuple[str, ...]) -> Callable[..., Any]:
    from torch.fx.passes.infra.pass_base import PassResult

    @functools.wraps(call)
    def called(self: Any, graph_module: GraphModule) -> Any:
        names = {
            getattr(node.target, "__name__", "") for node in graph_module.graph.nodes if node.op == "call_function"
        }
        found = any(word in name for name in names for word in words)
        return call(self, graph_module) if found else PassResult(graph_module, False)

    return called


def _nothing(*_: Any, **__: Any) -> str:
    return ""


def _itself(source: NodeSource, memo: Any) -> NodeSource:  # what a node came from never changes again
    del memo
    return source


# of ExecuTorch 1.5.1: the operators, by a part of their names, that a pass changes or knows a pattern by
_LOOKS_FOR = {
    "ConvertToUpsampleBilinear2d": ("index", "upsample"),
    "ConvertToSDPAPass": ("bmm", "matmul", "scaled_dot_product"),
    "FuseBatchNormPass": ("batch_norm",),
    "DecomposeBatchNorm": ("batch_norm",),
    "DecomposeConcatenate": ("cat",),
    "RemoveGetItemPass": ("max",),
    "PReLUReshapePass": ("prelu",),
}
_SWAPS: tuple[tuple[type, str, Any], ...] = (
    (GraphModule, "recompile", _compile_later),
    (GraphModule, "__str__", _nothing),  # for debug logs, which are written out before anybody asks for them
    (GraphModule, "print_readable", _nothing),
    (NodeSource, "__deepcopy__", _itself),
    (ExportedProgram, "run_decompositions", _decompose_what_is_there),
    (Verifier, "check", _nothing),
    (Graph, "lint", _nothing),
)
