"""The prediction service: one BentoML service that answers for one model package.

For research use; not a medical device. Knows ``cxr_core`` and nothing of Dagster.
"""
