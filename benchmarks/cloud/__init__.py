"""The cloud side: bundles behind the Open Inference Protocol v2, in one process. `lokma serve` starts it."""
