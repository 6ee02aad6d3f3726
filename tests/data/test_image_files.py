"""Files that hold a program up, and images whose names do not say that they are."""

import os
import shutil
import socket
import time
from pathlib import Path

import pytest

from vggnet.cli import run
from vggnet.data import image_files as opening
from vggnet.data.image_files import begins_like_image, header_problem
from vggnet.data.listing import images_at, unlabelled_folder
from vggnet.data.opening import open_data
from vggnet.data.splits import Split
from vggnet.errors import BadImage, UserError
from vggnet.images.decoding import decode
from vggnet.images.gpu.decoding import read_file
from vggnet.images.scanning import scan
from vggnet.localization.objects import measure_sizes


def sparse(path: Path, start: bytes, size: int) -> Path:
    with path.open("wb") as file:
        file.write(start)
        file.truncate(size)
    return path


JPEG = b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"
GIF = b"GIF89a\x10\0\x10\0\x80\0\0\0\0\0\xff\xff\xff"
WEBP = b"RIFF\xff\xff\xff\x7fWEBPVP8 "


def test_a_fifo_is_named_and_not_waited_for(tmp_path, make_image):
    make_image("d/a.jpg")
    os.mkfifo(tmp_path / "d" / "x.jpg")
    path = str(tmp_path / "d" / "x.jpg")
    with pytest.raises(BadImage, match=r"x\.jpg: this is a FIFO, not a file with an image"):
        decode(path)
    assert "FIFO" in header_problem(path)
    assert read_file(path) is None
    split = unlabelled_folder(tmp_path / "d")
    assert [error.path for error in scan(split).bad] == [path]
    assert measure_sizes(split).tolist() == [[40, 30], [0, 0]]


def test_devices_sockets_and_folders_are_named(tmp_path, monkeypatch):
    (tmp_path / "a.jpg").symlink_to("/dev/zero")
    with pytest.raises(BadImage, match=r"a\.jpg: this is a device"):
        decode(str(tmp_path / "a.jpg"))
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("b.jpg")
        with pytest.raises(BadImage, match="this is a socket"):
            decode("b.jpg")
    (tmp_path / "c.jpg").mkdir()
    with pytest.raises(BadImage, match="this is a folder"):
        decode(str(tmp_path / "c.jpg"))


@pytest.mark.parametrize("command", ["predict", "evaluate", "train"])
def test_commands_end_with_the_files_name(tmp_path, make_image, capsys, command):
    from vggnet.network.initialization import build
    from vggnet.network.weights import save_model

    for name in ("a", "b"):
        for number in range(4):
            make_image(f"data/{name}/{number}.png", seed=number)
    os.mkfifo(tmp_path / "data" / "b" / "x.jpg")
    data, model = str(tmp_path / "data"), str(tmp_path / "model.safetensors")
    description = build("A", num_classes=2, width=1 / 16, crop=32)
    import dataclasses

    description.description = dataclasses.replace(description.description, classes=("a", "b"))
    save_model(model, description)
    more = {
        "predict": [model, data],
        "evaluate": [model, data, "--test-scale", "32", "--device", "cpu"],
        "train": [data, "--net", "A", "--out", str(tmp_path / "run"), "--device", "cpu", "--workers", "0"],
    }[command]
    assert run([command, *more]) == 2
    assert "b/x.jpg: this is a FIFO" in capsys.readouterr().err


@pytest.mark.parametrize("start", [JPEG, GIF, WEBP, b"II*\0\x08\0\0\0", b"\x89PNG\r\n\x1a\n", b"BM"])
def test_a_file_of_10_gb_is_refused_at_once(tmp_path, start):
    path = str(sparse(tmp_path / "x.jpg", start, 10 * 10**9))
    begin = time.monotonic()
    with pytest.raises(BadImage, match=r"x\.jpg: 10,000,000,000 bytes are more than 1,073,741,824"):
        decode(path)
    assert "more than" in header_problem(path)
    assert read_file(path) is None
    assert measure_sizes(Split(str(tmp_path), ("x.jpg",))).tolist() == [[0, 0]]
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize("start", [JPEG, GIF])
def test_a_search_through_zeros_ends(tmp_path, monkeypatch, start):
    monkeypatch.setattr(opening, "MAX_SECONDS", 0.1)
    path = sparse(tmp_path / "x.jpg", start, 500 * 10**6)
    begin = time.thread_time()
    with pytest.raises(BadImage, match=r"x\.jpg: decoding takes more than 0\.1 s"):
        decode(str(path))
    assert time.thread_time() - begin < 2


def test_the_limit_of_time_is_for_each_image(make_image, monkeypatch):
    path = str(make_image("a.jpg", size=(300, 200)))
    monkeypatch.setattr(opening, "MAX_SECONDS", 0.2)
    begin = time.thread_time()
    while time.thread_time() - begin < 0.5:
        decode(path)


NAMES = ("0a1b2c", "photo", "1.2.840.10008.1", "pic.jpg_large", "pic.jpg?size=2", "b.jpg~")


@pytest.mark.parametrize("extension", ["jpg", "png", "gif", "bmp", "webp", "tif", "ppm"])
def test_images_without_an_extension_are_known_by_their_content(make_image, tmp_path, extension):
    for part in ("train/cat", "train/dog", "val/cat", "val/dog"):
        for place, name in enumerate(NAMES):
            source = make_image(f"source.{extension}", seed=place)
            target = tmp_path / "data" / part / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    data = open_data(str(tmp_path / "data"))
    assert data.classes == ("cat", "dog")
    assert (len(data.train), len(data.val)) == (12, 12)
    assert data.notes == ()
    assert scan(data.train).bad == ()


def test_other_files_without_an_extension_are_counted_and_no_images(make_image, tmp_path):
    make_image("d/cat/1.png")
    texts = ("BM25 is a ranking", "P3 was measured", "P1\n", "RIFF and raff", "", "all: images\n", "II*")
    for place, text in enumerate(texts):
        (tmp_path / "d" / "cat" / f"notes{place}").write_text(text)
    os.mkfifo(tmp_path / "d" / "cat" / "pipe")
    (tmp_path / "d" / "cat" / "list.txt").write_bytes(JPEG)  # another program's file is not looked into
    data = open_data(str(tmp_path / "d"), whole=True)
    assert data.val.files == ("cat/1.png",)
    assert any("left out: 9 files in" in note and "without an image extension" in note for note in data.notes)


def test_damaged_images_without_an_extension_are_listed_as_bad(make_image, tmp_path):
    """What begins like a JPEG was meant to be one."""
    source = make_image("source.jpg", size=(200, 100))
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "whole").write_bytes(source.read_bytes())
    (tmp_path / "d" / "cut").write_bytes(source.read_bytes()[:2000])
    (tmp_path / "d" / "header").write_bytes(JPEG)
    split = unlabelled_folder(tmp_path / "d")
    assert split.files == ("cut", "header", "whole")
    assert [Path(error.path).name for error in scan(split).bad] == ["cut", "header"]
    assert not begins_like_image(str(tmp_path / "none"))


def test_predict_takes_files_and_folders_without_extensions(make_image, tmp_path, capsys):
    from vggnet.commands.inputs import check_images, check_models

    source = make_image("source.jpg")
    (tmp_path / "d").mkdir()
    target = tmp_path / "d" / "0a1b2c"
    shutil.copyfile(source, target)
    assert len(images_at([tmp_path / "d", target])) == 2
    check_images([str(target), str(tmp_path / "d")], "predict")
    for path in (target, tmp_path / "d"):
        with pytest.raises(UserError, match="these are images"):
            check_models([path], "predict")
