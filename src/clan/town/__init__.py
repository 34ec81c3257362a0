"""The town: a built-in data set of street scenes in two domains, drawn by this package."""

from clan.town.look import SOURCE, TARGET, Look
from clan.town.render import draw_frame
from clan.town.write import make_town

__all__ = ["SOURCE", "TARGET", "Look", "draw_frame", "make_town"]
