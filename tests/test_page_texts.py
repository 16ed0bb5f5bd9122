"""Texts of pages from files, folders and Wikispeedia, and what is refused with file and line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from hyperspectral_geo.data import article_text, page_texts, read_page_texts

PAGES = {"Beer": "Beer is brewed.\nFrom barley.", "Édouard Manet": "peintre", " 北京/": "", '"': "\0"}


def lines(pages: dict[str, str]) -> str:
    return "".join(json.dumps({"title": title, "text": text, "more": [1]}) + "\n" for title, text in pages.items())


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz"])
@pytest.mark.parametrize("before", ["", "\ufeff", "\n \n"], ids=["plain", "mark", "blank lines"])
def test_a_file_of_lines(tmp_path: Path, ending: str, before: str):
    path = tmp_path / f"pages{ending}"
    content = (before + lines(PAGES).replace("\n", "\r\n")).encode()
    path.write_bytes(gzip.compress(content) if ending.endswith("gz") else content)
    assert read_page_texts(path) == read_page_texts(str(path)) == PAGES
    assert list(read_page_texts(path)) == list(PAGES)


def test_a_folder(tmp_path: Path):
    (tmp_path / "Beer.txt").write_text("brewed")
    (tmp_path / "A. B (c).txt").write_text("été", "utf-8")
    (tmp_path / "notes.md").write_text("not a page")
    assert read_page_texts(tmp_path) == {"A. B (c)": "été", "Beer": "brewed"}


def test_wikispeedia(shared_data):
    shared_data("wikispeedia")
    found, (name, text) = read_page_texts("wikispeedia"), next(article_text())
    assert found[name] == text
    assert len(found) >= 4598


GOOD = '{"title": "a", "text": "b"}\n'
BAD_LINES = {
    "no JSON": "{",
    "a list": "[1]",
    "a text": '"a"',
    "a number": "1",
    "no text": '{"title": "b"}',
    "no title": '{"text": "b"}',
    "a blank title": '{"title": " ", "text": "b"}',
    "text a number": '{"title": "b", "text": 1}',
    "text null": '{"title": "b", "text": null}',
    "title a list": '{"title": ["b"], "text": "c"}',
    "half a character": '{"title": "b", "text": "\\ud800"}',
    "half a character in a title": '{"title": "\\udc00", "text": ""}',
    "two on a line": GOOD.strip() * 2,
    "a title again": '{"title": "a", "text": "other"}',
    "nested": "[" * 100_000,
    "a huge number": "1" * 10_000,
}


@pytest.mark.parametrize("bad", BAD_LINES.values(), ids=BAD_LINES)
def test_a_bad_line_is_named(tmp_path: Path, bad: str):
    path = tmp_path / "pages.jsonl"
    path.write_text(f"{GOOD}\n{bad}\n")
    with pytest.raises(ValueError, match=f"^{path}, line 3: expected ") as caught:
        read_page_texts(path)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("bad", [b"\xff\n", b'{"title": "\xe9", "text": ""}\n', b"\0\n"], ids=repr)
def test_bytes_that_are_no_text_are_named(tmp_path: Path, bad: bytes):
    path = tmp_path / "pages.jsonl"
    path.write_bytes(GOOD.encode() + bad)
    with pytest.raises(ValueError, match=f"^{path}, line 2: expected a JSON object"):
        read_page_texts(path)


def test_a_line_or_file_without_end_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(page_texts, "_MOST_TEXT", 100)
    path = tmp_path / "pages.jsonl"
    path.write_text(GOOD + json.dumps({"title": "b", "text": "x" * 100}))
    with pytest.raises(ValueError, match="line 2: expected at most 16 MiB"):
        read_page_texts(path)
    folder = tmp_path / "pages"
    folder.mkdir()
    (folder / "a.txt").write_text("x" * 101)
    with pytest.raises(ValueError, match=r"a\.txt: expected at most 16 MiB of text, got 101 bytes"):
        read_page_texts(folder)


@pytest.mark.parametrize("damage", ["cut", "changed", "plain"])
def test_a_damaged_archive_is_refused(tmp_path: Path, damage: str):
    path, whole = tmp_path / "pages.jsonl.gz", gzip.compress(lines(PAGES).encode() * 50)
    middle = len(whole) // 2
    content = {
        "cut": whole[:-9],
        "changed": whole[:middle] + b"\xff\0\xff" + whole[middle + 3 :],
        "plain": GOOD.encode(),
    }
    path.write_bytes(content[damage])
    with pytest.raises(ValueError, match=f"^{path}"):
        read_page_texts(path)


def test_a_folder_of_other_bytes_or_nothing(tmp_path: Path):
    with pytest.raises(ValueError, match=r"expected files TITLE\.txt, got none"):
        read_page_texts(tmp_path)
    (tmp_path / "a.txt").write_bytes(b"caf\xe9")
    with pytest.raises(ValueError, match=r"a\.txt: expected UTF-8, got byte 3"):
        read_page_texts(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "error", "said"),
    [
        ("pages.jsonl", "", ValueError, "expected pages, got an empty file"),
        ("pages.jsonl", "\n\n", ValueError, "expected pages, got an empty file"),
        ("pages.csv", "a,b", ValueError, r"expected a file \.jsonl or \.jsonl\.gz of pages, got '\.csv'"),
        ("pages", "a", ValueError, "got 'no ending'"),
        ("missing.jsonl", None, FileNotFoundError, "expected wikispeedia, a .jsonl file or a folder"),
    ],
)
def test_other_files(tmp_path: Path, name: str, content: str | None, error: type[Exception], said: str):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(error, match=said):
        read_page_texts(tmp_path / name)
