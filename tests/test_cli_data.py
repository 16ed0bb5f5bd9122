"""``hsgeo data`` and what it downloads with: a local server stands in for the real one."""

from __future__ import annotations

import hashlib
import io
import json
import os
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from hyperspectral_geo.data import catalogue, download
from hyperspectral_geo.data.catalogue import CATALOGUE, Archive
from hyperspectral_geo.data.download import download_data_set, unpack

TOP = "wikispeedia_paths-and-graph"
TABLES = {"articles.tsv": b"a\nb\n", "links.tsv": b"a\tb\n", "categories.tsv": b"a\tsubject.X\n"}


def packed(members: dict[str, bytes | tarfile.TarInfo]) -> bytes:
    """A .tar.gz of plain files, and of whatever else is given."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, content in members.items():
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            body = b"" if isinstance(content, tarfile.TarInfo) else content
            info.name, info.size = name, len(body)
            archive.addfile(info, io.BytesIO(body))
    return file.getvalue()


GOOD = packed({f"{TOP}/{name}": content for name, content in TABLES.items()})
TEXT = packed({"plaintext_articles/a.txt": b"A"})


class Server(ThreadingHTTPServer):
    """Serves ``pages``: the bytes at each path, or a function that answers."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages: dict[str, bytes | Callable[[Handler], None]] = {}
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        page = self.server.pages.get(self.path) or status(404)  # pyright: ignore[reportAttributeAccessIssue]
        (page if callable(page) else sends(page, len(page)))(self)

    def log_message(self, format: str, *rest: object) -> None:
        pass


def status(code: int, **headers: str) -> Callable[[Handler], None]:
    def answer(handler: Handler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()

    return answer


def sends(content: bytes, length: int) -> Callable[[Handler], None]:
    """Announces ``length`` bytes, sends what there is, and hangs up."""

    def answer(handler: Handler) -> None:
        status(200, **{"Content-Length": str(length)})(handler)
        handler.wfile.write(content)

    return answer


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    """A server of a good and a small wikispeedia, which the catalogue is made to point at, and an empty cache."""
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        running.pages = {"/graph.tar.gz": GOOD, "/text.tar.gz": TEXT}
        archives = (
            Archive(f"{running.url}/graph.tar.gz", len(GOOD), hashlib.sha256(GOOD).hexdigest(), top=TOP),
            Archive(f"{running.url}/text.tar.gz", len(TEXT), hashlib.sha256(TEXT).hexdigest(), keep_as="text.tar.gz"),
        )
        monkeypatch.setitem(CATALOGUE, "wikispeedia", replace(CATALOGUE["wikispeedia"], archives=archives))
        monkeypatch.setenv("HSGEO_CACHE", str(tmp_path / "cache"))
        monkeypatch.delenv("HSGEO_DATA", raising=False)
        monkeypatch.setenv("no_proxy", "*")
        yield running
        running.shutdown()
        thread.join()


fetched = partial(download_data_set, "wikispeedia", _schemes=("http",))


def left(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def test_a_download_is_checked_unpacked_and_recorded(server: Server, tmp_path: Path):
    seen = []
    folder = fetched(progress=lambda *step: seen.append(step))
    assert folder == tmp_path / "cache" / "wikispeedia" == catalogue.find_data_set("wikispeedia")
    assert left(folder) == ["articles.tsv", "categories.tsv", "links.tsv", "source.json", "text.tar.gz"]
    assert (folder / "links.tsv").read_bytes() == b"a\tb\n"
    assert (folder / "text.tar.gz").read_bytes() == TEXT
    record = json.loads((folder / "source.json").read_text())
    assert record["files"][0]["sha256"] == hashlib.sha256(GOOD).hexdigest()
    assert [path.name for path in folder.parent.iterdir()] == ["wikispeedia"]
    assert seen[-1] == ("text.tar.gz", len(TEXT), len(TEXT))
    with pytest.raises(FileExistsError, match="remove it to download it again"):
        fetched()


def test_it_goes_into_a_folder_of_choice(server: Server, tmp_path: Path):
    assert fetched(to=tmp_path) == tmp_path / "wikispeedia"
    with pytest.raises(FileNotFoundError, match="existing folder"):
        fetched(to=tmp_path / "none")


BAD_PAGES = {
    "missing": (lambda _: status(404), OSError, "got 'Not Found'; check the network"),
    "broken": (lambda _: status(500), OSError, "check the network"),
    "cut short": (lambda whole: sends(whole[:-9], len(whole)), (OSError, ValueError), "check the network|bytes, got"),
    "short": (lambda whole: whole[:-9], ValueError, r"expected [\d,]+ bytes, got \d+"),
    "empty": (lambda _: sends(b"", 0), ValueError, "bytes, got 0"),
    "long": (lambda whole: whole + b"x", ValueError, "bytes, got more"),
    "changed": (lambda whole: whole[:-1] + b"x", ValueError, "expected SHA-256 .*, got .* is not used"),
    "to a file": (lambda _: status(302, Location="file:///etc/passwd"), OSError, "file:///etc/passwd' is not allowed"),
    "to ftp": (lambda _: status(302, Location="ftp://127.0.0.1/x"), ValueError, "ftp://127.0.0.1/x: .* not opened"),
    "to another": (lambda _: status(302, Location="https://127.0.0.1:1/x"), ValueError, "expected an address by http,"),
}


@pytest.mark.parametrize(("page", "error", "said"), BAD_PAGES.values(), ids=BAD_PAGES)
@pytest.mark.parametrize("path", ["/graph.tar.gz", "/text.tar.gz"])
def test_a_failed_download_leaves_nothing(page, error, said: str, path: str, server: Server, tmp_path: Path):
    server.pages[path] = page(server.pages[path])
    with pytest.raises(error, match=said):
        fetched(to=tmp_path)
    assert left(tmp_path) == []
    assert not list(tmp_path.glob(".wikispeedia*"))


def test_an_interrupt_leaves_nothing(server: Server, tmp_path: Path):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetched(to=tmp_path, progress=interrupt)
    assert list(tmp_path.iterdir()) == []
    assert fetched(to=tmp_path).is_dir()


def test_what_a_killed_download_left_is_removed_a_day_later(server: Server, tmp_path: Path):
    for name, age in ((".wikispeedia.old.tmp", 100_000), (".wikispeedia.running.tmp", 0)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "archive.tar.gz").write_bytes(b"half")
        os.utime(tmp_path / name, times=(time.time() - age,) * 2)
    fetched(to=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".wikispeedia.running.tmp", "wikispeedia"]


def test_only_https_is_spoken(server: Server, tmp_path: Path):
    with pytest.raises(ValueError, match="expected an address by https, got another"):
        download_data_set("wikispeedia", to=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_without_network_the_remedy_is_said(server: Server, tmp_path: Path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/graph.tar.gz"
    entry = CATALOGUE["wikispeedia"]
    CATALOGUE["wikispeedia"] = replace(entry, archives=(replace(entry.archives[0], url=url),))
    with pytest.raises(OSError, match="Connection refused.*check the network, or fetch it elsewhere"):
        fetched(to=tmp_path)
    assert list(tmp_path.iterdir()) == []


# Unpacking


def member(kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo()
    info.type, info.linkname = kind, target
    return info


HOSTILE = {
    "above": ({f"{TOP}/../../x": b"x"}, "a path that leads out"),
    "at the root": ({"/etc/x": b"x"}, "a path that leads out"),
    "another drive": ({"C:/x": b"x"}, "a path that leads out"),
    "backslashes": ({f"{TOP}\\..\\x": b"x"}, "a path that leads out"),
    "elsewhere": ({"other/x": b"x"}, f"expected everything below {TOP}/"),
    "top is a file": ({TOP: b"x"}, f"expected everything below {TOP}/"),
    "a symbolic link": ({f"{TOP}/x": member(tarfile.SYMTYPE, "/etc/passwd")}, "a link or a device"),
    "a link inside": ({f"{TOP}/x": member(tarfile.SYMTYPE, "y")}, "a link or a device"),
    "a hard link": ({f"{TOP}/x": member(tarfile.LNKTYPE, f"{TOP}/y")}, "a link or a device"),
    "a device": ({f"{TOP}/x": member(tarfile.CHRTYPE)}, "a link or a device"),
    "a pipe": ({f"{TOP}/x": member(tarfile.FIFOTYPE)}, "a link or a device"),
    "one path twice": ({f"{TOP}/x": b"1", f"{TOP}/./x": b"2"}, "expected each path once"),
    "a file as folder": ({f"{TOP}/x": b"1", f"{TOP}/x/y": b"2"}, "expected each path once"),
    "a bomb": ({f"{TOP}/x": b"\0" * 1_000_000}, "32 times its bytes"),
}


@pytest.mark.parametrize(("members", "said"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_archives_are_refused(members: dict, said: str, tmp_path: Path):
    (tmp_path / "x.tar.gz").write_bytes(packed(members))
    (tmp_path / "in").mkdir()
    with pytest.raises(ValueError, match=said):
        unpack(tmp_path / "x.tar.gz", tmp_path / "in", top=TOP)
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))
    assert {path.name for path in tmp_path.iterdir()} == {"x.tar.gz", "in"}


DAMAGED = [b"", b"\x1f\x8b", GOOD[:40], GOOD[: len(GOOD) // 2], b"plain text", GOOD[:60] + b"x" + GOOD[61:]]


@pytest.mark.parametrize("content", DAMAGED)
def test_damaged_archives_are_refused(content: bytes, tmp_path: Path):
    (tmp_path / "x.tar.gz").write_bytes(content)
    with pytest.raises(ValueError, match="expected a whole .tar.gz"):
        unpack(tmp_path / "x.tar.gz", tmp_path, top=TOP)


# The commands


def test_list_shows_all_there_is_to_know(
    server: Server, hsgeo: Callable[..., int], capsys, tmp_path: Path, monkeypatch
):
    assert hsgeo("data", "list") == 0
    shown = capsys.readouterr().out
    for entry in CATALOGUE.values():
        for text in (entry.name, entry.what, entry.size, entry.licence, entry.source):
            assert text in shown
    assert "no: hsgeo data get wikispeedia" in shown
    assert "no: put ncbi_taxonomy_20240907.npz into taxonomy/" in shown
    monkeypatch.setenv("HSGEO_DATA", str(fetched(to=tmp_path).parent))
    assert hsgeo("data", "list") == 0
    assert f"here     {tmp_path / 'wikispeedia'}" in capsys.readouterr().out


def test_get_downloads_once(server: Server, hsgeo: Callable[..., int], capsys, monkeypatch):
    monkeypatch.setattr(download, "download_data_set", partial(download_data_set, _schemes=("http",)))
    assert hsgeo("data", "get", "wikispeedia") == 0
    shown = capsys.readouterr().out
    assert hashlib.sha256(GOOD).hexdigest() in shown
    server.pages.clear()
    assert hsgeo("data", "get", "wikispeedia") == 0
    assert "already here" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["wordnet"], 0, "wordnet: already here"),
        (["nothing"], 2, "expected one of wordnet, emoji, wikispeedia, taxonomy, got 'nothing'"),
        (["taxonomy"], 2, "expected ncbi_taxonomy_20240907.npz in"),
        (["wikispeedia", "--to", "no/such/folder"], 2, "expected an existing folder"),
        (["wikispeedia"], 2, "expected an address by https"),
        ([], 2, "Missing argument"),
    ],
)
def test_get_says_what_is_wrong(server: Server, hsgeo, capsys, arguments: list[str], code: int, said: str):
    assert hsgeo("data", "get", *arguments) == code
    captured = capsys.readouterr()
    assert said in " ".join((captured.out + captured.err).split())


def test_neither_command_imports_torch():
    script = (
        "import sys; from typer.testing import CliRunner; from hyperspectral_geo.cli import app; "
        "codes = [CliRunner().invoke(app, ['data', *rest]).exit_code for rest in (['list'], ['get', 'wordnet'])]; "
        "print(codes, [name for name in ('torch', 'numpy', 'pyarrow') if name in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=Path(__file__).parents[1]
    )
    assert found.stdout.strip() == "[0, 0] []", found.stdout + found.stderr
