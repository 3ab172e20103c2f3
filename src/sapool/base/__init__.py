"""What every room may use: records, budgets, sizes, files, errors, missing extras, the environment."""
