"""Archives at addresses: read by ranges, tried again where that may help, safe in workers."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from clan.config.loading import load_config
from clan.core.errors import DataError
from clan.data.archives import storage
from clan.data.archives.paths import locate
from clan.data.archives.storage import without_secrets
from clan.data.cache import open_cache
from clan.data.datasets import open_dataset
from clan.data.images import image_size, read_image
from clan.data.loading import training_loader
from clan.data.pack import pack
from clan.data.views import ViewOptions
from clan.training.domains import open_domains
from clan.training.train import train
from tests.systems import same, tensors, tiny, write_street

fsspec = pytest.importorskip("fsspec")
pytest.importorskip("aiohttp")


class Server:
    """Serves the files of a folder by ranges, and does as told to be unreliable."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[tuple[str, str]] = []
        self.sent = 0
        self.failures: list[int | str] = []
        """What to do with the next requests for content: a status, `cut`, `whole`, or `close`."""

    def __enter__(self) -> Server:
        handler = type("Bound", (_Handler,), {"told": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


class _Handler(BaseHTTPRequestHandler):
    told: ClassVar[Server]
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        told = self.told
        told.asked.append((self.command, self.headers.get("Range", "")))
        path = told.folder / self.path.split("?")[0].lstrip("/")
        failure = told.failures.pop(0) if body and told.failures else None
        if failure == "close":
            self.close_connection = True
            return
        if isinstance(failure, int) or not path.is_file():
            self.send_response(failure if isinstance(failure, int) else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data, status = path.read_bytes(), 200
        span = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        whole = len(data)
        if span and failure != "whole":
            data, status = data[int(span[1]) : int(span[2]) + 1], 206
        self.send_response(status)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(data)))
        if status == 206:
            self.send_header("Content-Range", f"bytes {span[1]}-{span[2]}/{whole}")
        self.end_headers()
        if body:
            data = data[: len(data) // 2] if failure == "cut" else data
            told.sent += len(data)
            self.wfile.write(data)
            self.close_connection = failure == "cut"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path) as server:
        yield server


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found: list[float] = []
    monkeypatch.setattr(storage.time, "sleep", found.append)
    return found


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize(
    "workers",
    [
        0,
        pytest.param(
            2, marks=pytest.mark.skipif(sys.platform != "linux", reason="workers are forked")
        ),
    ],
)
def test_batches_are_those_of_the_folder(
    camvid: Path, archived: Callable[[str], Path], server: Server, kind: str, workers: int
) -> None:
    archived(kind)
    found = []
    for root in (None, f"{server.url}/camvid.{kind}"):
        dataset = open_dataset(str(camvid), root=root)
        view = ViewOptions(size=(16, 24))
        cache = open_cache(dataset, view, "memory" if root else "none", 1)
        loader = training_loader(
            dataset, view, seed=3, stream=0, batch_size=2, start_step=0, stop_step=9,
            workers=workers, cache=cache,
        )  # fmt: skip
        found.append([(b["name"], b["image"].numpy(), b["label"].numpy()) for b in loader])
    for plain, remote in zip(*found, strict=True):
        assert plain[0] == remote[0]
        assert np.array_equal(plain[1], remote[1])
        assert np.array_equal(plain[2], remote[2])


def test_only_ranges_are_asked_for(camvid: Path, archived, server: Server) -> None:
    """Bytes are padded: what is not needed must not come."""
    filler = camvid.parent / "images/filler.bin"
    filler.write_bytes(np.random.default_rng(0).bytes(1 << 20))
    archived("zip")
    dataset = open_dataset(str(camvid), root=f"{server.url}/camvid.zip")
    image, label = dataset.read(3)
    assert image_size(dataset.items[3].image) == image.shape[:2] == label.shape
    assert all(method == "HEAD" or span.startswith("bytes=") for method, span in server.asked)
    assert server.sent < 1 << 18
    assert np.array_equal(image, read_image(camvid.parent / "images/train/f003.jpg"))


@pytest.mark.parametrize("failure", [503, 500, 429, 408, "cut", "close"])
def test_what_may_pass_is_tried_again(
    camvid: Path, archived, server: Server, pauses: list[float], failure: int | str
) -> None:
    archived("tar")
    dataset = open_dataset(str(camvid), root=f"{server.url}/camvid.tar")
    assert pauses == []
    server.failures = [failure, failure]
    image = dataset.read_image(0)
    assert np.array_equal(image, read_image(camvid.parent / "images/train/f000.jpg"))
    assert server.failures == []
    # aiohttp itself asks once more where a connection was closed before an answer
    assert pauses == [0.5, 1.0] or (failure == "close" and pauses in ([0.5], []))


def test_tries_end(camvid: Path, archived, server: Server, pauses: list[float]) -> None:
    archived("zip")
    dataset = open_dataset(str(camvid), root=f"{server.url}/camvid.zip")
    server.failures = [503] * 5
    with pytest.raises(DataError, match=r"camvid\.zip: cannot be read, tried 5 times \(503"):
        dataset.read_image(0)
    assert server.failures == []
    assert pauses == [0.5, 1.0, 2.0, 4.0]
    assert dataset.read_image(0).shape == (24, 40, 3)


@pytest.mark.parametrize(("failure", "said"), [(403, "tried 1 times"), (404, "no such file")])
def test_what_will_not_pass_is_not_tried_again(
    camvid: Path, archived, server: Server, pauses: list[float], failure: int, said: str
) -> None:
    archived("zip")
    dataset = open_dataset(str(camvid), root=f"{server.url}/camvid.zip")
    server.failures = [failure]
    with pytest.raises(DataError, match=said):
        dataset.read_image(0)
    assert pauses == []


def test_a_server_without_ranges_is_refused(camvid: Path, archived, server: Server) -> None:
    filler = camvid.parent / "images/filler.bin"
    filler.write_bytes(bytes(1 << 18))
    archived("zip")
    server.failures = ["whole"] * 3
    with pytest.raises(DataError, match="need a server that answers Range requests"):
        open_dataset(str(camvid), root=f"{server.url}/camvid.zip")


def test_what_is_not_there(camvid: Path, archived, server: Server, pauses: list[float]) -> None:
    archived("tar").with_name("camvid.tar.index").unlink()
    for name in ("none.zip", "camvid.tar"):
        with pytest.raises(DataError, match=r"(none\.zip|camvid\.tar\.index): no such file"):
            open_dataset(str(camvid), root=f"{server.url}/{name}")
    assert pauses == []
    with pytest.raises(DataError, match="no such kind of address"):
        locate("nosuch://host/data.zip")
    server.server.shutdown()
    server.server.server_close()
    with pytest.raises(DataError, match=r"none\.zip: (cannot be read, tried 5 times|no such file)"):
        locate(f"{server.url}/none.zip")


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_training_from_memory(tmp_path: Path, kind: str) -> None:
    """The whole of fsspec is a storage; the configuration keeps the address as it is."""
    write_street(tmp_path / "street")
    plain = train(tiny(tmp_path / "street", "tan", "training.steps=2"), tmp_path / "plain")
    fs = fsspec.filesystem("memory")
    for domain in ("game", "photos"):
        out = tmp_path / f"{domain}.{kind}"
        for path in pack(str(tmp_path / f"street/{domain}/{domain}.yaml"), out).files:
            fs.pipe_file(f"/{kind}/{path.name}", path.read_bytes())
    changes = [
        f"data.{name}.root=memory://{kind}/{domain}.{kind}"
        for name, domain in (("source", "game"), ("target", "photos"), ("validation", "photos"))
    ]
    run = train(tiny(tmp_path / "street", "tan", "training.steps=2", *changes), tmp_path / "remote")
    assert same(tensors(run), tensors(plain))
    kept = load_config(run.config_file).data
    assert kept.source.root == f"memory://{kind}/game.{kind}"
    base = kept.model_copy(
        update={
            "root": f"memory://{kind}",
            "source": kept.source.model_copy(update={"root": f"game.{kind}"}),
        }
    )
    assert str(open_domains(base).source.items[0].image).startswith(f"memory://{kind}/game.{kind}/")


def test_photos_and_descriptions_at_an_address(camvid: Path, archived) -> None:
    fs = fsspec.filesystem("memory")
    fs.pipe_file("/some/camvid.zip", archived("zip").read_bytes())
    photos = open_dataset("memory://some/camvid.zip/images")
    assert len(photos) == 12
    assert str(photos.items[0].image) == "memory://some/camvid.zip/images/train/f000.jpg"
    text = camvid.read_text()
    camvid.write_text(f"root: memory://some/camvid.zip\n{text}")
    assert len(open_dataset(str(camvid))) == 7
    # another file of that name is opened anew
    fs.pipe_file("/some/camvid.zip", b"damaged")
    with pytest.raises(DataError, match=r"memory://some/camvid\.zip: a damaged or truncated zip"):
        open_dataset(str(camvid))


def test_a_bucket_of_s3(
    camvid: Path, archived, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same server is enough of S3's protocol: an object's head, and its ranges."""
    pytest.importorskip("s3fs")
    bucket = archived("zip").parent / "bucket"
    bucket.mkdir()
    archived("zip").rename(bucket / "camvid.zip")
    options = {"anon": True, "endpoint_url": server.url}
    monkeypatch.setitem(fsspec.config.conf, "s3", options)
    dataset = open_dataset(str(camvid), root="s3://bucket/camvid.zip")
    image, label = dataset.read(2)
    assert np.array_equal(image, read_image(camvid.parent / "images/train/f002.jpg"))
    assert label is not None
    assert str(dataset.items[2].image) == "s3://bucket/camvid.zip/images/train/f002.jpg"
    assert {span.startswith("bytes=") for method, span in server.asked if method == "GET"} == {True}


def test_messages_hide_keys() -> None:
    url = "https://me:secret@host.org:80/a/b.zip?signature=secret"
    assert without_secrets(url) == "https://host.org:80/a/b.zip"


def test_keys_stay_hidden_in_errors(server: Server, camvid: Path, archived) -> None:
    archived("zip")
    url = f"{server.url}/camvid.zip?signature=secret"
    dataset = open_dataset(str(camvid), root=url)
    assert "secret" not in str(dataset.items[0].image)
    assert dataset.read_image(0).shape == (24, 40, 3)
    server.failures = [403]
    with pytest.raises(DataError) as error:
        dataset.read_image(0)
    assert "secret" not in str(error.value)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(DataError, match=r"needs the extra `remote`: pip install 'clan\[remote\]'"):
        locate("memory://some/camvid.zip")
