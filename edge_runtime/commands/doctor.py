"""`lokma doctor`: what this device can do and what it lacks; exit code 1 if something that breaks use was found."""

from __future__ import annotations

from edge_runtime.arguments import parser_of
from edge_runtime.commands import show
from edge_runtime.doctor import doctor
from edge_runtime.errors import GateFailed


def main(argv: list[str]) -> int:
    """Prints each finding; raises GateFailed with the first that breaks use."""
    args = parser_of("doctor", "Say what this device can do, what it lacks, and what to install.").parse_args(argv)
    report = doctor()
    show(report, args.json)
    failed = [f"{entry['name']}: {entry['detail']}" for entry in report["checks"] if entry["ok"] is False]
    if failed:
        raise GateFailed(f"lokma cannot be used here as it is: {failed[0]}")
    return 0
