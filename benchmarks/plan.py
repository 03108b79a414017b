"""How a bundle is measured: what `lokma bench` was asked for, checked before anything is measured.

>>> Plan(on=("device",), cold_starts=3).threads is None
True
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import network
from benchmarks.environment import host
from benchmarks.scenarios import NAMES, Scenario
from benchmarks.targets import parsed
from edge_runtime.errors import BadRequest


@dataclass(frozen=True)
class Plan:
    """How to measure.

    Attributes:
        on: targets, see `benchmarks.targets.TARGETS`.
        run: the run that the bundle came from, for the torch baselines; None takes `runs/NAME`.
        threads: of every system; None takes the cores here, at most 4.
        cold_starts: fresh processes of each system; their median has a 95 % interval from 6 on.
        artifacts: ids; None takes all.
        networks: profiles of `benchmarks.network` between our own server and its client.
        data: what to judge on; None takes the bundle's own.
        wheel: of lokma, for a machine behind ssh that has none.
        scenario: how load is offered, and when it is enough.
        sustained_s: measure so long without a pause, one system after another, in place of the above.
        anyway: measure on an unfit machine too, and mark the records.
    """

    on: tuple[str, ...] = ("device", "eager")
    run: Path | None = None
    threads: int | None = None
    cold_starts: int = 7
    artifacts: tuple[str, ...] | None = None
    networks: tuple[str, ...] = ()
    data: Path | None = None
    wheel: Path | None = None
    scenario: Scenario = field(default_factory=Scenario)
    sustained_s: float | None = None
    anyway: bool = False

    def __post_init__(self) -> None:
        if (self.threads is not None and self.threads < 1) or self.cold_starts < 1:
            raise BadRequest(f"threads and cold starts must be at least 1; got {self.threads} and {self.cold_starts}")
        if self.sustained_s is not None and self.scenario.name != NAMES[0]:
            raise BadRequest(f"--sustained asks one query after another: it cannot be {self.scenario.name} too")
        wanted = parsed(self.on)
        if self.networks and ("cloud", "") not in wanted:
            raise BadRequest("--network lies between `lokma serve` and its client: add cloud to --on")
        for profile in self.networks:  # an unknown one is refused before anything is measured
            network.describe(profile)

    def key(self, bundle_sha256: str) -> str:
        """The same for the same question about the same bundle on the same machine: what a resumed grid goes by."""
        fields = {
            "on": self.on,
            "threads": self.threads,
            "cold_starts": self.cold_starts,
            "artifacts": self.artifacts,
            "networks": self.networks,
            "data": None if self.data is None else str(self.data.resolve()),
            "scenario": self.scenario.to_dict(),
            "sustained_s": self.sustained_s,
            "bundle": bundle_sha256,
            "host": host()["fingerprint"],
        }
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]
