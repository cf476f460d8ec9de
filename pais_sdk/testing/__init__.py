"""Stand-ins for tests; import the one you need, as in `from pais_sdk.testing.mock_llm import MockLLM`."""
