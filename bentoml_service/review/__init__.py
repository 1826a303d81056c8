"""The queue of flagged films: kept encrypted for a reader, whose decisions return to the pipeline as labels."""
