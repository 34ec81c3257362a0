"""Archives that are damaged, or made to do harm, are refused with a sentence; nothing is read."""

from __future__ import annotations

import io
import json
import os
import random
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from clan.core.errors import DataError
from clan.data.archives import paths, storage, tars
from clan.data.archives.paths import locate
from clan.data.datasets import open_dataset
from clan.data.images import read_image
from clan.data.pack import write_index
from tests.data.archives.conftest import index_tar, zip_folder


def entry(name: str, content: bytes = b"abc", **facts: object) -> tuple[zipfile.ZipInfo, bytes]:
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = 0o100644 << 16
    for key, value in facts.items():
        setattr(info, key, value)
    return info, content


def write_zip(path: Path, *entries: tuple[zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for info, content in entries:
            archive.writestr(info, content)
    return path


ZIPS: dict[str, tuple[list[tuple[zipfile.ZipInfo, bytes]], str]] = {
    "escapes": ([entry("../x.png")], "'../x.png', which is no path below a folder"),
    "escapes inside": ([entry("a/../../x.png")], "no path below a folder"),
    "absolute": ([entry("/etc/x.png")], "'/etc/x.png', which is no path below a folder"),
    "drive": ([entry("a.png"), entry("c:/x.png")], "'c:/x.png', which is no path"),
    "dot": ([entry("a/./x.png")], "no path below a folder"),
    "empty part": ([entry("a//x.png")], "no path below a folder"),
    "link": (
        [entry("x.png", b"/etc/passwd", external_attr=(stat.S_IFLNK | 0o777) << 16)],
        "'x.png' is a link or a special file",
    ),
    "pipe": (
        [entry("x.png", external_attr=(stat.S_IFIFO | 0o644) << 16)],
        "is a link or a special file",
    ),
    "twins": ([entry("b.png"), entry("a.png"), entry("b.png")], "two members are named 'b.png'"),
    "bzip2": (
        [entry("x.png", b"a" * 100, compress_type=zipfile.ZIP_BZIP2)],
        "compressed in a way that is not read here",
    ),
    "nothing": ([], "the archive holds no file"),
    "folders alone": ([entry("a/", b"")], "the archive holds no file"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", ZIPS)
def test_a_zip_that_is_not_to_be_trusted(tmp_path: Path, kind: str) -> None:
    entries, said = ZIPS[kind]
    archive = write_zip(tmp_path / "x.zip", *entries)
    with pytest.raises(DataError, match=re.escape(said)) as error:
        locate(archive)
    assert str(error.value).startswith(str(archive))


def patched(archive: Path, at: Callable[[bytes], int], new: bytes) -> Path:
    data = bytearray(archive.read_bytes())
    place = at(bytes(data))
    data[place : place + len(new)] = new
    archive.write_bytes(data)
    return archive


def central(field: int) -> Callable[[bytes], int]:
    return lambda data: data.index(b"PK\1\2") + field


def ending(field: int) -> Callable[[bytes], int]:
    return lambda data: data.rindex(b"PK\5\6") + field


PATCHES: dict[str, tuple[Callable[[bytes], int], bytes, str]] = {
    "encrypted": (central(8), b"\1\0", "is encrypted"),
    "signature": (central(0), b"PK\7\2", "no signature"),
    "name too long": (central(28), b"\xff\xff", "ends early"),
    "comment": (central(32), b"\3\0", "another length than its entries"),
    "outside": (central(42), b"\xf0\xff\xff\0", "reaches beyond the archive"),
    "larger than deflate": (central(24), struct.pack("<I", 1 << 31), "cannot have the size"),
    "zip64 without numbers": (central(24), b"\xff\xff\xff\xff", "lacks its Zip64 numbers"),
    "directory elsewhere": (ending(16), b"\0\0\0\0", "is not where it should be"),
    "too many entries": (ending(10), b"\xff\x7f", "is not where it should be"),
    "one entry less": (ending(10), b"\1\0", "another length than its entries"),
    "several parts": (ending(4), b"\1\0", "one part of a zip in several parts"),
    "no end": (ending(0), b"PX", "no end of the central directory"),
}


@pytest.mark.parametrize("kind", PATCHES)
def test_a_central_directory_that_is_damaged(tmp_path: Path, kind: str) -> None:
    deflated = {"compress_type": zipfile.ZIP_DEFLATED}
    archive = write_zip(
        tmp_path / "x.zip", entry("a.png", b"a" * 99, **deflated), entry("b.png", b"b")
    )
    at, new, said = PATCHES[kind]
    with pytest.raises(DataError, match=said):
        locate(patched(archive, at, new))


def test_members_that_lie_in_each_other(tmp_path: Path) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr(*entry("b.png", b"b" * 50))
    outer = write_zip(
        tmp_path / "x.zip", entry("a.png", inner.getvalue()), entry("b.png", b"c" * 50)
    )
    data = outer.read_bytes()
    locate(outer)
    second = data.rindex(b"PK\1\2")
    within = data.index(b"PK\3\4", 10)
    patched(outer, lambda _: second + 42, struct.pack("<I", within))
    with pytest.raises(DataError, match=r"'b\.png' lies within another member"):
        locate(outer)


MEMBERS: dict[str, tuple[Callable[[bytes], int], bytes, str]] = {
    "content": (lambda d: d.index(b"abcdef"), b"X", "the checksum of this member does not hold"),
    "own header": (lambda d: d.index(b"PK\3\4"), b"PX", "this member has no header"),
    "own name": (lambda d: d.index(b"PK\3\4") + 26, b"\xff\xff", "reaches beyond the archive"),
    "checksum": (central(16), b"\0\0\0\0", "the checksum of this member does not hold"),
}


@pytest.mark.parametrize("kind", MEMBERS)
def test_a_member_that_is_damaged_is_named(tmp_path: Path, kind: str) -> None:
    at, new, said = MEMBERS[kind]
    archive = write_zip(tmp_path / "x.zip", entry("in/a.png", b"abcdef"))
    path = locate(patched(archive, at, new)) / "in/a.png"
    with pytest.raises(DataError, match=said) as error:
        read_image(path)
    assert str(path) in str(error.value)


def test_a_member_that_unpacks_to_more_than_it_says(tmp_path: Path) -> None:
    bomb = entry("a.png", bytes(1 << 22), compress_type=zipfile.ZIP_DEFLATED)
    archive = write_zip(tmp_path / "x.zip", bomb)
    patched(archive, central(24), struct.pack("<I", 5000))
    with pytest.raises(DataError, match="the checksum of this member does not hold"):
        read_image(locate(archive) / "a.png")


def test_a_member_larger_than_any_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = entry("a.png", bytes(1 << 22), compress_type=zipfile.ZIP_DEFLATED)
    path = locate(write_zip(tmp_path / "x.zip", bomb)) / "a.png"
    assert len(path.read_bytes()) == 1 << 22
    monkeypatch.setenv("CLAN_MAX_PIXELS", "1000")
    monkeypatch.setattr(paths, "_BESIDE_PIXELS", 0)
    with pytest.raises(DataError, match=r"a\.png: 4,194,304 bytes unpacked are more than any"):
        path.read_bytes()


@pytest.mark.parametrize("kind", ["zip", "deflated.zip", "tar"])
def test_no_truncation_or_flipped_bit_goes_unnoticed(camvid: Path, archived, kind: str) -> None:
    """Each read gives what was packed, or an error of ours."""
    place = archived(kind)
    whole, rng = place.read_bytes(), random.Random(1)
    expected = [open_dataset(str(camvid), split="val").read(i) for i in range(2)]
    cuts = [whole[: rng.randrange(len(whole))] for _ in range(40)]
    flips = []
    for _ in range(150):
        data = bytearray(whole)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        flips.append(bytes(data))
    said = []
    for damaged in (*cuts, *flips, b"", whole[:10], whole + b"\0" * 7):
        place.write_bytes(damaged)
        try:
            found = open_dataset(str(camvid), root=place, split="val")
            for i, (image, label) in enumerate(expected):
                one, two = found.read(i)
                assert (one == image).all()
                assert (two == label).all()
        except DataError as error:
            said.append(str(error))
    assert len(said) > 60
    assert all(str(place) in text for text in said)


TARS: dict[str, tuple[bytes, str]] = {
    "link": (tarfile.SYMTYPE, "'x.png' is a link or a special file"),
    "hard link": (tarfile.LNKTYPE, "'x.png' is a link or a special file"),
    "pipe": (tarfile.FIFOTYPE, "'x.png' is a link or a special file"),
    "device": (tarfile.CHRTYPE, "'x.png' is a link or a special file"),
}


def write_tar(path: Path, *entries: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for info, content in entries:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def named(name: str, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = "/etc/passwd" if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
    return info


@pytest.mark.parametrize("kind", TARS)
def test_a_tar_with_a_member_that_is_no_plain_file(tmp_path: Path, kind: str) -> None:
    type_, said = TARS[kind]
    tar = write_tar(tmp_path / "x.tar", (named("a.png"), b"a"), (named("x.png", type_), b""))
    with pytest.raises(DataError, match=said):
        write_index(tar)
    assert not tar.with_name("x.tar.index").exists()


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("../x.png",), "no path below a folder"),
        (("/x.png",), "no path below a folder"),
        (("a.png", "a.png"), "two members are named 'a.png'"),
        ((), "the archive holds no file"),
        (("b\udcff.png",), "not UTF-8"),
    ],
)
def test_a_tar_with_bad_names(tmp_path: Path, names: tuple[str, ...], said: str) -> None:
    with tarfile.open(tmp_path / "x.tar", "w", errors="surrogateescape") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name))
    with pytest.raises(DataError, match=said):
        write_index(tmp_path / "x.tar")
    # nor does an index from elsewhere bring them in
    index_tar(tmp_path / "x.tar")
    with pytest.raises(DataError, match=said):
        locate(tmp_path / "x.tar")


def test_a_tar_that_is_compressed_or_none(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("a.png"))
    for _ in range(2):
        with pytest.raises(DataError, match="must be decompressed first"):
            write_index(tmp_path / "x.tar")
        (tmp_path / "x.tar").write_bytes(b"something else " * 100)


def test_a_tar_that_ends_early_is_not_indexed(tmp_path: Path) -> None:
    tar = write_tar(
        tmp_path / "x.tar", (named("a.png"), bytes(5000)), (named("b.png"), bytes(5000))
    )
    tar.write_bytes(tar.read_bytes()[:8000])
    with pytest.raises(DataError, match=r"x\.tar: .*(ends early|damaged)"):
        write_index(tar)


def test_a_tar_needs_its_own_index(tmp_path: Path) -> None:
    one = write_tar(tmp_path / "one.tar", (named("a.png"), b"a"))
    two = write_tar(tmp_path / "two.tar", (named("a.png"), b"b"))
    with pytest.raises(
        DataError, match=r"no one\.tar\.index beside it; write it by: clan data index"
    ):
        locate(one)
    index = write_index(two)
    os.rename(index, tmp_path / "one.tar.index")
    assert one.stat().st_size == two.stat().st_size
    with pytest.raises(DataError, match="belongs to another archive"):
        locate(one)
    write_index(one)  # an index that does not fit is replaced
    assert (locate(one) / "a.png").read_bytes() == b"a"
    one.write_bytes(one.read_bytes() + bytes(512))
    with pytest.raises(DataError, match="belongs to another archive"):
        locate(one)


def rewritten(index: Path, change: Callable[[dict], dict], body: bytes | None = None) -> None:
    head, _, rest = index.read_bytes().partition(b"\n")
    body = rest if body is None else body
    facts = json.loads(head)
    facts["sha256"] = tars.hashlib.sha256(body).hexdigest()
    index.write_bytes(json.dumps(change(facts)).encode() + b"\n" + body)


@pytest.mark.parametrize(
    "damage",
    [
        lambda i: i.write_bytes(b""),
        lambda i: i.write_bytes(b"[" * 4000 + b"\n"),
        lambda i: i.write_bytes(i.read_bytes()[:-1]),
        lambda i: i.write_bytes(i.read_bytes()[:-1] + b"X"),
        lambda i: rewritten(i, lambda f: {**f, "members": 10**9}),
        lambda i: rewritten(i, lambda f: {**f, "members": -1}),
        lambda i: rewritten(i, lambda f: {**f, "members": "2"}),
        lambda i: rewritten(i, lambda f: {**f, "format": "clan tar index 9"}),
        lambda i: rewritten(i, lambda f: f, struct.pack("<qqI", -5, 3, 0) + b"a.png"),
        lambda i: rewritten(i, lambda f: f, struct.pack("<qqI", 0, 1 << 62, 0) + b"a.png"),
        lambda i: rewritten(i, lambda f: f, struct.pack("<qqI", 1 << 62, 5, 0) + b"a.png"),
    ],
)
def test_an_index_that_is_damaged(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    tar = write_tar(tmp_path / "x.tar", (named("a.png"), b"a"))
    index = write_index(tar)
    rewritten(index, lambda facts: facts)
    locate(tar)
    paths._opened.clear()
    damage(index)
    with pytest.raises(DataError, match=r"no index of a tar, or a damaged one"):
        locate(tar)


def test_zip64_and_names_in_other_code_pages(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 100)
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 2)
    entries = [entry(f"folder/{n}.png", os.urandom(200)) for n in ("a", "é", "c")]
    path = write_zip(tmp_path / "x.zip", *entries)
    data = path.read_bytes()
    assert b"PK\6\6" in data
    assert b"PK\6\7" in data
    found = locate(path)
    for info, content in entries:
        assert (found / info.filename).read_bytes() == content
    old = path.read_bytes().replace("é".encode(), b"\x82")
    assert zlib.crc32(old) != zlib.crc32(data)


def test_a_name_in_code_page_437(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", entry("aXb.png"))
    path.write_bytes(path.read_bytes().replace(b"aXb", b"a\x82b"))
    assert (locate(path) / "aéb.png").read_bytes() == b"abc"
    path.write_bytes(path.read_bytes().replace(b"a\x82b", b"\xc3\xa9b"))
    assert (locate(path) / "éb.png").read_bytes() == b"abc"


def test_a_local_header_may_be_longer_than_the_directory_says(tmp_path: Path) -> None:
    """Programs write extra fields there of their own, some of them long."""
    info, content = entry("a.png", b"abcdef")
    plain = write_zip(tmp_path / "x.zip", (info, content)).read_bytes()
    extra = struct.pack("<HH", 0x7777, 900) + bytes(900)
    start, directory = plain.index(b"abcdef"), plain.index(b"PK\1\2")
    head = plain[:28] + struct.pack("<H", len(extra)) + plain[30:start] + extra
    end = bytearray(plain[directory:])
    at = end.index(b"PK\5\6")
    end[at + 16 : at + 20] = struct.pack("<I", directory + len(extra))
    (tmp_path / "x.zip").write_bytes(head + plain[start:directory] + bytes(end))
    path = locate(tmp_path / "x.zip") / "a.png"
    assert path.read_bytes() == b"abcdef"
    with path.open() as file:
        assert file.read() == b"abcdef"
    assert storage.LocalFile(tmp_path / "x.zip").size > 900


def test_zip_folder_writes_folders_too(camvid: Path, tmp_path: Path) -> None:
    path = zip_folder(camvid.parent, tmp_path / "c.zip")
    assert any(name.endswith("/") for name in zipfile.ZipFile(path).namelist())
    assert len(locate(path).archive.index) == 25
