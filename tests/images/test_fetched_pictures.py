from __future__ import annotations

import base64
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from PIL import Image

from tests.support.picture_server import PictureServer, drawn, picture_server
from trialigngr.catalog.dataset import load_catalog
from trialigngr.catalog.items import Catalog
from trialigngr.catalog.prepare import prepare_items
from trialigngr.catalog.settings import CatalogSettings
from trialigngr.foundation.errors import CatalogError, ImageError
from trialigngr.images.download import ImageDownloader, UnreachableError
from trialigngr.images.image_open import DOWNLOAD_REASONS, open_image
from trialigngr.images.image_store import decode_data_url
from trialigngr.images.settings import DownloadSettings, ImageSettings
from trialigngr.images.url_policy import is_allowed_host, is_public, parse_url, resolve_addresses

QUICK = DownloadSettings(timeout=0.6, max_attempts=2, initial_backoff=0.01, max_concurrency=4)


@pytest.fixture(scope="module")
def server() -> Iterator[PictureServer]:
    with picture_server() as one:
        yield one


def known(server: PictureServer, **settings: Any) -> ImageSettings:
    return ImageSettings(**{"allowed_private_hosts": (server.host,), **settings})


def fetch(url: str, what: ImageSettings, how: DownloadSettings = QUICK) -> bytes:
    return ImageDownloader(what, how).download_bytes(url)


def reason(url: str, what: ImageSettings, how: DownloadSettings = QUICK) -> str:
    with pytest.raises(ImageError) as caught:
        fetch(url, what, how)
    assert caught.value.reason in DOWNLOAD_REASONS or caught.value.reason == "too many bytes"
    return caught.value.reason


def test_a_picture_comes_as_it_lies_there(server: PictureServer) -> None:
    assert fetch(server.url("colour/red"), known(server)) == drawn("red")
    assert fetch(server.url("to/colour/red"), known(server)) == drawn("red")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("nothing", "not found"),
        ("gone/410", "not found"),
        ("gone/403", "refused"),
        ("gone/204", "refused"),
        ("gone/500", "server error"),
        ("endless", "too many bytes"),
        ("huge", "too many bytes"),
        ("short", "connection failed"),
        ("drip", "too slow"),
        ("headers_drip", "too slow"),
        ("bomb", "compressed"),
        ("around/0", "too many redirects"),
        ("to/http://169.254.169.254/latest/meta-data", "host not allowed"),
        ("to/http://localhost:1/", "host not allowed"),
        ("to/file:///etc/passwd", "bad address"),
        ("to/http://user@127.0.0.1/", "bad address"),
    ],
)
def test_what_a_bad_server_does_is_told_in_bounded_time(server: PictureServer, path: str, expected: str) -> None:
    began = time.monotonic()
    assert reason(server.url(path), known(server, max_bytes=1_000_000)) == expected
    assert time.monotonic() - began < QUICK.max_attempts * QUICK.timeout + 1


def test_redirects_into_a_private_network_are_refused_although_the_host_is_allowed(server: PictureServer) -> None:
    for inside in ("169.254.169.254", "127.0.0.1", "10.0.0.1", "[::1]", "[::ffff:127.0.0.1]"):
        what = known(server, allowed_hosts=(inside.strip("[]"),))
        assert reason(server.url(f"to/http://{inside}/x"), what) == "private address"


def test_the_address_that_was_checked_is_the_one_that_is_asked(
    server: PictureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that means something else a moment later (DNS rebinding) changes nothing: it is resolved once."""
    real, meanings = socket.getaddrinfo, ["127.0.0.1"]

    def resolve(host: str, port: int, *more: Any, **named: Any) -> list[Any]:
        """Answer once for the name; a second time there is nobody at home. Plain addresses are what they are."""
        return real(meanings.pop() if host == "pictures.test" else host, port, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    host = f"pictures.test:{server.port}"
    assert fetch(f"http://{host}/colour/red", ImageSettings(allowed_private_hosts=(host,))) == drawn("red")
    assert meanings == []


def test_one_private_address_among_public_ones_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, 80)) for one in ("8.8.8.8", "192.168.1.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(ImageError, match=r"cdn\.test is 192\.168\.1\.1.*allowed_private_hosts"):
        resolve_addresses(parse_url("http://cdn.test/x"), allow_private=False)
    assert resolve_addresses(parse_url("http://cdn.test/x"), allow_private=True) == ["8.8.8.8", "192.168.1.1"]


def test_which_addresses_are_open_to_everybody() -> None:
    closed = ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
              "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "::ffff:10.0.0.1", "2002:7f00:1::",
              "64:ff9b::a00:1", "ff02::1"]  # fmt: skip
    assert [one for one in closed if is_public(one)] == []
    assert all(map(is_public, ("8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808")))


@pytest.mark.parametrize(
    "address",
    [
        "fec0::1", "feff:ffff::1", "fe80::1%eth0", "::8.8.8.8", "::127.0.0.1", "::ffff:0:127.0.0.1",
        "::ffff:0:8.8.8.8", "64:ff9b:1::808:808", "2001:0:808:808::f7f7:f7f7", "2001:db8::1", "3fff::1", "5f00::1",
        "100::1", "100:0:0:1::1", "2001:2::1", "2001:20::1", "2002:a00:1::", "2002:7f00:1::", "192.0.0.9",
        "192.0.0.170", "192.88.99.1", "198.18.0.1", "203.0.113.9", "240.0.0.1", "255.255.255.255", "100.64.0.1",
    ],
)  # fmt: skip
def test_addresses_of_special_use_are_closed(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "2a00:1450:4001::1", "2001:4860:4860::8888", "2002:808:808::1"])
def test_addresses_of_everybody_are_open(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    ("named", "url", "fits"),
    [
        ("cdn.shop.com", "https://cdn.shop.com/a.jpg", True),
        ("cdn.shop.com", "https://CDN.shop.com./a.jpg", True),
        ("cdn.shop.com", "https://cdn.shop.com:8443/a.jpg", False),
        ("cdn.shop.com:8443", "https://cdn.shop.com:8443/a.jpg", True),
        ("cdn.shop.com", "https://cdn.shop.com.evil.com/", False),
        ("*.shop.com", "https://a.b.shop.com/", True),
        ("*.shop.com", "https://shop.com/", False),
        ("*.shop.com", "https://evilshop.com/", False),
        ("[2606:4700::1]:81", "http://[2606:4700::1]:81/", True),
        ("2606:4700::1", "http://[2606:4700::1]/", True),
    ],
)
def test_the_hosts_that_a_setting_names(named: str, url: str, fits: bool) -> None:
    assert is_allowed_host(parse_url(url), [named]) is fits


@pytest.mark.parametrize(
    "url", ["ftp://a/b", "http://", "http://a:b@c/", "http://a:99999/", "http://[::1", "//a/b", "http://a b/", ""]
)
def test_what_is_no_plain_address_is_refused(url: str) -> None:
    with pytest.raises(ImageError) as caught:
        parse_url(url)
    assert caught.value.reason == "bad address"


@pytest.mark.parametrize("path", ["busy/429", "busy/503", "cut/blue"])
def test_a_passing_fault_is_tried_again(server: PictureServer, path: str) -> None:
    assert fetch(server.url(path), known(server), QUICK.model_copy(update={"max_attempts": 3})) == drawn("blue")


def test_data_urls() -> None:
    red = drawn("red")
    coded = base64.b64encode(red).decode()
    assert decode_data_url(f"data:image/png;base64,{coded}", 10**6) == red
    assert decode_data_url(f"DATA:image/png;charset=x;BASE64,{coded[:9]} \n{coded[9:]}", 10**6) == red
    assert decode_data_url("data:,a%20b", 10**6) == b"a b"
    for url, said in ((f"data:image/png;base64,{coded[:-3]}", "broken"), ("data:image/png;base64,#", "broken"),
                      ("data:nothing", "broken"), (f"data:;base64,{coded}", "too many bytes")):  # fmt: skip
        with pytest.raises(ImageError) as caught:
            decode_data_url(url, 50)
        assert caught.value.reason == said


def written(folder: Path, **columns: list[Any]) -> Path:
    folder.mkdir(exist_ok=True)
    ids = [f"i{n}" for n in range(len(next(iter(columns.values()))))]
    pl.DataFrame({"item_id": ids, **columns}).write_parquet(folder / "items.parquet")
    return folder / "items.parquet"


def placed(items: Path, out: Path, pictures: ImageSettings, how: DownloadSettings = QUICK) -> tuple[Catalog, Any]:
    out.mkdir(parents=True, exist_ok=True)
    how = how.model_copy(update={"store_folder": str(out.parent / "images")})
    facts = prepare_items(CatalogSettings(images=pictures), items, out, how)
    return load_catalog(out), facts["images"]


def colour_of(catalog: Catalog, row: int) -> tuple[int, ...] | None:
    picture = catalog.open_image(row)
    return None if picture is None else picture.getpixel((0, 0))


def test_every_item_gets_its_own_picture_or_none(server: PictureServer, tmp_path: Path) -> None:
    data = f"data:image/png;base64,{base64.b64encode(drawn('lime')).decode()}"
    (tmp_path / "data").mkdir()
    Image.new("RGB", (9, 9), "yellow").save(tmp_path / "data" / "own.png")
    sources = [server.url("colour/red"), server.url("nothing"), data, "own.png", "data:image/png;base64,AAAA",
               server.url("html"), None, server.url("less"), "http://elsewhere.test/x.png", "lost.png"]  # fmt: skip
    urls = [None] * 9 + [server.url("colour/blue")]
    items = written(tmp_path / "data", image_path=sources, image_url=urls)
    catalog, facts = placed(items, tmp_path / "run" / "catalog", known(server))
    assert [colour_of(catalog, row) for row in range(10)] == [
        (255, 0, 0), None, (0, 255, 0), (255, 255, 0), None, None, None, None, None, (0, 0, 255),
    ]  # fmt: skip
    problems = {"i1": "not found", "i4": "not a picture", "i5": "not a picture", "i7": "broken"}
    assert catalog.image_records.problems == problems | {"i8": "host not allowed"}
    assert facts == {
        "kept": 3,
        "failed": {"not a picture": 2, "not found": 1, "broken": 1, "host not allowed": 1},
    }
    # What was an address is none any more, and no data URL fills the tables.
    table = pl.read_parquet(tmp_path / "run" / "catalog" / "items.parquet")
    assert table["image_path"].drop_nulls().to_list() == ["own.png"]
    assert table["image_url"][0] == sources[0]
    assert table["image_url"][2] is None


def test_what_was_fetched_is_not_fetched_again(server: PictureServer, tmp_path: Path) -> None:
    urls = [server.url(f"colour/#0000{n:02x}") for n in range(10, 30)] + [server.url("gone/500")]
    urls = [url.replace("#", "%23") for url in urls]
    server.asked.clear()
    items = written(tmp_path / "data", image_url=urls)
    first, _ = placed(items, tmp_path / "run" / "catalog", known(server))
    again, _ = placed(items, tmp_path / "run" / "catalog", known(server))
    assert [server.asked[url.removeprefix(f"http://{server.host}")] for url in urls] == [1] * 20 + [
        2 * QUICK.max_attempts
    ]
    assert again.table.equals(first.table)
    # The run, with the pictures in it, can move.
    moved = (tmp_path / "run").rename(tmp_path / "moved")
    assert colour_of(load_catalog(moved / "catalog"), 3) == (0, 0, 13)


def test_an_image_url_is_never_a_path(tmp_path: Path) -> None:
    Image.new("RGB", (2000, 9)).save(tmp_path / "outside.png")
    urls = [str(tmp_path / "outside.png"), "../outside.png", "file:///etc/passwd", "//host/x.png"]
    items = written(tmp_path / "data", image_url=urls)
    catalog, facts = placed(items, tmp_path / "run" / "catalog", ImageSettings())
    assert [catalog.image_file(row) for row in range(4)] == [None] * 4
    assert facts == {"kept": 0, "failed": {}}
    assert not (tmp_path / "run" / "images").exists()


def test_the_log_names_the_hosts_that_are_missing(
    server: PictureServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    urls = ["https://cdn.test/a.png", "https://cdn.test:8443/b.png", server.url("to/https://away.test/c.png")]
    placed(written(tmp_path / "data", image_url=urls), tmp_path / "run" / "catalog", known(server))
    assert "does not name (cdn.test 1, cdn.test:8443 1, away.test 1)" in capsys.readouterr().err


def test_another_run_s_pictures_are_none_of_a_run_that_may_not_fetch(server: PictureServer, tmp_path: Path) -> None:
    items = written(tmp_path / "data", image_url=[server.url("colour/red")])
    placed(items, tmp_path / "run" / "catalog", known(server))
    catalog, facts = placed(items, tmp_path / "run" / "other", ImageSettings())
    assert catalog.image_file(0) is None
    assert facts == {"kept": 0, "failed": {"host not allowed": 1}}


@pytest.mark.parametrize("long_side", [300, 1024, 1800])
def test_a_picture_is_reduced_once_and_opens_as_its_source_would(
    server: PictureServer, tmp_path: Path, long_side: int
) -> None:
    (tmp_path / "data").mkdir()
    noisy = Image.effect_noise((2100, 700), 80).convert("RGB")
    noisy.save(tmp_path / "data" / "noisy.jpg", quality=95)
    noisy.resize((200, 90)).save(tmp_path / "data" / "small.png")
    items = written(tmp_path / "data", image_path=["noisy.jpg", "small.png", server.url("large/teal")])
    catalog, facts = placed(items, tmp_path / "run" / "catalog", known(server, longest_edge=long_side))
    assert facts == {"kept": 2, "failed": {}}
    for row, name in ((0, "noisy.jpg"), (1, "small.png")):
        kept = catalog.open_image(row)
        assert kept is not None
        assert kept.tobytes() == open_image(tmp_path / "data" / name, long_side).tobytes()
    assert catalog.image_file(1) == tmp_path / "data" / "small.png"
    assert [max(catalog.open_image(row).size) for row in range(3)] == [long_side, 200, long_side]
    assert len({catalog.hash_image(row) for row in range(3)}) == 3


def test_pictures_below_the_limit_are_the_same_under_any_limit(server: PictureServer, tmp_path: Path) -> None:
    items = written(tmp_path / "data", image_url=[server.url("colour/red")])
    one, _ = placed(items, tmp_path / "a" / "catalog", known(server, longest_edge=64))
    other, _ = placed(items, tmp_path / "b" / "catalog", known(server, longest_edge=4096))
    assert one.open_image(0).tobytes() == other.open_image(0).tobytes()
    assert one.hash_image(0) == other.hash_image(0)


def test_when_the_network_is_gone_the_stage_stops_and_says_so(server: PictureServer, tmp_path: Path) -> None:
    urls = [server.url("colour/red"), *(f"{server.url('gone/500')}?{n}" for n in range(9))]
    items = written(tmp_path / "data", image_url=urls)
    how = QUICK.model_copy(update={"max_attempts": 1, "max_consecutive_failures": 5})
    with pytest.raises(CatalogError, match=r"last 5 pictures could not be reached.*status 500"):
        placed(items, tmp_path / "run" / "catalog", known(server), how)
    # 404 is an answer: the network is there.
    items = written(tmp_path / "data", image_url=[f"{server.url('nothing')}?{n}" for n in range(9)])
    assert placed(items, tmp_path / "run" / "catalog", known(server), how)[1]["failed"] == {"not found": 9}


def test_many_are_fetched_at_one_time(server: PictureServer, tmp_path: Path) -> None:
    items = written(tmp_path / "data", image_url=[server.url(f"together/%23{n:06x}") for n in range(16)])
    catalog, _ = placed(items, tmp_path / "run" / "catalog", known(server), DownloadSettings(max_concurrency=16))
    assert [colour_of(catalog, row) for row in range(16)] == [(0, 0, n) for n in range(16)]


def test_a_dead_server_is_a_passing_fault() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(UnreachableError):
            fetch(f"http://{host}/x", ImageSettings(allowed_private_hosts=(host,)))
