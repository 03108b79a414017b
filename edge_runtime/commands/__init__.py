"""The verbs that a device has: each parses, calls one function and prints. `edge_runtime/cli.py` lists them."""
