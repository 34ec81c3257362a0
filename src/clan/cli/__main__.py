"""``python -m clan.cli``."""

from clan.cli import main

main()
