"""What must be in place before a test imports torch: it counts its threads once, at the import."""

import os

from hypothesis import settings

# Small layers are fastest on one thread; two pools that spin on a busy machine are many times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("layerwise", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("layerwise")
