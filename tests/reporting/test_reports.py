"""Whole reports: of runs, ladders and JSON files, in every state that these can be in."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import html5lib
import pytest
from nets import save_random_net

import vggnet
from vggnet.cli import run as command
from vggnet.data.learnt import Learnt, content_digests, write_learnt
from vggnet.data.opening import open_data
from vggnet.data.splits import ImageData
from vggnet.errors import BadImage, UserError
from vggnet.evaluation import matching
from vggnet.evaluation.computing import Computing
from vggnet.paper.results import TABLE_3, TABLE_4
from vggnet.reporting import building
from vggnet.reporting import images as single_images
from vggnet.reporting.building import build_report, write_report
from vggnet.reporting.contents import Text
from vggnet.reporting.measuring import Measured, measure
from vggnet.reporting.sources import Sources, read_run, read_sources
from vggnet.reporting.stored import stored_sections
from vggnet.reporting.summary import summary_section
from vggnet.reporting.unasked import written
from vggnet.reporting.words import percent

MakeRun = Callable[..., Path]
CPU = {"device": "cpu", "workers": 0}


def check_page(html: str) -> str:
    """Return the visible text of a valid page that asks for nothing from elsewhere."""
    tree = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(html)
    for element in tree.iter():
        for name, value in element.attrib.items():
            if str(name).split("}")[-1] in ("src", "href", "srcset", "data", "action"):
                assert str(value).startswith(("data:image/", "#")), (name, value)
    ids = [element.attrib["id"] for element in tree.iter() if "id" in element.attrib]
    assert len(ids) == len(set(ids))
    assert not re.search(r"url\((?!#)", html)
    assert len(tree.findall(".//script")) == 1
    return " ".join("".join(tree.find("body").itertext()).split())


@pytest.fixture
def ladder(class_folders: Callable[..., Path], make_run: MakeRun) -> Path:
    """A folder of two finished stages with ladder.json."""
    data = class_folders()
    first = make_run("A-S40", data)
    make_run("D-S40", data, net="D", source="A-S40", errors=(35.0, 20.0, 25.0), seed=1, mirror=False)
    stages = [{"stage": "A-S40"}, {"stage": "D-S40"}]
    (first.parent / "ladder.json").write_text(json.dumps(stages))
    return first.parent


def data_of(run: Path) -> Path:
    return Path(json.loads((run / "config.json").read_text())["data"])


def test_a_ladder_has_curves_errors_classes_and_images(ladder: Path) -> None:
    report = write_report([ladder], **CPU)
    assert report.file == ladder / "report.html"
    assert report.notes == ()
    assert len(report.html) < 5_000_000
    text = check_page(report.file.read_text())
    for title in ("What it is", "How it learnt", "Errors, beside the paper's", "Which classes it mistakes"):
        assert title in text
    assert "the held-out error fell from 35.0 % to 20.0 % at epoch 2 of 3" in text
    assert "Held out: about 10 % of the training images, which the net does not learn from." in text
    assert "A-S40. Dotted: the learning rate drops; dashed: the epoch whose weights are used." in text
    assert re.search(r"score map of class\d \(answered\)", text)
    assert re.search(r"class\d: \d+\.\d % class\d: ", text)
    assert re.search(r"The answers of [AD]-S40 dense Q=40 for 12 images", text)
    assert "Posteriors have not been corrected" in text
    assert "`" not in text.split("Where the numbers come from", 2)[1]  # before the model cards
    assert "Started from A-S40, it was as low as A-S40's best (30.0 %) after 2 epochs" in text
    assert "29.6/10.4" in text  # Table 3, net A
    assert "Without the mirror: D-S40 was trained without mirrored crops." in text
    assert "Test 9000" in text
    assert "All rows count the same 12 images" in text
    assert "Center: one crop from the middle. Dense: the net runs over the whole image. Names" in text  # no crops here
    assert "D-S40 started from A-S40, so its layers have learnt for longer." in text
    assert report.html.count('alt="saliency') > 3
    assert "fused" in text


def test_the_images_of_a_report_are_listed_once(ladder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    def counting(data: str, **options: bool) -> ImageData:
        opened.append(data)
        return open_data(data, **options)

    for module in (matching, building):
        monkeypatch.setattr(module, "open_data", counting)
    text = check_page(build_report([ladder], **CPU).html)
    assert opened == [str(data_of(ladder / "A-S40"))]
    assert "What the net sees" in text
    assert "Signal through the layers" in text


def test_other_images_that_are_all_counted_are_divided_for_the_pictures(ladder: Path, tmp_path: Path) -> None:
    images = tmp_path / "whole"
    shutil.copytree(data_of(ladder / "A-S40") / "train", images)
    text = check_page(build_report([ladder], data=str(images), **CPU).html)
    assert "All rows count the same 36 images" in text
    assert "Signal through the layers" in text


def test_a_second_report_needs_no_posteriors_anew(ladder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build_report([ladder], **CPU)
    monkeypatch.setattr("vggnet.evaluation.store.score_in_shards", lambda *_, **__: pytest.fail("a forward pass"))
    again = build_report([ladder], **CPU)

    def cut(html: str) -> str:
        return re.sub(r"Made by vggnet.*", "", html)

    assert cut(again.html) == cut(first.html)  # the same numbers make the same page


def test_names_of_classes_are_shown_as_they_are_and_run_nothing(
    class_folders: Callable[..., Path], make_run: MakeRun
) -> None:
    data = class_folders(classes=4, val=3)
    names = ("<script>alert(1)<", "\u0623\u0633\u0648\u062f", "n" * 250, "\"quotes' & $x_1$")
    for part in ("train", "val"):
        for place, name in enumerate(names):
            (data / part / f"class{place}").rename(data / part / name)
    titles = ("<script>alert(1)</script>", "\u0623\u0633\u0648\u062f \u0642\u0637", "t" * 300, "\"quotes' & $x_1$")
    order = sorted(range(4), key=lambda place: names[place])
    run = make_run("A", data, [names[place] for place in order], titles=[titles[place] for place in order])
    text = check_page(build_report([run], **CPU).html)
    for title in titles:
        assert title in text


@pytest.mark.parametrize("lost", ["best.safetensors", "metrics.csv", "config.json", "environment.json"])
def test_a_run_without_some_of_its_files_shows_the_rest(ladder: Path, lost: str) -> None:
    run = ladder / "A-S40"
    data = str(data_of(run))
    (run / lost).unlink()
    text = check_page(build_report([run], data=data, **CPU).html)
    assert ("How it learnt" in text) == (lost != "metrics.csv")
    assert ("Single images" in text) == (lost != "best.safetensors")


def test_damaged_files_are_named(ladder: Path) -> None:
    run = ladder / "A-S40"
    (run / "environment.json").write_text("{")
    (run / "metrics.csv").write_text((run / "metrics.csv").read_text() + "4,what\n")
    text = check_page(build_report([run], **CPU).html)
    assert "environment.json: cannot be read" in text
    assert "a line that is no row of numbers is left out" in text
    assert "at epoch 3 of 3" in text


def test_a_run_that_never_finished_an_epoch_says_so(class_folders: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(json.dumps({"data": str(class_folders()), "epochs": 5}))
    text = check_page(build_report([tmp_path / "run"], **CPU).html)
    assert "the first epoch has not ended" in text


def test_a_run_that_is_still_training_says_how_far_it_is(ladder: Path) -> None:
    run = replace(read_run(ladder / "A-S40"), finished=False)
    texts = [part.text for part in summary_section(Sources((run,)), None).parts if isinstance(part, Text)]
    assert "A-S40: still training, or stopped: 3 epochs of at most 3 so far" in texts


def test_images_that_are_gone_leave_the_curves(ladder: Path) -> None:
    shutil.rmtree(data_of(ladder / "A-S40"))
    report = build_report([ladder], **CPU)
    text = check_page(report.html)
    assert "the images cannot be used" in report.notes[0]
    assert "Without errors by image" in text
    assert "How it learnt" in text


def test_an_image_that_cannot_be_shown_any_more_is_named(ladder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> None:
        raise BadImage("0.jpg", "there is no such file")

    monkeypatch.setattr(single_images, "read_whole", gone)
    text = check_page(build_report([ladder], **CPU).html)
    assert "cannot be shown any more" in text
    assert "not shown: there is no such file" in text


def test_a_class_without_a_val_image_has_no_recall(ladder: Path) -> None:
    shutil.rmtree(data_of(ladder / "A-S40") / "val" / "class1")
    text = check_page(build_report([ladder], **CPU).html)
    assert re.search(r"class1 ?0 ?- ?", text)


def test_the_json_of_an_evaluation_is_shown_also_without_its_nets(ladder: Path, tmp_path: Path) -> None:
    file = tmp_path / "table.json"
    run = ladder / "A-S40"
    vggnet.evaluate(run, data_of(run), views=["center", "dense"], test_scale=[32, 40], json=file, device="cpu")
    text = check_page(build_report([file], **CPU).html)
    assert "Single images" in text
    assert "table.json" in text
    shutil.rmtree(ladder)
    text = check_page(build_report([file], **CPU).html)
    assert "Single images" not in text
    assert "Evaluations" in text


def test_an_evaluation_has_the_names_of_the_runs_and_tells_that_weights_have_changed(
    ladder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, run = tmp_path / "table.json", ladder / "A-S40"
    both = [run, ladder / "D-S40"]
    made = vggnet.evaluate(both, data_of(run), views=["center", "dense"], json=file, device="cpu")
    assert [row.nets for row in made.rows][-1] == "A + D"
    content = json.loads(file.read_text())
    command = ["vggnet", "evaluate", str(run), "my photos"]
    file.write_text(json.dumps(content | {"environment": content["environment"] | {"command": command}}))

    def stored(measured: Measured | None) -> tuple[tuple[str, ...], list[str]]:
        """Return the names of the rows, and what stands below them."""
        table, *below = stored_sections(read_sources([file]), measured)[0].parts
        return tuple(row[0] for row in table.rows), [getattr(part, "text", str(part)) for part in below]

    def measure_again() -> Measured:
        return measure(read_sources([file]).runs, str(data_of(run)), Computing.of("cpu", "auto", 0, "skip"))

    with monkeypatch.context() as patch:
        patch.setattr("vggnet.reporting.stored.file_hash", lambda _: pytest.fail("measuring has hashed the file"))
        names, texts = stored(measure_again())
    assert set(names) == {"A-S40", "D-S40", "A-S40 + D-S40"}
    assert not any("other weights" in text for text in texts)
    save_random_net(run / "best.safetensors", ("class0", "class1", "class2"), seed=5)
    for measured in (measure_again(), None):
        said, repeat, *_ = stored(measured)[1]
        assert said.startswith("These rows are of other weights of A-S40 than the rest of this report")
        assert f"vggnet evaluate {run} 'my photos'" in repeat


@pytest.mark.parametrize(
    ("copies", "said"),
    [
        (None, "Of 12 test images it names"),
        (0, "Of 12 images that it has not learnt from, it names"),
        (1, "Of 12 test images (it has learnt from 1 of them) it names"),
    ],
)
def test_the_first_paragraph_tells_which_images_and_which_views_an_error_is_of(
    ladder: Path, copies: int | None, said: str
) -> None:
    run, data = ladder / "D-S40", data_of(ladder / "D-S40")
    train = open_data(str(data)).train
    if copies is not None:
        write_learnt(run, Learnt.of(train, content_digests(train)), None)
    if copies:
        shutil.copyfile(data / "train" / "class0" / "0.jpg", data / "val" / "class0" / "0.jpg")
    first, second = replace(read_run(ladder / "A-S40"), wall_s=3700.0), read_run(run)
    measured = measure([second], str(data), Computing.of("cpu", "auto", 0, "skip"))
    text = summary_section(Sources((first, second)), measured).parts[0].text
    assert said in text
    center, dense = measured.of(second, "center"), measured.of(second, "dense")
    assert f"{percent(dense.row.errors.top1.rate)} (95 % interval" in text
    assert f"and {percent(center.row.errors.top1.rate)} by the centre crop alone" in text
    assert "tells 3 classes apart (class0, class1, class2)" in text
    assert "at S=40 (smaller side of the training images, in pixels), starting from A-S40" in text
    assert "which was trained for 1 h 1 min." in text


def test_a_row_that_two_tables_have_stands_beside_the_papers_net_of_fixed_s(ladder: Path) -> None:
    """Tables 4 and 5 have the dense row of three Q; that of Table 5 is of a net that was trained with jittered S."""
    run = ladder / "D-S40"
    vggnet.evaluate(run, data_of(run), protocol="table5", device="cpu")
    (net,) = read_sources([run]).runs
    measured = measure([net], str(data_of(run)), Computing.of("cpu", "auto", 0, "skip"))
    assert [len(row.scales) for row in measured.rows if row.kind == "dense"] == [1, 1, 1, 3]
    found = {kind: measured.of(net, kind, 3).row.paper for kind in ("dense", "multi-crop", "both")}
    assert measured.of(net, "dense").row.paper in TABLE_3
    assert found["dense"] in TABLE_4
    assert (found["dense"].top1, found["dense"].top5) == (26.6, 8.6)
    assert (found["multi-crop"].top1, found["both"].top1) == (24.6, 24.4)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("empty", "no run and no result"),
        ("other.json", "no run and no result"),
        ("broken.json", "cannot be read"),
        ("nothing", "there is no such file or folder"),
    ],
)
def test_paths_without_anything_to_report_on_are_refused(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "other.json").write_text("[1]")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(UserError, match=said):
        build_report([tmp_path / name], **CPU)


def test_the_command_writes_the_file_and_names_it(
    ladder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "page.html"
    assert command(["report", str(ladder), "--out", str(out), "--device", "cpu"]) == 0
    assert f"report: {out}" in capsys.readouterr().out
    assert out.read_text().startswith("<!DOCTYPE html>")
    assert command(["report", str(tmp_path / "nothing")]) == 2


def test_a_report_that_nobody_asked_for_never_ends_a_command(
    ladder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("vggnet.reporting.building.page", lambda *_: 1 / 0)
    assert written([ladder], **CPU) is None
    assert "no report was written (ZeroDivisionError" in capsys.readouterr().err


def test_a_notebook_shows_the_page_in_a_frame(ladder: Path) -> None:
    shown = vggnet.report(ladder / "A-S40", device="cpu")._repr_html_()
    assert shown.startswith("<iframe srcdoc=")
    assert "<script>" not in shown
    assert not (ladder / "A-S40" / "report.html").exists()
