"""Downloads that go wrong: each ends in a message, none in a wrong model; what is there is continued."""

import dataclasses
import errno
import shutil
from pathlib import Path

import pytest
import torch
from sources import (
    Source,
    entry_of,
    play_hub,
    play_keras,
    play_torchvision,
    write_keras_file,
    write_timm_repository,
    write_torchvision_file,
)

import vggnet
from vggnet.cli import run
from vggnet.errors import UserError
from vggnet.pretrained import fetching, sources
from vggnet.pretrained.resolving import folder_of

ENTRY = entry_of("torchvision/vgg11")


@pytest.fixture
def played(source: Source, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The path of torchvision's vgg11 on the server."""
    write_torchvision_file(tmp_path / "theirs.pth", "A")
    return play_torchvision(monkeypatch, source, ENTRY, tmp_path / "theirs.pth")


def downloads(cache: Path) -> Path:
    return cache / "downloads" / "models"


def test_a_connection_that_ends_early_is_continued_where_it_ended(source: Source, played: str) -> None:
    source.cut[played] = 100_000
    assert len(vggnet.load("vgg11").description.classes) == 1000
    assert [asked for method, path, asked in source.requests if path == played] == ["", "bytes=100000-"]


def test_a_command_that_was_stopped_is_continued_by_the_next(source: Source, played: str, own_folders: Path) -> None:
    partial = downloads(own_folders) / f"{Path(played).name}.partial"
    partial.parent.mkdir(parents=True)
    file = source.files[played]
    assert isinstance(file, Path)
    partial.write_bytes(file.read_bytes()[:54_321])
    vggnet.load("vgg11")
    assert [asked for _, path, asked in source.requests if path == played] == ["bytes=54321-"]
    assert not partial.exists()


def test_a_beginning_of_another_file_is_given_up(source: Source, played: str, own_folders: Path) -> None:
    """A partial file that does not belong to the rest gives a wrong hash: the file is removed and fetched anew."""
    partial = downloads(own_folders) / f"{Path(played).name}.partial"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(b"something else" * 100)
    with pytest.raises(UserError, match="is not the file that its publisher names: its SHA-256 begins with"):
        vggnet.load("vgg11")
    assert not partial.exists()
    assert len(vggnet.load("vgg11").description.classes) == 1000


def test_a_partial_file_longer_than_the_whole_is_begun_anew(source: Source, played: str, own_folders: Path) -> None:
    partial = downloads(own_folders) / f"{Path(played).name}.partial"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(bytes(50_000_000))
    assert len(vggnet.load("vgg11").description.classes) == 1000


def test_a_download_that_never_ends_well_says_how_much_is_there(
    source: Source, played: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "TRIES", 1)
    source.cut[played] = 1_500_000
    with pytest.raises(UserError) as caught:
        vggnet.load("vgg11")
    assert "the connection ended after 1,500,000 of " in str(caught.value)
    assert "1.5 MB are there, and the same command continues" in str(caught.value)
    assert "vggnet convert" in str(caught.value)
    vggnet.load("vgg11")


def test_a_wrong_hash_is_refused_and_the_file_removed(
    source: Source, played: str, own_folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = source.files[played]
    assert isinstance(file, Path)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    source.files[played] = bytes(content)
    with pytest.raises(UserError, match=r"is not the file that its publisher names.*It was removed"):
        vggnet.load("vgg11")
    assert not any(downloads(own_folders).iterdir())
    assert not folder_of(ENTRY).exists()


def test_a_proxys_page_in_place_of_the_file_is_called_one(
    source: Source, played: str, own_folders: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source.files[played] = b"<!DOCTYPE html><html><body>Please log in</body></html>"
    assert run(["predict", "vgg11", str(photo)]) == 2
    error = capsys.readouterr().err
    assert "It is an HTML page, as a proxy or a login sends it" in error
    assert not any(downloads(own_folders).iterdir())


def test_kerass_files_are_checked_by_their_md5(source: Source, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_keras_file(tmp_path / "theirs.h5", "D")
    path = play_keras(monkeypatch, source, entry_of("oxford/D"), tmp_path / "theirs.h5")
    source.cut[path] = 200_000
    assert vggnet.load("oxford/D").description.train_scale == (256, 512)  # continued
    write_keras_file(tmp_path / "others.h5", "E", seed=1)
    path = play_keras(monkeypatch, source, entry_of("oxford/E"), tmp_path / "others.h5")
    source.files[path] = tmp_path / "theirs.h5"
    with pytest.raises(UserError, match=r"its MD5 is [0-9a-f]{32}, expected"):
        vggnet.load("oxford/E")


def test_a_server_that_is_not_there(played: str, monkeypatch: pytest.MonkeyPatch, own_folders: Path) -> None:
    member = sources.torchvision_weights(ENTRY)
    name = Path(played).name
    monkeypatch.setattr(member, "_value_", dataclasses.replace(member.value, url=f"http://127.0.0.1:9/models/{name}"))
    with pytest.raises(UserError) as caught:
        vggnet.load("vgg11")
    text = str(caught.value)
    assert f"http://127.0.0.1:9/models/{name} could not be downloaded (" in text
    assert f"put it into {downloads(own_folders)}" in text
    command = f"`vggnet convert {name} --layout torchvision --preprocessing torchvision --classes imagenet --out "
    assert command in text


def test_a_file_that_is_not_there(source: Source, played: str) -> None:
    del source.files[played]
    with pytest.raises(UserError, match="HTTP 404"):
        vggnet.load("vgg11")


def test_offline_nothing_is_asked_for_and_the_way_by_hand_works(
    source: Source, played: str, tmp_path: Path, photo: Path, own_folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["predict", "vgg11", str(photo), "--offline"]) == 2
    error = capsys.readouterr().err
    assert f"without a network it cannot be fetched. By hand: fetch {source.address}{played}" in error
    assert not source.requests
    # the command that the message names
    name = Path(played).name
    (tmp_path / name).write_bytes((tmp_path / "theirs.pth").read_bytes())
    convert = f"convert {tmp_path / name} --layout torchvision --preprocessing torchvision --classes imagenet --out"
    assert run([*convert.split(), str(tmp_path / "by-hand")]) == 0
    by_hand = vggnet.load(tmp_path / "by-hand")
    # the folder that the message names
    downloads(own_folders).mkdir(parents=True, exist_ok=True)
    (downloads(own_folders) / name).write_bytes((tmp_path / "theirs.pth").read_bytes())
    assert run(["predict", "vgg11", str(photo), "--offline"]) == 0
    model = vggnet.load("vgg11")
    assert (model.description.classes, model.description.class_titles) == (
        by_hand.description.classes,
        by_hand.description.class_titles,
    )
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in by_hand.state_dict().items())
    assert not source.requests
    assert run(["predict", "vgg11", str(photo), "--offline"]) == 0  # from the cache


def test_a_file_that_torch_hub_has_already_is_used_and_stays(source: Source, played: str, tmp_path: Path) -> None:
    there = tmp_path / "torch" / "hub" / "checkpoints" / Path(played).name
    there.parent.mkdir(parents=True)
    there.write_bytes((tmp_path / "theirs.pth").read_bytes())
    vggnet.load("vgg11")
    assert not source.requests
    assert there.exists()


def test_a_disk_that_is_too_full_is_told_before_the_download(
    source: Source, played: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=10**9)
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UserError, match=r"1000 MB free, and vgg11-\w+\.pth needs 1063 MB .*VGGNET_CACHE"):
        vggnet.load("vgg11")
    assert not source.requests


def test_a_disk_that_fills_up_during_the_download(
    source: Source, played: str, monkeypatch: pytest.MonkeyPatch, own_folders: Path
) -> None:
    def full(self: fetching._Joined, amount: int = -1) -> bytes:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fetching._Joined, "read", full)
    with pytest.raises(UserError, match=r"could not be written: No space left on device; .*VGGNET_CACHE"):
        vggnet.load("vgg11")
    assert not folder_of(ENTRY).exists()


def test_1001_outputs_are_not_imagenets_classes(
    source: Source, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_torchvision_file(tmp_path / "theirs.pth", "A", classes=1001)
    play_torchvision(monkeypatch, source, ENTRY, tmp_path / "theirs.pth")
    with pytest.raises(UserError, match=r"1,001 outputs \(with a class for the background\?\) for 1,000 classes"):
        vggnet.load("vgg11")
    assert not folder_of(ENTRY).exists()


def test_classes_in_another_order_keep_the_order_that_the_source_states(
    source: Source, played: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    member = sources.torchvision_weights(ENTRY)
    words = member.meta["categories"]
    turned = (*words[1:], words[0])
    monkeypatch.setattr(
        member, "_value_", dataclasses.replace(member.value, meta={**member.meta, "categories": list(turned)})
    )
    assert vggnet.load("vgg11").description.classes == turned


def test_weights_of_another_net_do_not_fit(source: Source, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = write_torchvision_file(tmp_path / "theirs.pth", "A")
    state = model.state_dict()
    state["classifier.3.weight"] = state["classifier.3.weight"][:, :100]
    torch.save(state, tmp_path / "theirs.pth")
    play_torchvision(monkeypatch, source, ENTRY, tmp_path / "theirs.pth")
    with pytest.raises(UserError, match=r"classifier\.3"):
        vggnet.load("vgg11")


def test_a_pickle_that_runs_code_is_refused(source: Source, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    torch.save({"features.0.weight": print}, tmp_path / "theirs.pth")
    play_torchvision(monkeypatch, source, ENTRY, tmp_path / "theirs.pth")
    with pytest.raises(UserError, match="refused"):
        vggnet.load("vgg11")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            {"pytorch_model.bin": b"pickle", "config.json": b"{}"},
            "has its weights as a pickle only (pytorch_model.bin)",
        ),
        ({"README.md": b"# nothing"}, "has no model.safetensors: it holds README.md"),
        (
            {"model.safetensors": b"?"},
            "is not a VGG in timm's form or in ours: it has no config.json",
        ),
    ],
)
def test_repositories_without_weights_that_can_be_read(
    source: Source, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, files: dict[str, bytes], said: str
) -> None:
    pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    (tmp_path / "repository").mkdir()
    for name, content in files.items():
        (tmp_path / "repository" / name).write_bytes(content)
    play_hub(monkeypatch, source, "somebody/vgg", tmp_path / "repository")
    with pytest.raises(UserError) as caught:
        vggnet.load("hf-hub:somebody/vgg")
    assert said in str(caught.value)
    assert not any("resolve" in path for _, path, _ in source.requests)


def test_a_repository_of_another_model_is_refused_before_its_weights_are_fetched(
    source: Source, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository" / "model.safetensors").write_bytes(bytes(1000))
    (tmp_path / "repository" / "config.json").write_text('{"model_type": "vit"}')
    play_hub(monkeypatch, source, "somebody/vit", tmp_path / "repository")
    with pytest.raises(UserError, match=r"hf-hub:somebody/vit is not a VGG .*: its config.json is of 'vit'"):
        vggnet.load("hf-hub:somebody/vit")
    assert not any(path.endswith("model.safetensors") for _, path, _ in source.requests)


def test_a_file_of_the_hub_that_was_changed_on_the_way(
    source: Source, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    write_timm_repository(tmp_path / "repository", "A")
    play_hub(monkeypatch, source, "timm/vgg11.tv_in1k", tmp_path / "repository")
    siblings = source.answers["/api/models/timm/vgg11.tv_in1k"]["siblings"]
    next(each for each in siblings if "lfs" in each)["lfs"]["sha256"] = "0" * 64
    with pytest.raises(UserError, match="the hub states 000000000000"):
        vggnet.load("timm/vgg11")


def test_a_repository_that_is_not_there_and_a_hub_that_is_not_there(
    source: Source, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hub = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    (tmp_path / "repository").mkdir()
    play_hub(monkeypatch, source, "somebody/vgg", tmp_path / "repository")
    with pytest.raises(UserError, match="hf-hub:nobody/vgg could not be downloaded"):
        vggnet.load("hf-hub:nobody/vgg")
    monkeypatch.setattr(hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"hf-hub:somebody/vgg could not be downloaded: .*By hand: fetch https://"):
        vggnet.load("hf-hub:somebody/vgg")
    monkeypatch.setenv("VGGNET_OFFLINE", "1")
    with pytest.raises(UserError, match="is not in the cache, and without a network"):
        vggnet.load("hf-hub:somebody/vgg")
