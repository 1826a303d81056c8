"""A worker process that counts into a shared file: ``python telemetry_worker.py PATH NUMBER how``.

``close``: count NUMBER requests and predictions and end in order. ``hang``: count them, say so, and wait to be killed.
"""

import sys
import time
from pathlib import Path

from bentoml_service.telemetry import Observation, Telemetry
from cxr_core.settings_service import TelemetrySettings


def main() -> None:
    path, number, how = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    telemetry = Telemetry(path, TelemetrySettings())
    for i in range(number):
        telemetry.request("/predict", 200 if i % 4 else 500, 0.05)
        telemetry.prediction(Observation("Normal", 0.9, 120.0, 50.0, 1.2, ("crop",) if i % 2 else ()))
        if i % 100 == 0:
            time.sleep(0.01)  # so that flushes of several workers meet
    if how == "hang":
        sys.stdout.write("counted\n")
        sys.stdout.flush()
        time.sleep(600)
    telemetry.close()


if __name__ == "__main__":
    main()
