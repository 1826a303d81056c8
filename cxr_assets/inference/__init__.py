"""Predictions for folders of films: beside the pipeline, whenever somebody asks."""
