"""A network's memory and its best plans, predicted before anything is exported."""
