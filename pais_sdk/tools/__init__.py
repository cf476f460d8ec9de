"""Tools without a model, and tools whose results are kept."""
