"""Rooms that hang on hooks.  Ours use the same record as anybody's."""

from listserv.features.ads import FEATURE as ADS
from listserv.hooks import Feature

FEATURES: tuple[Feature, ...] = (ADS,)
