"""The Dagster code location: thin assets and checks over ``cxr_core``."""
