"""Release: the promotion gate, the model package, prediction from a package."""
