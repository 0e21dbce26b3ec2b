"""Settings for every test."""

from hypothesis import settings

# A slow or busy computer is no bug: no time limit for one example.
settings.register_profile("qtutor", deadline=None)
settings.load_profile("qtutor")
