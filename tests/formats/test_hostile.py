"""Files made to harm or broken on the way: refused before anything of them runs, with a message."""

import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from vggnet.errors import UserError
from vggnet.formats.converting import convert
from vggnet.formats.untrusted import read_state_dict


class Touch:
    """Unpickled by a reader that runs code, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


def read(path: Path) -> None:
    convert(path, "torchvision", preprocessing="torchvision")


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_checkpoint_does_not_run(tmp_path: Path, zipped: bool) -> None:
    trap, file = tmp_path / "trap", tmp_path / "w.pth"
    torch.save({"features.0.weight": torch.zeros(1), "x": Touch(trap)}, file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match="refused: not a whole file of tensors only"):
        read(file)
    assert not trap.exists()
    torch.load(file, weights_only=False)
    assert trap.exists()  # the trap works: a careless reader would have made it


def test_a_bare_pickle_does_not_run(tmp_path: Path) -> None:
    trap, file = tmp_path / "trap", tmp_path / "w.pth"
    file.write_bytes(pickle.dumps(Touch(trap)))
    with pytest.raises(UserError, match="refused"):
        read(file)
    assert not trap.exists()


def test_a_whole_pickled_model_is_refused_with_advice(torchvision_net: Callable, tmp_path: Path) -> None:
    torch.save(torchvision_net("A"), tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"save model\.state_dict\(\)"):
        read(tmp_path / "w.pth")


@pytest.mark.parametrize("part", [0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_truncated_checkpoints(torchvision_net: Callable, tmp_path: Path, part: float) -> None:
    file = tmp_path / "w.pth"
    torch.save(torchvision_net("A").state_dict(), file)
    content = file.read_bytes()
    file.write_bytes(content[: int(part * len(content))])
    with pytest.raises(UserError, match="refused"):
        read(file)


def test_garbage(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(10):
        file = tmp_path / f"{number}.pth"
        file.write_bytes(rng.bytes(1000))
        with pytest.raises(UserError, match="refused"):
            read(file)


def test_a_tensor_that_claims_more_than_the_file_holds(torchvision_net: Callable, tmp_path: Path) -> None:
    state = torchvision_net("A").state_dict()
    state["classifier.0.weight"] = torch.zeros(1).expand(1_000_000, 1_000_000)  # 4 bytes that claim 4 terabytes
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(UserError, match="claims 4,000,000,000,000 bytes and the file holds"):
        read(tmp_path / "w.pth")


def test_a_checkpoint_packed_to_unpack_to_any_size_is_never_unpacked(torchvision_net: Callable, tmp_path: Path) -> None:
    torch.save(torchvision_net("A").state_dict() | {"features.0.bias": torch.zeros(1_000_000)}, tmp_path / "w.pth")
    packed = tmp_path / "packed.pth"
    with (
        zipfile.ZipFile(tmp_path / "w.pth") as source,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry.filename))
    assert "features.0.bias" in torch.load(packed, weights_only=True)  # PyTorch itself would unpack it
    with pytest.raises(UserError, match=r"refused: [\d,]+ bytes inside, packed into [\d,]+, as no checkpoint is"):
        read(packed)


def test_the_refusal_does_not_repeat_torchs_advice_to_load_it_all_the_same(tmp_path: Path) -> None:
    torch.save({"x": Touch(tmp_path / "trap")}, tmp_path / "w.pth")
    with pytest.raises(UserError, match="refused") as refusal:
        read(tmp_path / "w.pth")
    assert "\x1b" not in str(refusal.value)
    assert "can still be loaded" not in str(refusal.value)


def in_the_convolutions(name: str) -> str:
    return name.replace("features.", "features.module.")


@pytest.mark.parametrize(
    "rename",
    [
        *(lambda name, prefix=prefix: prefix + name for prefix in ("module.", "_orig_mod.", "module._orig_mod.")),
        lambda name: f"_orig_mod.module.module.{name}",
        in_the_convolutions,  # DataParallel around features, as in PyTorch's own ImageNet example
        lambda name: f"module._orig_mod.{in_the_convolutions(name)}",
        lambda name: f"backbone.{name}",
        lambda name: f"module.model.vgg.{in_the_convolutions(name)}",
    ],
)
@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"epoch": 3, "state_dict": {"model": s}}])
def test_what_wrappers_put_into_names_is_taken_out(
    torchvision_net: Callable, tmp_path: Path, rename: Callable, wrap: Callable
) -> None:
    state = torchvision_net("A").state_dict()
    torch.save(wrap({rename(name): tensor for name, tensor in state.items()}), tmp_path / "w.pth")
    found = read_state_dict(tmp_path / "w.pth")
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())


def test_a_prefix_of_bare_convolutions_and_of_caffes_names(torchvision_net: Callable, tmp_path: Path) -> None:
    trunk = torchvision_net("A").features.state_dict()
    torch.save({f"encoder.{name}": tensor for name, tensor in trunk.items()}, tmp_path / "w.pth")
    assert read_state_dict(tmp_path / "w.pth").keys() == trunk.keys()
    torch.save({f"vgg.conv1_1.{part}": torch.zeros(4) for part in ("weight", "bias")}, tmp_path / "w.pth")
    assert set(read_state_dict(tmp_path / "w.pth")) == {"conv1_1.weight", "conv1_1.bias"}


def test_an_averaged_model_and_its_counter(torchvision_net: Callable, tmp_path: Path) -> None:
    net = torchvision_net("A")
    torch.save(torch.optim.swa_utils.AveragedModel(net).state_dict(), tmp_path / "w.pth")
    assert read_state_dict(tmp_path / "w.pth").keys() == net.state_dict().keys()


def test_names_that_become_one_are_refused(tmp_path: Path) -> None:
    torch.save({"module.a.weight": torch.zeros(1), "a.weight": torch.ones(1)}, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"two tensors are called a\.weight"):
        read_state_dict(tmp_path / "w.pth")


def test_safetensors_under_another_name_are_read(torchvision_net: Callable, tmp_path: Path) -> None:
    state = torchvision_net("A").state_dict()
    save_file(state, tmp_path / "pytorch_model.bin")
    assert read_state_dict(tmp_path / "pytorch_model.bin").keys() == state.keys()


@pytest.mark.filterwarnings("ignore:.*torch.jit.:Warning")
@pytest.mark.parametrize("layout", ["torchvision", "keras", "caffe", "onnx"])
def test_programs_with_weights_inside_are_named_as_what_they_are(tmp_path: Path, layout: str) -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3)).eval()
    torch.jit.trace(net, torch.zeros(1, 3, 8, 8)).save(str(tmp_path / "vgg16.pt"))
    with pytest.raises(UserError, match=r"a TorchScript program \(of torch\.jit\.save\), not a file of weights"):
        convert(tmp_path / "vgg16.pt", layout, preprocessing="torchvision")
    torch.export.save(torch.export.export(net, (torch.zeros(1, 3, 8, 8),)), tmp_path / "vgg16.pt2")
    with pytest.raises(UserError, match=r"a program of torch\.export, not a file of weights"):
        convert(tmp_path / "vgg16.pt2", layout, preprocessing="torchvision")


def changed(state: dict, name: str, value: object) -> dict:
    return {**state, name: value}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: changed(s, "features.0.bias", torch.full((4,), float("nan"))), "not finite"),
        (lambda s: changed(s, "classifier.6.weight", s["classifier.6.weight"] * float("inf")), "not finite"),
        (lambda s: changed(s, "features.0.weight", torch.full((4, 3, 3, 3), 1e300, dtype=torch.float64)), "not finite"),
        (lambda s: changed(s, "features.0.bias", torch.zeros(4, dtype=torch.int64)), "floating-point numbers"),
        (lambda s: changed(s, "features.0.bias", torch.zeros(5)), "is 5, the net needs 4"),
        (lambda s: changed(s, "features.0.weight", torch.zeros(4, 3, 7, 7)), "no net of Table 1 has"),
        (lambda s: changed(s, "features.0.weight", torch.zeros(4, 3, 3, 3).to_sparse()), "not a dense tensor"),
        (lambda s: changed(s, "classifier.0.weight", torch.zeros(256, 1500)), "classifier.0 is 256x1500"),
        (lambda s: changed(s, "aux.weight", torch.zeros(3)), "not of torchvision's layout: aux.weight"),
        (lambda s: changed(s, "note", "hello"), "'note' is str, expected a named tensor"),
        (lambda s: {k: v for k, v in s.items() if k != "features.3.weight"}, "features.3.weight is missing"),
        (lambda s: {k: v for k, v in s.items() if "features" not in k}, "no features.N.weight"),
        (lambda s: {}, "not a dictionary of named tensors"),
        (lambda s: [s], "not a dictionary of named tensors"),
    ],
)
def test_what_is_no_vgg_is_refused_with_its_reason(
    torchvision_net: Callable, tmp_path: Path, change: Callable, message: str
) -> None:
    torch.save(change(dict(torchvision_net("A").state_dict())), tmp_path / "w.pth")
    with pytest.raises(UserError, match=message):
        read(tmp_path / "w.pth")


def test_another_family_of_nets_is_refused(tmp_path: Path) -> None:
    from torchvision.models import squeezenet1_1

    torch.save(squeezenet1_1(weights=None).state_dict(), tmp_path / "w.pth")
    with pytest.raises(UserError, match="not"):
        read(tmp_path / "w.pth")


def test_missing_files_and_unknown_layouts(tmp_path: Path) -> None:
    for layout in ("torchvision", "timm", "keras", "onnx", "caffe", "matconvnet"):
        with pytest.raises(UserError, match="no such file"):
            convert(tmp_path / "none.pth", layout, preprocessing="caffe")
    for suffix in (".caffemodel", ".npy", ".npz"):
        with pytest.raises(UserError, match="no such file"):
            convert(tmp_path / f"none{suffix}", "caffe", preprocessing="caffe")
    with pytest.raises(UserError, match="the layouts are torchvision, timm"):
        convert(tmp_path / "none.pth", "tensorflow", preprocessing="caffe")


def test_safetensors_headers_that_lie(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    header = b'{"features.0.weight":{"dtype":"F32","shape":[64,3,3,3],"data_offsets":[0,6912]}}'
    for content in (struct.pack("<Q", 2**60) + header, struct.pack("<Q", len(header)) + header, b""):
        file.write_bytes(content)
        with pytest.raises(UserError, match="not a whole safetensors file"):
            read_state_dict(file)


@pytest.mark.parametrize("suffix", [".h5", ".keras", ".weights.h5"])
def test_broken_keras_files(tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("h5py", reason="h5py is not installed")
    file = tmp_path / f"w{suffix}"
    file.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(UserError, match="refused"):
        convert(file, "keras", preprocessing="caffe")
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("config.json", "{}")
    with pytest.raises(UserError, match="refused"):
        convert(file, "keras", preprocessing="caffe")


def test_keras_weights_that_lie_in_another_file(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    (tmp_path / "secret").write_bytes(bytes(range(108)) * 4)
    with h5py.File(tmp_path / "w.h5", "w") as file:
        group = file.create_group("conv2d")
        group.create_dataset("kernel", (3, 3, 3, 4), "f4", external=[(str(tmp_path / "secret"), 0, 432)])
    with pytest.raises(UserError, match="refused: conv2d/kernel lies in another file"):
        convert(tmp_path / "w.h5", "keras", preprocessing="caffe")


def test_keras_data_sets_that_claim_what_the_file_does_not_hold(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    with h5py.File(tmp_path / "w.h5", "w") as file:  # chunks that were never written take no room, and read as zeros
        file.create_dataset("conv2d/kernel", (3, 3, 512, 40_000), "f4", chunks=(3, 3, 64, 64))
    with pytest.raises(UserError, match="kernel claims 737,280,000 bytes and the file holds fewer of it"):
        convert(tmp_path / "w.h5", "keras", preprocessing="caffe")
    with h5py.File(tmp_path / "w.h5", "w") as file:
        for number in range(20):
            name, shape = f"conv2d_{number}/kernel", (3, 3, 512, 40_000)
            file.create_dataset(name, shape, "f4", chunks=(3, 3, 64, 64), compression="gzip")
    with pytest.raises(UserError, match="claim 14,745,600,000 bytes, more than any VGG"):
        convert(tmp_path / "w.h5", "keras", preprocessing="caffe")


def test_broken_and_foreign_onnx(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    file = tmp_path / "w.onnx"
    file.write_bytes(b"\x08\x07garbage")
    with pytest.raises(UserError, match="refused"):
        convert(file, "onnx", preprocessing="caffe")
    node = onnx.helper.make_node("Loop", ["x"], ["y"], "evil")
    graph = onnx.helper.make_graph([node], "g", [], [])
    file.write_bytes(onnx.helper.make_model(graph).SerializeToString())
    with pytest.raises(UserError, match="Loop"):
        convert(file, "onnx", preprocessing="caffe")
