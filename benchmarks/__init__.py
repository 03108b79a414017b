"""Measures bundles where they run, against baselines in the same run, and keeps the raw samples."""
