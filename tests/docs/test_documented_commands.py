"""Every command in docs/ can be parsed, and is run, unless it is marked as needing what a test does not have."""

import inspect
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from documented import MARKS, ROOT, commands, is_marked, run_command
from nets import save_random_net
from served import options_for
from starlette.testclient import TestClient

from vggnet.cli import parse
from vggnet.options.ranges import check_numbers
from vggnet.serving.running import application

PAGES = [page for page in sorted((ROOT / "docs").rglob("*.md")) if page.parent.name != "reference"]
CLASSES = tuple(f"class{number}" for number in range(5))
# names that stand for the reader's own
STANDS_FOR = {
    **{"RUN...": "runs/D", "RUN": "runs/D", "MODEL": "runs/D", "DATA": "photos", "IMAGE...": "photos/val"},
    **{"BOXRUN...": "runs/D-boxes", "BOXRUN": "runs/D-boxes", "BOX256": "runs/D-boxes", "BOX384": "runs/D-boxes"},
    "OUT": "runs/out",
}


def own_words(command: str) -> str:
    """Return a command with names of the test's files."""
    command = command.replace("--classifier D E", "--classifier runs/D runs/A")
    return " ".join(STANDS_FOR.get(word, shlex.quote(word)) for word in shlex.split(command))


def vggnet_lines(page: Path) -> list[str]:
    """Return the commands of vggnet on a page, also those that say how a figure was measured."""
    text = page.read_text(encoding="utf-8")
    measured = re.findall(r"^    (vggnet .*)$", text.replace("\\\n", " "), re.M)
    written = [command for command, _ in commands(page) if re.search(r"vggnet (?!--tyro)", command)]
    return [command for command in written if not command.startswith("pip")] + measured


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_has_only_options_that_exist(page: Path) -> None:
    for line in vggnet_lines(page):
        words = shlex.split(line.partition(" #")[0])
        check_numbers(parse(words[words.index("vggnet") + 1 :]))


def test_a_mark_stands_only_where_a_command_stands() -> None:
    marked = [command for page in PAGES for command, comment in commands(page) if is_marked(comment)]
    assert len(marked) > 20
    assert {command.split()[0] for command in marked} <= {
        *("make", "pip", "vggnet", "torchrun", "curl", "tar", "srun"),
        *(f"benchmarks/reproduce{which}.sh" for which in ("", "_short", "_localization")),
        *("python", "pytest"),
    }
    assert len(set(MARKS)) == len(MARKS)


@pytest.fixture
def reader(class_folders: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a reader who has photographs with boxes, runs of nets A and D and of a box net, and a ladder."""
    images = class_folders(classes=5, train=8, val=3, name="photos")
    shutil.copytree(images / "val" / "class0", tmp_path / "bee")
    shutil.copy(images / "val" / "class0" / "0.jpg", tmp_path / "photo.jpg")
    boxes = [f"{f.relative_to(images).as_posix()},{f.parent.name},5,5,30,28" for f in sorted(images.glob("*/*/*.jpg"))]
    (images / "boxes.csv").write_text("\n".join(["image,class,xmin,ymin,xmax,ymax", *boxes]) + "\n")
    for name, options in {
        "A": {},
        "D": {"net": "D"},
        "D-boxes": {"net": "D", "boxes": "pcr"},
        "vgg16": {"net": "D"},
    }.items():
        folder = tmp_path if name == "vgg16" else tmp_path / "runs"
        (folder / name).mkdir(parents=True)
        save_random_net(folder / name / "best.safetensors", CLASSES, width=0.05, **options)
    for name in ("A", "D"):
        shutil.copytree(tmp_path / "runs" / name, tmp_path / "runs" / "ladder" / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=lambda page: page.stem)
def test_every_command_without_a_mark_runs(page: Path, reader: Path) -> None:
    for command, comment in commands(page):
        if command.startswith("curl "):
            ask(command, reader)
        elif command.startswith("vggnet --tyro-print-completion"):
            with pytest.raises(SystemExit) as ended:
                parse(command.split()[1:3])
            assert not ended.value.code
        elif command.startswith("vggnet serve "):
            options = parse(shlex.split(own_words(command))[1:])
            with application(options_for(*map(Path, options.models), boxes=options.boxes, samples=options.samples)):
                pass
        elif not is_marked(comment):
            command = own_words(command).replace("photos/bee", "bee")
            train_anew(command)
            run_command(command)


def train_anew(command: str) -> None:
    """Remove the run that a training writes, where an earlier one is there."""
    words = shlex.split(command)
    if "train" not in words or "--resume" in words:
        return
    outputs = [Path(words[words.index("--out") + 1])] if "--out" in words else Path("runs").glob("photos-*")
    for out in outputs:
        shutil.rmtree(out, ignore_errors=True)


def ask(command: str, reader: Path) -> None:
    """Send the request of a line with curl to a server of nets with the classes of quickstart's."""
    words = shlex.split(command)
    assert words[:3] == ["curl", "--data-binary", "@photograph.jpg"]
    net = reader / "digits.safetensors"
    save_random_net(net, tuple("0123456789"))
    url = urlsplit(words[3])
    with application(options_for(net)) as app:
        client = TestClient(app, base_url="http://localhost")
        content = next((reader / "photos").rglob("*.jpg")).read_bytes()
        assert client.post(f"{url.path}?{url.query}", content=content).status_code == 200


def test_the_site_lists_every_option_and_public_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import vggnet

    monkeypatch.syspath_prepend(ROOT / "docs")
    from write_reference import write_reference

    write_reference(tmp_path)
    python = (tmp_path / "python.md").read_text(encoding="utf-8")
    modules = {name for name in vggnet.__all__ if inspect.ismodule(getattr(vggnet, name))}
    assert "## `vggnet.localize.evaluate`" in python
    for name in set(vggnet.__all__) - {"__version__", *modules}:
        assert f"## `vggnet.{name}`" in python
    text = (tmp_path / "commands.md").read_text(encoding="utf-8")
    for flag in ("`--train-scale`", "`DATA`", "`--bad-images` one of `stop`, `skip`", "## `vggnet localize evaluate`"):
        assert flag in text
    assert ": \n" not in text  # an option without a text
