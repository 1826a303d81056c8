"""A tracked training in a process of its own, for tests that kill it: ``python tracked_training.py URI STORE``."""

import sys
import time

from cxr_core.store import ArtefactStore
from cxr_core.training.tracking import EXPERIMENT, Tracker

uri, store = sys.argv[1:]
with Tracker(uri, EXPERIMENT, store=ArtefactStore(store)).run("training", {"splits": "abc"}) as run:
    run.params({"seed": 42})
    for epoch in range(1, 4):
        run.history([{"epoch": epoch, "val_loss": 1 / epoch}])
    sys.stdout.write("three epochs\n")
    sys.stdout.flush()
    time.sleep(600)  # until it is killed
