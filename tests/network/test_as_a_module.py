"""A net is what PyTorch's world expects of a module: it can be cut, iterated, hooked, traced and scripted."""

import copy
import io
import pickle
from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models._utils import IntermediateLayerGetter

import vggnet
from vggnet.network.initialization import build
from vggnet.network.vgg import VGG
from vggnet.paper.configurations import CONFIGURATIONS

NETS = tuple(CONFIGURATIONS)


def small(net: str = "D", **options: object) -> VGG:
    return build(net, **{"num_classes": 5, "width": 1 / 32, "crop": 32, "init": "he", **options}).eval()  # type: ignore[arg-type]


def images(height: int = 64, width: int = 40) -> Tensor:
    return 50 * torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(0))


def test_children_are_the_layers_in_the_papers_order() -> None:
    names = [name for name, _ in small("A", batch_norm=True).named_children()]
    assert names[:8] == ["conv1_1", "norm1_1", "relu1_1", "pool1", "conv2_1", "norm2_1", "relu2_1", "pool2"]
    assert names[-8:] == ["pool5", "fc6", "relu6", "drop6", "fc7", "relu7", "drop7", "fc8"]
    assert [name for name, _ in small("A-LRN").named_children()][:4] == ["conv1_1", "relu1_1", "lrn1_1", "pool1"]


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("batch_norm", [False, True])
def test_the_children_in_sequence_are_the_net(net: str, batch_norm: bool) -> None:
    model = small(net, batch_norm=batch_norm)
    with torch.no_grad():
        scores = model(images())
        assert torch.equal(nn.Sequential(*model.children())(images()), scores)
        (*_, (last, walked)) = model.walk(images())
    assert last == "fc8"
    assert torch.equal(walked, scores)


def test_every_layer_is_one_of_pytorchs_own() -> None:
    for net in NETS:
        assert {type(child).__module__.split(".")[0] for child in small(net, batch_norm=True).children()} == {"torch"}


def test_logits_are_differentiable_and_n_by_k() -> None:
    model, x = small(), images().requires_grad_()
    logits = model.logits(x)
    assert logits.shape == (2, 5)
    torch.testing.assert_close(logits, model(x).mean((2, 3)))
    F.cross_entropy(vggnet.as_classifier(model)(x), torch.tensor([1, 4])).backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    assert model.conv1_1.weight.grad is not None


def test_torchvisions_layer_getter_gives_the_nets_activations() -> None:
    model, x = small(), images()
    with torch.no_grad():
        expected = vggnet.features(model, x, ["relu3_3", "pool5"])
        found = IntermediateLayerGetter(model, {"relu3_3": "relu3_3", "pool5": "pool5"})(x)
        torch.testing.assert_close(dict(found), expected)


def test_guided_backpropagation_reaches_every_relu() -> None:
    """Hooks on ReLU modules that pass positive gradients only: as written out with a clamp at each ReLU."""
    model, x = small("A"), images(32, 32).requires_grad_()
    handles = [
        module.register_full_backward_hook(lambda _m, grad_input, _o: (grad_input[0].clamp(min=0),))
        for module in model.modules()
        if isinstance(module, nn.ReLU)
    ]
    (guided,) = torch.autograd.grad(model.logits(x)[:, 0].sum(), x)
    for handle in handles:
        handle.remove()

    y = x
    for name, layer in model.named_children():
        y = layer(y)
        if not name.startswith("relu"):
            continue
        before = y
        y = _PositiveGradient.apply(before)
    (expected,) = torch.autograd.grad(y.mean((2, 3))[:, 0].sum(), x)
    torch.testing.assert_close(guided, expected)
    (plain,) = torch.autograd.grad(model.logits(x)[:, 0].sum(), x)
    assert not torch.allclose(guided, plain)


class _PositiveGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return gradient.clamp(min=0)


@pytest.mark.parametrize("net", NETS)
@pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated", "ignore::torch.jit.TracerWarning")
def test_fx_and_torchscript(net: str) -> None:
    model = small(net)
    with torch.no_grad():
        expected = model(images())
        torch.testing.assert_close(torch.fx.symbolic_trace(model)(images()), expected)
        traced = torch.jit.trace(model, images(96, 32), check_trace=False)
        torch.testing.assert_close(traced(images()), expected)
        torch.testing.assert_close(torch.jit.script(model)(images()), expected)


def test_torch_export_and_compile_give_the_nets_scores() -> None:
    model = small("A")
    with torch.no_grad():
        expected = model(images())
        torch.testing.assert_close(torch.export.export(model, (images(),)).module()(images()), expected)


def test_copies_pickles_and_state_dicts() -> None:
    model = small("B", batch_norm=True)
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    buffer.seek(0)
    other = small("B", batch_norm=True, seed=1)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    with torch.no_grad():
        expected = model(images())
        for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), other):
            assert torch.equal(twin(images()), expected)
    assert all(key.split(".")[0][:4] in ("conv", "norm", "fc6", "fc7", "fc8") for key in model.state_dict())


def test_a_cut_net_is_a_trunk() -> None:
    model = small()
    children = OrderedDict(model.named_children())
    trunk = nn.Sequential(OrderedDict((name, children[name]) for name in list(children)[: list(children).index("fc6")]))
    with torch.no_grad():
        torch.testing.assert_close(trunk(images()), model.forward_features(images()))
