"""What is built and installed: the source distribution, the wheel, and what a command says without an extra."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest
from nets import random_net
from PIL import Image

from vggnet.cli import run
from vggnet.network.pretrained import save_pretrained

ROOT = Path(__file__).parents[2]
UNSHIPPED = {".git", ".venv", "build", "dist", "__pycache__", "runs", "data", "quickstart"}


def sources() -> set[str]:
    """The files of this checkout, or of an unpacked source distribution, that belong to the project."""
    found = set()
    for folder, folders, files in os.walk(ROOT):
        here = Path(folder).relative_to(ROOT)
        top = here == Path()
        folders[:] = [
            name
            for name in folders
            if not (name in UNSHIPPED and (top or name == "__pycache__"))
            and not name.endswith((".egg-info", "_cache"))
            and name != ".hypothesis"
        ]
        found |= {str(here / name) for name in files if not name.endswith((".pyc", ".part"))}
    return found - {".git", ".gitignore", ".dockerignore", "PKG-INFO", "setup.cfg"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source distribution, built from a copy of the checkout."""
    folder = tmp_path_factory.mktemp("built")
    for name in sources():
        (folder / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / "copy" / name)
    build = "import setuptools.build_meta as b; b.build_sdist('../dist'); b.build_wheel('../dist')"
    (folder / "dist").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", build], cwd=folder / "copy", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder / "dist"


def unpacked(built: Path, to: Path) -> Path:
    """The folder of the source distribution."""
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        # Python before 3.11.4 has neither `data_filter` nor extractall's `filter`
        file.extraction_filter = getattr(tarfile, "data_filter", lambda member, path: member)  # type: ignore[assignment]
        file.extractall(to)
    (folder,) = to.iterdir()
    return folder


def test_the_source_distribution_has_every_file_of_the_checkout(built: Path, tmp_path: Path) -> None:
    folder = unpacked(built, tmp_path)
    shipped = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert sources() - shipped == set()
    assert {"docs/installation.md", "tests/conftest.py", "Makefile", "hubconf.py", "SECURITY.md"} <= shipped


def test_the_wheel_is_complete_and_typed(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
        (metadata,) = (file.read(name).decode() for name in names if name.endswith("METADATA"))
    package = {name.removeprefix("src/") for name in sources() if name.startswith("src/vggnet/")}
    assert package - names == set()
    assert {"vggnet/py.typed", "vggnet/__init__.pyi"} <= names
    assert {name.split("/")[0] for name in names if "dist-info" not in name} == {"vggnet"}
    for version in ("3.11", "3.12", "3.13", "3.14"):
        assert f"Classifier: Programming Language :: Python :: {version}" in metadata
    core = [line for line in metadata.splitlines() if line.startswith("Requires-Dist") and "extra ==" not in line]
    assert not [line for line in core if any(name in line for name in ("tensorboard", "scikit", "scipy", "timm"))]


def test_every_extra_that_a_message_or_a_page_names_exists() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named: set[str] = set()
    for path in [*(ROOT / "src").rglob("*.py"), *(ROOT / "docs").glob("*.md"), ROOT / "README.md"]:
        for several in re.findall(r"pip install '(?:vggnet|\.)\[([a-z,]+)\]'", path.read_text(encoding="utf-8")):
            named |= set(several.split(","))
    assert {"scenes", "transfer", "localize", "tensorboard"} <= named
    assert named - set(extras) == set()


@pytest.mark.parametrize(
    ("module", "arguments", "message"),
    [
        ("sklearn", ["transfer", "model", "images"], "a linear SVM needs the package scikit-learn: pip install"),
        ("sklearn", ["train", "scenes", "--out", "run"], "the data set scenes needs the package scikit-learn: pip"),
        (
            "scipy",
            ["localize", "predict", "model", "images", "--classifier", "model", "--merging", "centroid"],
            "--merging centroid needs the package scipy: pip install 'vggnet[localize]'",
        ),
    ],
)
def test_a_command_names_the_extra_that_it_needs(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    module: str,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VGGNET_CACHE", str(tmp_path / "cache"))
    save_pretrained(random_net(["cat", "dog"]), tmp_path / "model")
    (tmp_path / "images" / "cat").mkdir(parents=True)
    Image.new("RGB", (40, 40)).save(tmp_path / "images" / "cat" / "1.png")
    for name in [name for name in sys.modules if name.split(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    monkeypatch.setitem(sys.modules, f"{module}.datasets", None)
    assert run(arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_the_wheel_predicts_in_a_fresh_environment_with_core_dependencies_only(built: Path, tmp_path: Path) -> None:
    """VGGNET_TEST_TORCH names the torch to install ("torch==2.13.0+cpu"); else the newest, with CUDA on Linux."""
    (wheel,) = built.glob("*.whl")
    save_pretrained(random_net(["cat", "dog"]), tmp_path / "model")
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(tmp_path / "black.png")
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "fresh"], check=True)
    python = tmp_path / "fresh" / "bin" / "python"
    torch = os.environ.get("VGGNET_TEST_TORCH", "torch").split()
    subprocess.run([python, "-m", "pip", "install", "-q", wheel, *torch], check=True)
    listed = subprocess.run([python, "-m", "pip", "list"], check=True, capture_output=True, text=True).stdout
    assert not [name for name in ("scikit-learn", "scipy", "tensorboard", "timm", "pytest") if name in listed]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [tmp_path / "fresh" / "bin" / "vggnet", "predict", tmp_path / "model", tmp_path / "black.png"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "cat" in done.stdout


@pytest.mark.slow
def test_the_tests_pass_from_the_source_distribution(built: Path, tmp_path: Path) -> None:
    """Those of the pages, of the paper and of the nets; all others are run the same way from a checkout."""
    folder = unpacked(built, tmp_path)
    environment = os.environ | {"PYTHONPATH": str(folder / "src")}
    command = [sys.executable, "-m", "pytest", "-n", "0", "tests/docs", "tests/paper", "tests/network/test_vgg.py"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
