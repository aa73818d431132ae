"""A problem in a notebook, with sliders: bias, direction and variance as negatives change.

Every number is exact, and the code that gives it stands below the picture.
"""

from nce_bias._explore.answer import Answer, answer
from nce_bias._explore.explorer import explore
from nce_bias._explore.state import State

__all__ = ["Answer", "State", "answer", "explore"]
