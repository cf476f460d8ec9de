"""A2A: the agent as other agents call it."""
