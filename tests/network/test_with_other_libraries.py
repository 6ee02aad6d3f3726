"""What people do to modules, with PyTorch and other libraries, works on our nets and gives what it should."""

import copy
import warnings
from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator

import vggnet
from vggnet.network.vgg import VGG

CLASSES = 5


def small(net: str = "A", **options: object) -> VGG:
    given = {"num_classes": CLASSES, "width": 1 / 32, "crop": 32, "init": "he"} | options
    return vggnet.build(net, **given).eval()  # type: ignore[arg-type]


def images(count: int = 2, height: int = 40, width: int = 64) -> Tensor:
    return 50 * torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("net", "batch_norm"),
    [("A", True), pytest.param("D", False, marks=pytest.mark.slow), pytest.param("D", True, marks=pytest.mark.slow)],
)
def test_torch_compile_takes_the_whole_net_as_one_graph(net: str, batch_norm: bool) -> None:
    model = small(net, batch_norm=batch_norm)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    with torch.no_grad():
        for size in ((32, 32), (64, 40)):
            torch.testing.assert_close(compiled(images(2, *size)), model(images(2, *size)))
    compiled.train()
    F.cross_entropy(compiled(images(2, 32, 32)).mean((2, 3)), torch.tensor([0, 1])).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_torch_compile_by_inductor_gives_the_nets_scores() -> None:
    model = small("D")
    compiled = torch.compile(model, fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(images()), model(images()), rtol=1e-3, atol=1e-3)


def test_data_parallel_gives_the_nets_scores_and_its_state_dict_loads() -> None:
    model, other = small(), small(seed=1)
    parallel = nn.DataParallel(model)
    with torch.no_grad():
        assert torch.equal(parallel(images()), model(images()))
    other.load_state_dict({name.removeprefix("module."): each for name, each in parallel.state_dict().items()})
    with torch.no_grad():
        assert torch.equal(other(images()), model(images()))


def test_functional_call_takes_other_weights() -> None:
    model, other = small(), small(seed=1)
    with torch.no_grad():
        found = functional_call(model, dict(other.state_dict()), (images(),))
        assert torch.equal(found, other(images()))
        assert not torch.equal(found, model(images()))


def test_vmap_over_the_weights_is_an_ensemble() -> None:
    nets = [small(seed=seed) for seed in range(3)]
    parameters, buffers = stack_module_state(nets)
    empty = copy.deepcopy(nets[0]).to("meta")

    def scores(parameters: dict, buffers: dict, x: Tensor) -> Tensor:
        return functional_call(empty, (parameters, buffers), (x,))

    with torch.no_grad():
        found = vmap(scores, in_dims=(0, 0, None))(parameters, buffers, images())
        torch.testing.assert_close(found, torch.stack([each(images()) for each in nets]), rtol=1e-4, atol=1e-4)


def test_vmap_of_grad_gives_the_gradients_of_single_images() -> None:
    model, labels = small(), torch.tensor([1, 4])
    parameters = {name: each.detach() for name, each in model.named_parameters()}

    def loss(parameters: dict, image: Tensor, label: Tensor) -> Tensor:
        scores = functional_call(model, parameters, (image[None],)).mean((2, 3))
        return F.cross_entropy(scores, label[None])

    found = vmap(grad(loss), in_dims=(None, 0, 0))(parameters, images(), labels)
    for place in range(2):
        model.zero_grad()
        F.cross_entropy(model.logits(images()[place : place + 1]), labels[place : place + 1]).backward()
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(found[name][place], parameter.grad, rtol=1e-3, atol=1e-4)


@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`:UserWarning")
def test_a_perceptual_loss_works_under_vmap_and_compile() -> None:
    loss = vggnet.PerceptualLoss(small(), content=["relu2_1"], reduction="none")
    x, y = torch.rand(3, 3, 32, 32), torch.rand(3, 3, 32, 32)
    expected = loss(x, y)
    found = vmap(lambda a, b: loss(a[None], b[None])[0])(x, y)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    compiled = torch.compile(loss, backend="eager")
    torch.testing.assert_close(compiled(x, y), expected, rtol=1e-4, atol=1e-4)


def test_an_exponential_moving_average_follows_the_weights() -> None:
    model = small(batch_norm=True)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    average.update_parameters(model)
    before = model.fc8.weight.detach().clone()
    with torch.no_grad():
        model.fc8.weight += 1
    average.update_parameters(model)
    torch.testing.assert_close(average.module.fc8.weight, 0.9 * before + 0.1 * (before + 1))
    assert average(images()).shape == model(images()).shape
    assert isinstance(average.module, VGG)
    assert average.module.description == model.description


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_give_the_scores_within_their_rounding(dtype: torch.dtype) -> None:
    model, x = small(), images() / 10
    with torch.no_grad():
        expected = model(x)
        twin = copy.deepcopy(model).to(dtype)
        found = twin(x.to(dtype))
    assert found.dtype == dtype
    scale = expected.abs().max().item()
    torch.testing.assert_close(
        found.float() / scale, expected / scale, rtol=0, atol={torch.float64: 1e-5}.get(dtype, 0.05)
    )
    assert twin.posteriors(x.to(dtype)).dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


def test_hooks_see_every_layer_forwards_and_backwards_and_are_gone_when_removed() -> None:
    model, seen = small(), []
    layers = dict(model.named_children())
    handles = []
    for name, layer in layers.items():
        handles.append(layer.register_forward_hook(lambda _m, _i, _o, name=name: seen.append(name)))
        handles.append(layer.register_full_backward_hook(lambda _m, _i, _o, name=name: seen.append(f"{name}'")))
    x = images().requires_grad_()
    model.logits(x).sum().backward()
    names = list(layers)
    assert seen == [*names, *(f"{name}'" for name in reversed(names))]
    for handle in handles:
        handle.remove()
    seen.clear()
    model(images())
    assert seen == []


def test_captums_integrated_gradients_add_up_to_the_score() -> None:
    captum = pytest.importorskip("captum.attr", reason="captum is not installed")
    classifier, x = vggnet.as_classifier(small()), images(1, 32, 32) / 10
    found = captum.IntegratedGradients(classifier).attribute(x, target=1, n_steps=200)
    with torch.no_grad():
        gained = (classifier(x) - classifier(torch.zeros_like(x)))[0, 1]
    torch.testing.assert_close(found.sum().float(), gained, rtol=0.02, atol=1e-3)


@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU:UserWarning")
def test_captums_guided_backpropagation_and_layer_grad_cam_find_the_layers() -> None:
    captum = pytest.importorskip("captum.attr", reason="captum is not installed")
    model, x = small("D"), images(1, 64, 64)
    classifier = vggnet.as_classifier(model)
    guided = captum.GuidedBackprop(classifier).attribute(x.clone().requires_grad_(), target=0)
    assert guided.shape == x.shape
    assert guided.abs().sum() > 0
    found = captum.LayerGradCam(classifier, model.relu5_3).attribute(x, target=0)
    activations = vggnet.features(model, x, ["relu5_3"])["relu5_3"].detach().requires_grad_()
    scores = model.forward_head(model.pool5(activations)).mean((2, 3))
    (slope,) = torch.autograd.grad(scores[0, 0], activations)
    expected = (slope.mean((2, 3), keepdim=True) * activations).sum(1, keepdim=True)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_pytorch_grad_cam_gives_the_formulas_map() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the packages that it imports
        gradcam = pytest.importorskip("pytorch_grad_cam", reason="grad-cam is not installed")
        targets = pytest.importorskip("pytorch_grad_cam.utils.model_targets")
    model, x = small("D"), images(1, 64, 64)
    with gradcam.GradCAM(model=vggnet.as_classifier(model), target_layers=[model.relu5_3]) as cam:
        found = cam(input_tensor=x, targets=[targets.ClassifierOutputTarget(2)])[0]
    activations = vggnet.features(model, x, ["relu5_3"])["relu5_3"].detach().requires_grad_()
    (slope,) = torch.autograd.grad(model.forward_head(model.pool5(activations)).mean((2, 3))[0, 2], activations)
    expected = (slope.mean((2, 3), keepdim=True) * activations).sum(1)[0].relu().detach()
    expected = (expected - expected.min()) / (expected.max() - expected.min() + 1e-7)
    assert found.shape == (64, 64)  # 4 x 4 positions, enlarged
    peak = divmod(int(expected.argmax()), 4)
    assert (found.argmax() // 64 // 16, found.argmax() % 64 // 16) == peak


def test_torchinfo_counts_the_parameters_and_lists_the_layers() -> None:
    torchinfo = pytest.importorskip("torchinfo", reason="torchinfo is not installed")
    model = small("D")
    found = torchinfo.summary(model, input_size=(1, 3, 32, 32), verbose=0)
    assert found.total_params == found.trainable_params == model.architecture.parameters
    assert [each.class_name for each in found.summary_list[1:4]] == ["Conv2d", "ReLU", "Conv2d"]
    assert found.summary_list[-1].output_size == [1, CLASSES, 1, 1]


class Backbone(nn.Module):
    """The trunk up to relu5_3, as torchvision's detectors take it."""

    def __init__(self, trunk: VGG) -> None:
        super().__init__()
        self.trunk, self.out_channels = trunk, trunk.conv5_3.out_channels

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"0": vggnet.features(self.trunk, images, ["relu5_3"])["relu5_3"]}


def test_torchvisions_faster_rcnn_trains_and_predicts_on_our_backbone() -> None:
    model = small("D")
    about = model.description.preprocessing
    detector = FasterRCNN(
        Backbone(model),
        num_classes=3,
        rpn_anchor_generator=AnchorGenerator(((16, 32),), ((0.5, 1.0, 2.0),)),
        box_roi_pool=torchvision.ops.MultiScaleRoIAlign(["0"], output_size=3, sampling_ratio=2),
        min_size=64,
        max_size=96,
        image_mean=[value / 255 for value in about.mean],
        image_std=[value / 255 for value in about.deviation],
    )
    torch.manual_seed(0)
    photographs = [torch.rand(3, 70, 90), torch.rand(3, 64, 64)]
    boxes = [{"boxes": torch.tensor([[5.0, 6.0, 40.0, 50.0]]), "labels": torch.tensor([1])} for _ in photographs]
    losses = detector.train()(photographs, boxes)
    sum(losses.values()).backward()
    assert model.conv1_1.weight.grad is not None
    assert model.conv1_1.weight.grad.abs().sum() > 0
    with torch.no_grad():
        found = detector.eval()(photographs)
    assert [set(each) for each in found] == [{"boxes", "labels", "scores"}] * 2


class UNet(nn.Module):
    """The trunk as encoder; at each stage the decoder enlarges and takes the encoder's map of that size."""

    STAGES = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")

    def __init__(self, trunk: VGG) -> None:
        super().__init__()
        self.trunk = trunk
        channels = [trunk.get_submodule(name.replace("relu", "conv")).out_channels for name in self.STAGES]
        pairs = zip(channels[-2::-1], channels[:0:-1], strict=True)  # (this stage's, the deeper one's)
        self.decoder = nn.ModuleList(nn.Conv2d(own + deeper, own, 3, padding=1) for own, deeper in pairs)
        self.last = nn.Conv2d(channels[0], 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        maps = list(vggnet.features(self.trunk, x, self.STAGES).values())
        found = maps.pop()
        for layer in self.decoder:
            own = maps.pop()
            enlarged = F.interpolate(found, size=own.shape[-2:], mode="bilinear", align_corners=False)
            found = F.relu(layer(torch.cat([own, enlarged], 1)))
        return self.last(found)


def test_a_u_net_learns_a_mask_with_our_trunk_as_encoder() -> None:
    torch.manual_seed(0)
    net = UNet(vggnet.build("D", num_classes=2, width=1 / 16, crop=32, init="he"))
    x = torch.randn(2, 3, 48, 72)
    mask = (x.mean(1, keepdim=True) > 0).float()
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(net(x), mask)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert net(x).shape == (2, 1, 48, 72)
    assert net.trunk.conv1_1.weight.grad is not None
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("change", [copy.copy, copy.deepcopy], ids=["copy", "deepcopy"])
def test_a_copy_describes_itself(change: Callable[[VGG], VGG]) -> None:
    model = small()
    assert change(model).description == model.description
    assert torch.equal(change(model)(images()), model(images()))
