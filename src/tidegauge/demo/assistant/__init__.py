"""An assistant for Python's standard library: real retrieval and real HTTP calls, to a small model that is no LLM."""
