"""Profiles of the heads that matter most: where they look, what they write, whom they act through."""

from headscope.profiles.heads import LEADING, leading, top_heads
from headscope.profiles.prompts import shown, views
from headscope.profiles.result import FRAMES, Profiles, profiles_from
from headscope.profiles.study import profile

__all__ = ["FRAMES", "LEADING", "Profiles", "leading", "profile", "profiles_from", "shown", "top_heads", "views"]
