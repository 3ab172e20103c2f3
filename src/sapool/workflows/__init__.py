"""End-to-end jobs, each with a folder of results: fit, compare, train, prune, detect."""
