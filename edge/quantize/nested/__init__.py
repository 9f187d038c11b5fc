"""Compare nested models with models of one width."""
