"""The town: a built-in data set of street scenes in two domains, drawn rather than downloaded."""

from clan.data.town.look import SOURCE, TARGET, Look
from clan.data.town.render import draw_frame
from clan.data.town.write import make_town

__all__ = ["SOURCE", "TARGET", "Look", "draw_frame", "make_town"]
