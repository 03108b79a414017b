"""Checkpoints: what a training needs to go on after Ctrl-C or kill -9, and to end with the very same weights.

A checkpoint is two files of the unfinished run: `checkpoint-N.safetensors` holds every tensor and array, and
`checkpoint-N.json` all else, with the hash of the first. N counts them. The JSON is written last and each file by a
rename, so that one that can be read is whole; two of a stage are kept, in case the newer one is damaged. No pickle.

Any loop can use it, through the run's draft. Its state is a dict of tensors, arrays, numbers, texts, and of dicts and
lists of these, so that every `state_dict()` fits; a stage is a name for the loop, as a recipe may have several:

    kept = draft.kept("learn")                      # the state that was handed in last; None where there is none
    if kept is not None:
        network.load_state_dict(kept["network"])
        optimizer.load_state_dict(kept["optimizer"])
        chance.bit_generator.state = kept["chance"]                        # a numpy Generator
        buffer.columns, buffer.added = kept["columns"], kept["added"]      # a replay buffer: a list of arrays
        train.episodes.set_state(environments, kept["environments"])       # what is simulated
        checkpoint.set_random_states(kept["random"])                       # last: the global generators
    for step in range(kept["step"] if kept else 0, total_steps):
        …                                           # play, learn, draft.log(…)
        if draft.due():                             # every few seconds
            draft.keep("learn", {"step": step + 1, "network": network.state_dict(),
                                 "random": checkpoint.random_states(), …})

`draft.kept` also brings the history back to what it was then, so that no row of it comes twice.

>>> tensors, plain = pack({"step": torch.tensor(3.0), "groups": [{"lr": 0.1}], 7: None})
>>> tensors, plain
({'0': tensor(3.)}, {'@dict': [['step', {'@tensor': '0'}], ['groups', [{'lr': 0.1}]], [7, None]]})
>>> unpack(tensors, plain) == {"step": torch.tensor(3.0), "groups": [{"lr": 0.1}], 7: None}
True
"""

from __future__ import annotations

import hashlib
import json
import logging
import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from edge_runtime.errors import BadRequest
from edge_runtime.writing import replace_file
from train.devices import current

log = logging.getLogger(__name__)

SHARE = 0.05  # of the time that checkpoints may take
KEPT = 2  # of each stage: the newest, and one in case it is damaged
MARKS = ("@array", "@dict", "@tensor", "@tuple")


class Checkpoints:
    """The checkpoints in one folder, written at most every `every_s` seconds and for at most 5 % of the time."""

    def __init__(self, folder: Path, every_s: float) -> None:
        self.folder, self.every_s = folder, every_s
        self.last, self.took_s = time.monotonic(), 0.0

    def due(self) -> bool:
        """Whether it is time for the next one."""
        return time.monotonic() - self.last >= max(self.every_s, self.took_s / SHARE if self.every_s else 0.0)

    def save(self, stage: str, state: Mapping[str, Any]) -> None:
        """Writes one, and removes those of the same stage that are no longer needed.

        Raises:
            OSError: it cannot be written; the older ones stand.
            TypeError: the state holds something that is neither tensor, number, text, nor a dict or list of them.
        """
        start = time.monotonic()
        tensors, plain = pack(state)
        data = save(tensors)
        number = max(self._numbers(), default=0) + 1
        replace_file(self._path(number, "safetensors"), data)
        about = {
            "stage": stage,
            "sha256": hashlib.sha256(data).hexdigest(),
            "circumstances": circumstances(),
            "state": plain,
        }
        replace_file(self._path(number, "json"), json.dumps(about).encode())
        stages = {n: self._stage(n) for n in sorted(self._numbers())}
        mine = [n for n in stages if stages[n] == stage]
        for n in [*mine[:-KEPT], *(n for n in stages if stages[n] is None)]:
            for kind in ("json", "safetensors"):  # the JSON first: without it the other counts for nothing
                self._path(n, kind).unlink(missing_ok=True)
        self.last = time.monotonic()
        self.took_s = self.last - start

    def newest(self, stage: str) -> dict[str, Any] | None:
        """The state of the newest whole checkpoint of a stage; None where there is none.

        Raises:
            BadRequest: it was written with other threads or on another device, which end with other weights.
        """
        for number in sorted(self._numbers(), reverse=True):
            if self._stage(number) == stage:
                found = self._read(number)
                if found is not None:
                    return found
                log.warning("%s is damaged; going on from the one before", self._path(number, "json"))
        return None

    def _read(self, number: int) -> dict[str, Any] | None:
        try:
            about = json.loads(self._path(number, "json").read_bytes())
            data = self._path(number, "safetensors").read_bytes()
            if hashlib.sha256(data).hexdigest() != about["sha256"]:
                return None
            state, written = unpack(load(data), about["state"]), about["circumstances"]
        except (OSError, ValueError, LookupError, TypeError, RecursionError, SafetensorError):
            return None  # not what `save` wrote
        now = circumstances()
        differences = [f"{k}: {written.get(k)}, now {now[k]}" for k in now if written.get(k) != now[k]]
        if differences:
            raise BadRequest(
                f"the unfinished run in {self.folder} cannot go on to the same weights ({'; '.join(differences)}); "
                "give it these again, or begin anew with --force"
            )
        return state

    def _stage(self, number: int) -> str | None:
        try:
            return str(json.loads(self._path(number, "json").read_bytes())["stage"])
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            return None

    def _numbers(self) -> set[int]:
        names = (path.name.split("-")[1].split(".")[0] for path in self.folder.glob("checkpoint-*.*"))
        return {int(name) for name in names if name.isdecimal()}

    def _path(self, number: int, kind: str) -> Path:
        return self.folder / f"checkpoint-{number}.{kind}"


def circumstances() -> dict[str, Any]:
    """What decides the last bits of a sum, beside code, libraries and arguments, which the run's request holds."""
    here = {"threads": torch.get_num_threads(), "instructions": torch.backends.cpu.get_cpu_capability()}
    return {**here, **current().words()}


def random_states() -> dict[str, Any]:
    """The states of Python's, NumPy's and torch's global generators, on every device."""
    kind, keys, *rest = np.random.get_state(legacy=True)
    found: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": (kind, np.asarray(keys), *rest),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        found["cuda"] = torch.cuda.get_rng_state_all()
    if torch.backends.mps.is_available():
        found["mps"] = torch.mps.get_rng_state()
    return found


def set_random_states(states: Mapping[str, Any]) -> None:
    """Sets the global generators to what `random_states` gave."""
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    torch.set_rng_state(states["torch"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states["cuda"])
    if "mps" in states and torch.backends.mps.is_available():
        torch.mps.set_rng_state(states["mps"])


def pack(state: Any) -> tuple[dict[str, Tensor], Any]:
    """Takes the tensors and arrays out of a state: named tensors, and what JSON can hold with marks in their places.

    Raises:
        TypeError: it holds something else.
    """
    tensors: dict[str, Tensor] = {}

    def kept(value: Tensor, mark: str) -> dict[str, str]:
        name = str(len(tensors))
        tensors[name] = value.detach().cpu().clone().contiguous()  # a copy: safetensors refuses shared memory
        return {mark: name}

    def plain(value: Any) -> Any:
        if isinstance(value, Tensor):
            return kept(value, "@tensor")
        if isinstance(value, np.ndarray):
            return kept(torch.from_numpy(np.ascontiguousarray(value).reshape(value.shape)), "@array")
        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, Mapping):
            if all(isinstance(key, str) for key in value) and not any(mark in value for mark in MARKS):
                return {key: plain(inner) for key, inner in value.items()}
            return {"@dict": [[plain(key), plain(inner)] for key, inner in value.items()]}
        if isinstance(value, tuple):
            return {"@tuple": [plain(inner) for inner in value]}
        if isinstance(value, list):
            return [plain(inner) for inner in value]
        if value is None or isinstance(value, bool | int | float | str):
            return value
        raise TypeError(f"a checkpoint cannot hold {type(value).__name__}; only tensors, arrays, numbers and texts")

    return tensors, plain(state)


def unpack(tensors: Mapping[str, Tensor], plain: Any) -> Any:
    """Undoes `pack`."""
    if isinstance(plain, list):
        return [unpack(tensors, inner) for inner in plain]
    if not isinstance(plain, dict):
        return plain
    if len(plain) == 1:
        mark, inner = next(iter(plain.items()))
        if mark == "@tensor":
            return tensors[inner]
        if mark == "@array":
            return tensors[inner].numpy()
        if mark == "@tuple":
            return tuple(unpack(tensors, one) for one in inner)
        if mark == "@dict":
            return {unpack(tensors, key): unpack(tensors, one) for key, one in inner}
    return {key: unpack(tensors, inner) for key, inner in plain.items()}
