"""Networks by name, and what is known of a network: its trace and its operators."""
