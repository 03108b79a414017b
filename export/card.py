"""MODEL_CARD.md: what stands in a bundle, for a person. Generated from the manifest, never typed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def card(manifest: Mapping[str, Any]) -> str:
    """The card's text."""
    spec, provenance = manifest["spec"], manifest["provenance"]
    rows = "\n".join(_row(artifact) for artifact in manifest["artifacts"])
    reasons = "\n".join(
        f"- `{artifact['id']}`: {kind} **{verdict['answer']}**: {verdict['reason']}"
        for artifact in manifest["artifacts"]
        for kind, verdict in (artifact["verdict"] or {}).items()
    )
    labels = ", ".join(f"{label['en']} ({label['tr']})" for label in spec["labels"][:20]) or "none"
    tools = ", ".join(f"{name} {version}" for name, version in provenance["tools"].items())
    return f"""# {manifest["name"]}, version {manifest["version"]}

Task: {spec["task"]}. Labels: {labels}.
Input: {_tensor(spec["inputs"][0])}. Output: {_tensor(spec["outputs"][0])}.

| artifact | size | accuracy on the test side | parity with eager | verdict |
|---|---|---|---|---|
{rows}

{reasons}

## Where it comes from
{_origin(provenance)}
Data: sha256 {provenance["data"]["sha256"][:12] or "none, episodes are played"}.
Commits: {_commit(provenance["commit"])}.
Tools: {tools}.
Licences: {", ".join(f"{what}: {licence}" for what, licence in manifest["licences"].items())}.

## Run it
```python
from edge_runtime import load

answer = load("{manifest["name"]}").predict({_call(spec)})
print(answer.top(3))
```
"""


def _row(artifact: Mapping[str, Any]) -> str:
    verdicts = ", ".join(f"{kind}: {verdict['answer']}" for kind, verdict in (artifact["verdict"] or {}).items())
    parity = artifact["parity"]
    agreement = f"{parity['max_relative']:.1e}, same best label {parity['same_top1']} of {parity['n']}"
    size = f"{artifact['size_bytes'] / 1e6:.2f} MB"
    return f"| `{artifact['id']}` | {size} | {artifact['accuracy']['text']} | {agreement} | {verdicts or 'reference'} |"


def _origin(provenance: Mapping[str, Any]) -> str:
    data = provenance["data"]
    if provenance["recipe"] is None:
        skipped = f", {data['skipped']} unreadable pictures left out" if data["skipped"] else ""
        return f"Made of {provenance['source']['what']}; calibrated and judged on {data['name']}{skipped}."
    return f"Trained by `lokma train {provenance['recipe']}` on {data['name']}, seed {provenance['seed']}."


def _commit(commits: Mapping[str, Any]) -> str:
    return ", ".join(f"{what} at {(found or 'unknown')[:18]}" for what, found in commits.items())


def _tensor(tensor: Mapping[str, Any]) -> str:
    return f"`{tensor['name']}` {tensor['dtype']} {tuple(tensor['shape'])}, {tensor['unit']}"


def _call(spec: Mapping[str, Any]) -> str:
    return '"photo.jpg"' if spec["image"] else repr([0.0] * int(spec["inputs"][0]["shape"][-1]))
