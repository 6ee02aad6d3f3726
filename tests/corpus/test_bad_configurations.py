"""Bad run folders: config.json, weights and state with other contents than vggnet writes."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vggnet.cli import run

OPTIONS = ["--net", "A", "--crop", "32", "--width", "0.03", "--batch", "4", "--epochs", "1", "--workers", "0"]
SAVE = "saves/000001"  # the only one
OPTIONS += ["--device", "cpu", "--threads", "1", "--precision", "fp32"]


@pytest.fixture(scope="session")
def trained(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "run"
    assert run(["train", str(photos), "--out", str(out), *OPTIONS]) == 0
    return out


def field(name: str, value: Any) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        content = json.loads((folder / "config.json").read_text())
        assert name in content
        (folder / "config.json").write_text(json.dumps(content | {name: value}))

    return change


def written(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


def flipped(name: str) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        data = bytearray((folder / name).read_bytes())
        data[-40] ^= 1
        (folder / name).write_bytes(bytes(data))

    return change


def cut(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-100])


def removed(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


CASES: dict[str, tuple[Callable[[Path], object], str]] = {
    "config: empty": (written("config.json", b""), "config.json"),
    "config: cut off": (cut("config.json"), "config.json"),
    "config: a list": (written("config.json", b"[]"), "config.json"),
    "config: no text": (written("config.json", b"\xff\xfe\x00"), "config.json"),
    "config: gone": (removed("config.json"), "config.json"),
    "threads: a word": (field("threads", "abc"), "threads"),
    "threads: negative": (field("threads", -1), "threads"),
    "threads: a fraction": (field("threads", 1.5), "threads"),
    "micro_batch: 0": (field("micro_batch", 0), "micro_batch"),
    "micro_batch: a word": (field("micro_batch", "x"), "micro_batch"),
    "train_images: a word": (field("train_images", "x"), "train_images"),
    "init_from: a number": (field("init_from", 5), "init_from"),
    "seed: negative": (field("seed", -1), "seed"),
    "epochs: a list": (field("epochs", []), "epochs"),
    "epochs: too many": (field("epochs", 10**12), "epochs"),
    "learning_rate: a word": (field("learning_rate", "fast"), "learning_rate"),
    "width: infinite": (field("width", float("inf")), "width"),
    "net: unknown": (field("net", "Z"), "net"),
    "crop: too large": (field("crop", 3_200_000_000), "crop"),
    "statistics: a word": (field("statistics", "x"), "statistics"),
    "save: gone": (lambda folder: shutil.rmtree(folder / SAVE), "save"),
    "save: no manifest": (removed(f"{SAVE}/manifest.json"), "manifest.json"),
    "save: an empty manifest": (written(f"{SAVE}/manifest.json", b""), "manifest.json"),
    "save: a manifest of words": (written(f"{SAVE}/manifest.json", b'["words"]'), "manifest.json"),
    "save: state gone": (removed(f"{SAVE}/state.safetensors"), "state.safetensors"),
    "save: state cut off": (cut(f"{SAVE}/state.safetensors"), "state.safetensors"),
    "save: state empty": (written(f"{SAVE}/state.safetensors", b""), "state.safetensors"),
    "save: state with a flipped bit": (flipped(f"{SAVE}/state.safetensors"), "state.safetensors"),
    "save: best weights gone": (removed(f"{SAVE}/best.safetensors"), "best.safetensors"),
    "save: best weights with a flipped bit": (flipped(f"{SAVE}/best.safetensors"), "best.safetensors"),
    "list of images: no gzip": (written("images.csv.gz", b"words"), "images.csv.gz"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_damaged_run_is_refused_with_file_and_field(
    name: str, tmp_path: Path, photos: Path, trained: Path, refused: Callable[..., str]
) -> None:
    change, said = CASES[name]
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    change(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    message = refused("train", photos, "--out", folder, *OPTIONS, "--resume")
    assert said in message
    assert str(folder) in message
    after = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert {name: after.get(name) for name in before} == before
