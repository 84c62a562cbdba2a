"""One file a wire format: reads its requests into orders, and turns jobs and refusals into its answers."""
