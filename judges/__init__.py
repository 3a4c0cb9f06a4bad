"""Judges: a known share of LLM calls scored by a model, with numbers that say how far the scores can be trusted."""
