"""The demo: real data streams with faults injected on request, to see what Tidegauge finds in them."""
