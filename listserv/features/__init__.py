"""Rooms that hang on hooks.  Ours use the same record as anybody's."""

from listserv.features import ads
from listserv.hooks import Feature

FEATURES: tuple[Feature, ...] = (ads.FEATURE,)
