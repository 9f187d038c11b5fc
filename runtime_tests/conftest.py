"""Settings that every test shares."""

from hypothesis import settings

# Timings vary on shared machines; a slow example is not a wrong one.
settings.register_profile("edge", deadline=None, max_examples=40)
settings.load_profile("edge")
