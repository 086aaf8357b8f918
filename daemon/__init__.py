"""anomalyd: anomaly detection beside industrial sensors."""

import os

# ONNX Runtime's Linux wheels can report usage and keep a device id below ~/.cache; a plant's daemon tells nobody
# anything it was not asked to. It must be set before the library is loaded, by whichever door.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
