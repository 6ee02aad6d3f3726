"""VGG, the whole system: nets, training, the paper's test protocol, localisation and transfer.

A function has the name of its command, and the command's options as arguments: `vggnet train photos --net A --out
runs/A` is `vggnet.train("photos", net="A", out="runs/A")`. Results are objects with what the command prints.

>>> import vggnet
>>> model = vggnet.load("runs/A")
>>> posteriors = model.posteriors(vggnet.preprocess(model, "photograph.jpg"))
>>> dict(zip(model.description.classes, posteriors[0].tolist()))  # doctest: +SKIP

What holds for all functions:

- A model is a run folder, a model folder, a weight file, or a name (`vggnet nets --pretrained`), such as "vgg16".
- Sizes are pixels. `scale` and `test_scale` (Q in the paper) and `train_scale` (S) are the smallest side of a rescaled
  image; `crop` is the side of the square that a net sees.
- Errors are counts: `error.wrong` of `error.images`, `error.rate` from 0 to 1. JSON and tables have percent.
- Nothing is written unless a path is given. Only posteriors and descriptors are cached, in the run or in $VGGNET_CACHE.
- A mistake in what is given raises UserError (a ValueError), a bad image BadImage, a subclass of it.
- Trainings and `quantize` print their progress as the commands do.
"""

import importlib
from pathlib import Path
from typing import Any

__version__ = "0.1.0"


def _public_names() -> tuple[dict[str, tuple[str, str | None]], str]:
    """Return where each public name is defined (module, and name in it; None: it is the module), and a list as text.

    `__init__.pyi`, which type checkers read, is the only place that lists the public names.
    """
    names: dict[str, tuple[str, str | None]] = {}
    text = ""
    for line in Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            text += f"\n{line[2:]}:"
        elif line.startswith("from "):
            _, module, _, name, _, public = line.split()
            names[public] = (f"{module}.{name}", None) if module == "vggnet.api" else (module, name)
            text += f" {public}"
    return names, text


_NAMES, _CONTENTS = _public_names()
__all__ = ["__version__", *_NAMES]
__doc__ = f"{__doc__ or ''}\nPublic names, by subject; `help(vggnet.NAME)` describes one:\n{_CONTENTS}\n"


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `vggnet --help` needs no torch."""
    if name not in _NAMES:
        raise AttributeError(f"module 'vggnet' has no attribute {name!r}")
    module, attribute = _NAMES[name]
    imported = importlib.import_module(module)
    return imported if attribute is None else getattr(imported, attribute)


def __dir__() -> list[str]:
    """List the public names, too, for completion."""
    return sorted({*globals(), *__all__})
