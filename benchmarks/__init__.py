"""What a run costs: `python -m benchmarks`."""
