"""Why an LLM service changed: the same walk over its requests, each made of the spans of one trace."""
