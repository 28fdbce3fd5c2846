"""One module per measured thing; a benchmark is a module with `measure(settings)`."""
