"""The models that have a name: where their weights lie, how they are tested, under which licence. No torch.

oxford/D, oxford/E       the authors' nets of ILSVRC-2014, from the files that Keras publishes (keras/vgg16, vgg19)
torchvision/vgg16, ...   vgg11 to vgg19, with and without _bn; plain vgg16 is torchvision's
timm/vgg16.tv_in1k, ...  torchvision's weights as timm publishes them on the Hugging Face hub
hf-hub:OWNER/NAME        any repository of the hub in timm's form or ours, possibly with @REVISION
"""

import difflib
import os
import re
from dataclasses import dataclass
from typing import Literal

from vggnet.errors import UserError
from vggnet.paper.configurations import CONFIGURATIONS
from vggnet.paper.recipes import JITTERED_SCALE_PX
from vggnet.paper.results import TABLE_5

Source = Literal["keras", "torchvision", "hub"]
FEATURES = "IMAGENET1K_FEATURES"  # torchvision's convolutions of D, without classes
_LIBRARIES = {f"vgg{CONFIGURATIONS[net].depth}": net for net in ("A", "B", "D", "E")}
_HUB = re.compile(r"hf[-_]hub:(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
_SPEAKS_OF_A_NAME = re.compile(r"(oxford|torchvision|timm|keras)/[^/]+|hf[-_]hub:.*", re.IGNORECASE)
# a file of this kind that is missing is no misspelt name
_FILES = (".safetensors", ".pth", ".pt", ".bin", ".h5", ".keras", ".onnx", ".caffemodel", ".npy", ".npz", ".mat")
_CC_BY = "CC BY 4.0"
_BSD = "BSD 3-Clause"


@dataclass(frozen=True)
class Pretrained:
    """A model with a name.

    `file` is Keras's file, torchvision's "vgg16 IMAGENET1K_V1" or the hub's OWNER/NAME. `train_scale` is S in the
    paper, () where it is not known. `published` is (top-1 error, top-5 error, protocol) of the publisher; None where
    torchvision states it, or nobody does. `same_as` is the name of other weights with the same values.
    """

    name: str
    net: str
    source: Source
    file: str
    licence: str
    aliases: tuple[str, ...] = ()
    revision: str | None = None
    train_scale: tuple[int, ...] = ()
    published: tuple[float, float, str] | None = None
    convolutions_only: bool = False
    same_as: str = ""

    @property
    def folder(self) -> str:
        """The path of its folder in the cache."""
        at = f"@{self.revision.replace('/', '-')}" if self.revision else ""
        return self.name.partition("@")[0].replace(":", "/") + at


def _oxford(net: str, library: str) -> Pretrained:
    """Return the entry of one of the authors' nets; the errors are those of Table 5."""
    row = next(row for row in TABLE_5 if row.nets == (net,) and row.method == "both")
    protocol = "dense and multi-crop (Table 5)"
    return Pretrained(
        f"oxford/{net}",
        net,
        "keras",
        f"{library}/{library}_weights_tf_dim_ordering_tf_kernels.h5",
        _CC_BY,
        aliases=(f"keras/{library}",),
        train_scale=JITTERED_SCALE_PX,
        published=(row.top1, row.top5, protocol),
    )


def _entries() -> tuple[Pretrained, ...]:
    found = [_oxford(net, library) for library, net in _LIBRARIES.items() if net in ("D", "E")]
    nets = [
        (f"{library}{end}", f"{net}{' bn' if end else ''}")
        for end in ("", "_bn")
        for library, net in _LIBRARIES.items()
    ]
    for name, net in nets:
        aliases = (name, f"torchvision/{name}.IMAGENET1K_V1")
        found.append(
            Pretrained(f"torchvision/{name}", net, "torchvision", f"{name} IMAGENET1K_V1", _BSD, aliases=aliases)
        )
    found.append(
        Pretrained(
            f"torchvision/vgg16.{FEATURES}",
            "D",
            "torchvision",
            f"vgg16 {FEATURES}",
            _BSD,
            aliases=(f"vgg16.{FEATURES}",),
            convolutions_only=True,
        )
    )
    for name, net in nets:
        hub = f"timm/{name}.tv_in1k"
        found.append(
            Pretrained(hub, net, "hub", hub, _BSD, (f"timm/{name}", f"{name}.tv_in1k"), same_as=f"torchvision/{name}")
        )
    return tuple(found)


PRETRAINED = _entries()
_BY_NAME = {name.lower(): entry for entry in PRETRAINED for name in (entry.name, *entry.aliases)}


def is_model_name(text: str) -> bool:
    """Return whether `text` is the name of a model, whatever files there are."""
    return text.lower() in _BY_NAME or _HUB.fullmatch(text) is not None


def find(text: str) -> Pretrained | None:
    """Return the model that `text` names; None where it looks like a path.

    Raises UserError, with the nearest names, for a name that is misspelt.
    """
    if (entry := _BY_NAME.get(text.lower())) is not None:
        return entry
    if (hub := _HUB.fullmatch(text)) is not None:
        return _on_the_hub(hub["repository"], hub["revision"])
    if text.lower().endswith(_FILES) or text.startswith((".", "~", os.sep)):
        return None
    near = difflib.get_close_matches(text.lower(), _BY_NAME, n=3, cutoff=0.75)
    if not near and not _SPEAKS_OF_A_NAME.fullmatch(text):
        return None
    names = [
        next(each for entry in PRETRAINED for each in (entry.name, *entry.aliases) if each.lower() == name)
        for name in near
    ]
    hint = f"did you mean {' or '.join(names)}? " if names else ""
    if text.lower().startswith("hf"):
        hint = "the hub's are hf-hub:OWNER/NAME. "
    raise UserError(
        f"{text}: neither a file or folder nor the name of a model: {hint}`vggnet nets --pretrained` lists the names"
    )


def _on_the_hub(repository: str, revision: str | None) -> Pretrained:
    known = _BY_NAME.get(repository.lower())
    if known is not None and known.source == "hub" and revision is None:
        return known
    at = f"@{revision}" if revision else ""
    return Pretrained(f"hf-hub:{repository}{at}", "", "hub", repository, "see its page", revision=revision)
