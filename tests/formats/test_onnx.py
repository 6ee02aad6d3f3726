"""ONNX graphs that are a VGG in another form, or look like one: the oracle is onnxruntime on the file itself."""

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from closeness import assert_close_to_largest
from torch import Tensor, nn

from vggnet.errors import UserError
from vggnet.formats.converting import convert

for package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package, reason=f"{package} is not installed")


def exported(net: nn.Module, example: Tensor, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net.eval(), (example,), str(path), dynamo=True, verbose=False)
    return path


class ChannelsLast(nn.Module):
    """As TensorFlow's converters write a VGG: images and the flattened map with their channels last."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        pool5 = self.net.features(images.permute(0, 3, 1, 2))
        return self.net.classifier(pool5.permute(0, 2, 3, 1).flatten(1))


def test_a_map_flattened_with_channels_last_is_read_as_such(torchvision_net: Callable, tmp_path: Path) -> None:
    import onnxruntime

    file = exported(ChannelsLast(torchvision_net("A")), torch.zeros(1, 224, 224, 3), tmp_path / "n.onnx")
    images = torch.randn(1, 3, 224, 224)
    session = onnxruntime.InferenceSession(str(file))
    given = images.permute(0, 2, 3, 1).contiguous().numpy()
    expected = torch.from_numpy(session.run(None, {session.get_inputs()[0].name: given})[0])
    model = convert(file, "onnx", preprocessing="paper").model
    assert_close_to_largest(model.scores(images), expected)


class Preprocessed(nn.Module):
    """A net that subtracts a mean and divides inside."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        return self.net((images - torch.tensor([[[104.0]], [[117.0]], [[124.0]]])) / 58.0)


def test_preprocessing_inside_a_graph_is_refused_and_not_lost(torchvision_net: Callable, tmp_path: Path) -> None:
    file = exported(Preprocessed(torchvision_net("A")), torch.zeros(1, 3, 224, 224), tmp_path / "n.onnx")
    with pytest.raises(UserError, match=r"\(Sub\) changes the image.*Preprocessing inside the graph is not read"):
        convert(file, "onnx", preprocessing="torchvision")


def without_relu(net: nn.Module) -> nn.Module:
    net.features[4] = nn.Identity()  # conv2_1's
    return net


def unpadded(net: nn.Module) -> nn.Module:
    net.features[0].padding = (0, 0)
    return net


def pooled_in_threes(net: nn.Module) -> nn.Module:
    net.features[2] = nn.MaxPool2d(3, 2, 1)
    return net


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_relu, "no ReLU follows .*3.weight"),
        (unpadded, "has a padding of 0, conv1_1 of 1"),
        (pooled_in_threes, "a VGG pools 2x2 at stride 2"),
    ],
)
def test_what_only_has_a_vggs_weights_is_refused(
    torchvision_net: Callable, tmp_path: Path, change: Callable, message: str
) -> None:
    net = change(torchvision_net("A"))
    file = exported(net.features, torch.zeros(1, 3, 64, 64), tmp_path / "n.onnx")
    with pytest.raises(UserError, match=message):
        convert(file, "onnx", preprocessing="torchvision")


def with_pools(file: Path, size_px: int | str, **attributes: object) -> Path:
    """The graph with other attributes on its poolings, for images of a size (a name: of any)."""
    import onnx

    model = onnx.load(str(file))
    for node in model.graph.node:
        if node.op_type == "MaxPool":
            kept = [each for each in node.attribute if each.name not in ("auto_pad", "ceil_mode", "pads", "dilations")]
            del node.attribute[:]
            node.attribute.extend(kept)
            node.attribute.extend(onnx.helper.make_attribute(name, value) for name, value in attributes.items())
    for value in (*model.graph.input, *model.graph.output):
        for side in value.type.tensor_type.shape.dim[2:]:
            side.Clear()
            if isinstance(size_px, int) and value in model.graph.input:
                side.dim_value = size_px
    del model.graph.value_info[:]
    target = file.with_name("pools.onnx")
    onnx.save(model, str(target))
    return target


def pool5_of_the_file(file: Path, images: Tensor) -> Tensor:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file))
    return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: images.numpy()})[0])


@pytest.mark.parametrize(
    "attributes", [{"ceil_mode": 1}, {"auto_pad": "SAME_UPPER"}, {"auto_pad": "SAME_LOWER"}], ids=str
)
def test_pools_that_round_up_are_refused_unless_the_size_is_fixed(
    torchvision_net: Callable, tmp_path: Path, attributes: dict
) -> None:
    file = exported(torchvision_net("A").features, torch.zeros(1, 3, 64, 64), tmp_path / "n.onnx")
    plain = convert(file, "onnx", preprocessing="paper").model
    rounding = with_pools(file, "any", **attributes)
    odd, even = torch.randn(1, 3, 75, 75), torch.randn(1, 3, 64, 64)
    assert pool5_of_the_file(rounding, odd).shape != plain.forward_features(odd).shape  # what a reader would get wrong
    with pytest.raises(UserError, match=f"rounds the sizes of maps up .*{next(iter(attributes))}"):
        convert(rounding, "onnx", preprocessing="paper")
    with pytest.raises(UserError, match="rounds the sizes of maps up"):
        convert(with_pools(file, 75, **attributes), "onnx", preprocessing="paper")
    fixed = with_pools(file, 64, **attributes)
    found = convert(fixed, "onnx", preprocessing="paper").model.forward_features(even)
    assert_close_to_largest(found, pool5_of_the_file(fixed, even))


def test_pools_without_padding_are_a_vggs_at_any_size(torchvision_net: Callable, tmp_path: Path) -> None:
    file = exported(torchvision_net("A").features, torch.zeros(1, 3, 64, 64), tmp_path / "n.onnx")
    valid, odd = with_pools(file, "any", auto_pad="VALID"), torch.randn(1, 3, 75, 85)
    found = convert(valid, "onnx", preprocessing="paper").model.forward_features(odd)
    assert_close_to_largest(found, pool5_of_the_file(valid, odd))
    with pytest.raises(UserError, match="a VGG pools 2x2 at stride 2, without"):
        convert(with_pools(file, "any", dilations=[2, 2]), "onnx", preprocessing="paper")


def test_a_head_on_the_averaged_map_is_no_vggs(torchvision_net: Callable, tmp_path: Path) -> None:
    """Its shapes are those of a net for crops of 32 pixels, which would average scores instead of the map."""
    net = torchvision_net("A")
    net.avgpool, net.classifier[0] = nn.AdaptiveAvgPool2d(1), nn.Linear(32, 256)
    file = exported(net, torch.zeros(1, 3, 224, 224), tmp_path / "n.onnx")
    with pytest.raises(UserError, match=r"the last map is averaged before .*, a VGG's fc6 sees it whole"):
        convert(file, "onnx", preprocessing="paper")
    trunk = convert(file, "onnx", preprocessing="paper", convolutions_only=True).model
    images = torch.randn(1, 3, 64, 64)
    assert_close_to_largest(trunk.forward_features(images), net.features(images))


@pytest.mark.parametrize(("kind", "inputs"), [("Conv", ["x"]), ("Gemm", []), ("BatchNormalization", ["x"])])
def test_nodes_that_lack_inputs_are_refused(tmp_path: Path, kind: str, inputs: list[str]) -> None:
    import onnx

    weight = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [4, 3, 3, 3], [0.0] * 108)
    nodes = [onnx.helper.make_node("Conv", ["x", "w"], ["y"], "c"), onnx.helper.make_node(kind, inputs, ["z"], "n")]
    graph = onnx.helper.make_graph(nodes, "g", [], [], [weight])
    (tmp_path / "n.onnx").write_bytes(onnx.helper.make_model(graph).SerializeToString())
    with pytest.raises(UserError, match=f"{kind} n has {len(inputs)} inputs: damaged"):
        convert(tmp_path / "n.onnx", "onnx", preprocessing="caffe")
