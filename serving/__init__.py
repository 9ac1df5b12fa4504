"""The client, the embedded server and the publisher of version directories."""

import os

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
