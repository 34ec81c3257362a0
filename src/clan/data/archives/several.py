"""Several archives as one root, such as one of images and one of labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from clan.core.errors import DataError
from clan.data.archives.index import Member
from clan.data.archives.paths import Archive, ArchivePath, FilePath, Root, locate
from clan.data.images import SUFFIXES


class _Indices:
    """The tables of contents of several archives as one; see `clan.data.archives.index.Index`."""

    def __init__(self, archives: Sequence[Archive]) -> None:
        self._archives = archives

    def member(self, name: str) -> Member | None:
        """Return the member of a name; None if there is none."""
        archive = self.holder(name)
        return None if archive is None else archive.index.member(name)

    def holder(self, name: str) -> Archive | None:
        """Return the archive that has a member; DataError if two have it with other content."""
        found = [a for a in self._archives if a.index.member(name) is not None]
        contents = {(m.size, m.crc) for a in found if (m := a.index.member(name)) is not None}
        if len(contents) > 1:
            raise _twin(name, found)
        return found[0] if found else None

    def below(self, folder: str) -> list[str]:
        """Return the paths of all members below a folder (empty: all), relative to it, sorted."""
        return sorted({name for a in self._archives for name in a.index.below(folder)})

    def holds(self, folder: str) -> bool:
        """Tell whether there is a member below a folder (empty: any at all)."""
        return any(archive.index.holds(folder) for archive in self._archives)


class Several(Archive):
    """Archives that are read as one; a file's path is that in the archive that holds it.

    Args:
        archives: two or more.

    Raises:
        DataError: two hold a picture of one name.
    """

    def __init__(self, archives: Sequence[Archive]) -> None:
        self.archives = tuple(archives)
        self.index: _Indices = _Indices(self.archives)  # type: ignore[assignment]
        for number, archive in enumerate(archives):
            names = set(archive.index.below(""))
            for other in archives[:number]:
                # others than pictures, such as a README in each, may differ
                twins = (n for n in other.index.below("") if n in names)
                if name := next((n for n in twins if n.lower().endswith(tuple(SUFFIXES))), None):
                    raise _twin(name, (other, archive))

    def __str__(self) -> str:
        return " + ".join(map(str, self.archives))

    def path(self, inner: str = "") -> ArchivePath:
        """Return the path of a member in its archive, or of a folder of all."""
        holder = self.index.holder(inner)
        return ArchivePath(holder or self, inner)

    def inner(self, text: str) -> str | None:
        """Return the path in here of a whole path, in one or in all; None if it is not in here."""
        of_one = (archive.inner(text) for archive in self.archives)
        return next((inner for inner in (super().inner(text), *of_one) if inner is not None), None)

    def read(self, member: Member) -> bytes:
        """Return a member's content, from the archive that holds it."""
        return self._holding(member).read(member)

    def open(self, member: Member) -> BinaryIO:
        """Open a member in the archive that holds it."""
        return self._holding(member).open(member)

    def _holding(self, member: Member) -> Archive:
        holder = self.index.holder(member.name)
        if holder is None:
            raise FileNotFoundError(f"{self}/{member.name}")
        return holder


def _twin(name: str, archives: Sequence[Archive]) -> DataError:
    return DataError(
        f"{' and '.join(map(str, archives))} both hold {name}, and nothing says which one is "
        "meant; pack one of them anew without it"
    )


def locate_root(root: Root) -> FilePath:
    """Return the place of a data set: a folder, an archive, or several archives as one.

    Args:
        root: a path or an address as `locate` takes it, or several of archives.

    Raises:
        DataError: as `locate`; a list that names something else than whole archives, or archives
            that hold a picture of one name.
    """
    if isinstance(root, str | Path):
        return locate(root)
    places = [locate(one) for one in root]
    for place in places:
        if not isinstance(place, ArchivePath) or place.inner:
            raise DataError(
                f"{place}: a list of roots is one of whole archives (.zip, .tar); for a folder, "
                "or one in an archive, name it alone"
            )
    archives = [place.archive for place in places if isinstance(place, ArchivePath)]
    if not archives:
        raise DataError("the list of roots is empty; name a folder or archives")
    return archives[0].path() if len(archives) == 1 else Several(archives).path()
