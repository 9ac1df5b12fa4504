"""The TensorFlow graph of TWIN: features, relevance, search, attention, item table, export."""

import os

# tensorflow-recommenders and TFT's layer are Keras 2; both read this before TensorFlow's first import.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
