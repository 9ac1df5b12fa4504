"""Raw tables in, servable out: readers, Beam transforms, TFX components, refresh."""

import os

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
