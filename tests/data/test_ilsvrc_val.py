"""ILSVRC's validation images in each form in which people have them give the same images with the same labels."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from vggnet.data.ilsvrc_val import find_val
from vggnet.data.opening import open_data
from vggnet.errors import UserError
from vggnet.evaluation.matching import open_split

# the devkit's order is its own; the answers of the six images, by their codes
NUMBERS = {1: "n02119789", 2: "n02100735", 3: "n02110185", 4: "n01440764"}
WORDS = {"n02119789": "kit fox", "n02100735": "English setter", "n02110185": "Siberian husky", "n01440764": "tench"}
TRUTH = [4, 1, 2, 3, 1, 4]
CODES = [NUMBERS[number] for number in TRUTH]


def image_name(number: int) -> str:
    return f"ILSVRC2012_val_{number:08d}.JPEG"


def write_images(folder: Path, place: Callable[[int], str] = lambda _: "") -> None:
    """Write the six images, each into the folder below `folder` that `place` names."""
    for number in range(1, len(TRUTH) + 1):
        file = folder / place(number) / image_name(number)
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (40, 40, 3), np.uint8)
        Image.fromarray(pixels).save(file, "JPEG")


def write_devkit(folder: Path, *, with_map: bool = False) -> None:
    """Write the labels and the table of classes as in the devkit of 2012; with the later ones' map in its place."""
    folder.mkdir(parents=True)
    (folder / "ILSVRC2012_validation_ground_truth.txt").write_text("".join(f"{number}\n" for number in TRUTH))
    if with_map:
        lines = [f"{code} {number} {WORDS[code].replace(' ', '_')}" for number, code in NUMBERS.items()]
        (folder / "map_clsloc.txt").write_text("\n".join(lines))
        return
    kind = [("ILSVRC2012_ID", object), ("WNID", object), ("words", object), ("num_children", object)]
    synsets = np.empty((len(NUMBERS) + 1, 1), kind)
    for place, (number, code) in enumerate(NUMBERS.items()):
        synsets[place, 0] = (float(number), code, WORDS[code], 0.0)
    synsets[-1, 0] = (1001.0, "n02083346", "canine, canid", 5.0)  # a synset above the classes
    savemat(folder / "meta.mat", {"synsets": synsets})


def found_in(root: Path) -> list[tuple[str, str]]:
    """Each validation image's name, with the code of its class."""
    data = open_data(str(root), whole=True)
    assert data.val is not None
    assert data.val.labels is not None
    names = [file.rpartition("/")[2] for file in data.val.files]
    return sorted(zip(names, (data.classes[label] for label in data.val.labels), strict=True))


EXPECTED = [(image_name(number), code) for number, code in enumerate(CODES, start=1)]


@pytest.mark.parametrize("images", ["val", "ILSVRC2012_img_val", ""])
@pytest.mark.parametrize("devkit", ["ILSVRC2012_devkit_t12/data", "data", "", "../ILSVRC2012_devkit_t12/data"])
@pytest.mark.parametrize("with_map", [False, True])
def test_a_flat_folder_with_the_devkit(tmp_path: Path, images: str, devkit: str, with_map: bool) -> None:
    root = tmp_path / "imagenet"
    write_images(root / images)
    where = tmp_path / "kit"
    write_devkit(where, with_map=with_map)
    shutil.copytree(where, root / devkit, dirs_exist_ok=True)
    shutil.rmtree(where)
    assert found_in(root) == EXPECTED
    data = open_data(str(root))
    assert data.train is None
    assert dict(zip(data.classes, data.titles, strict=True)) == WORDS
    assert any("validation_ground_truth.txt" in note for note in data.notes)
    assert not hasattr(open_split(str(root)), "files")  # labelled, although the folder may be flat


def test_a_flat_folder_with_codes_line_by_line(tmp_path: Path) -> None:
    write_images(tmp_path / "val")
    (tmp_path / "imagenet_2012_validation_synset_labels.txt").write_text("\n".join(CODES))
    assert found_in(tmp_path) == EXPECTED


def test_a_flat_folder_beside_training_images_in_class_folders(tmp_path: Path) -> None:
    write_images(tmp_path / "val")
    write_images(tmp_path / "train", lambda number: CODES[number - 1])
    write_devkit(tmp_path / "ILSVRC2012_devkit_t12" / "data")
    assert found_in(tmp_path) == EXPECTED
    data = open_data(str(tmp_path))
    assert data.train is not None
    assert len(data.train) == 6


def test_class_folders_without_training_images(tmp_path: Path) -> None:
    write_images(tmp_path / "a" / "val", lambda number: CODES[number - 1])
    write_images(tmp_path / "b", lambda number: CODES[number - 1])
    assert found_in(tmp_path / "a") == EXPECTED
    assert found_in(tmp_path / "b") == EXPECTED


@pytest.mark.parametrize("base", ["ILSVRC/Data/CLS-LOC", ""])
def test_the_validation_set_of_cls_loc_alone(tmp_path: Path, base: str) -> None:
    write_images(tmp_path / base / "val")
    lines = [f"{image_name(number)[:-5]},{code} 1 2 30 35 " for number, code in enumerate(CODES, start=1)]
    (tmp_path / "LOC_val_solution.csv").write_text("\n".join(["ImageId,PredictionString", *lines]) + "\n")
    (tmp_path / "LOC_synset_mapping.txt").write_text("n01440764 tench, Tinca tinca\n")
    assert found_in(tmp_path) == EXPECTED
    data = open_data(str(tmp_path))
    assert data.titles[0] == "tench, Tinca tinca"
    assert data.val is not None
    assert data.val.boxes is not None
    assert data.val.boxes[0].tolist() == [[1, 2, 30, 35]]


def test_a_part_of_the_images_has_its_own_labels(tmp_path: Path) -> None:
    write_images(tmp_path / "val")
    write_devkit(tmp_path / "devkit")
    (tmp_path / "val" / image_name(1)).unlink()
    assert found_in(tmp_path) == EXPECTED[1:]


def test_other_files_than_the_devkits_are_refused_with_their_line(tmp_path: Path) -> None:
    write_images(tmp_path / "val")
    write_devkit(tmp_path / "devkit")
    truth = tmp_path / "devkit" / "ILSVRC2012_validation_ground_truth.txt"
    truth.write_text("4\n1\n2\n")
    with pytest.raises(UserError, match=r"has 3 lines and none for 3 images of .* 'val/ILSVRC2012_val_00000004.JPEG'"):
        open_data(str(tmp_path))
    truth.write_text("4\n1\n2\n77\n1\n1\n")
    with pytest.raises(UserError, match=r"ground_truth\.txt:4: '77' is not the number of a class \(1 to 4\)"):
        open_data(str(tmp_path))
    (tmp_path / "devkit" / "meta.mat").write_bytes(b"MATLAB 5.0 MAT-file" + bytes(200))
    with pytest.raises(UserError, match=r"meta\.mat: not the devkit's table of classes"):
        open_data(str(tmp_path))
    (tmp_path / "devkit" / "meta.mat").unlink()
    with pytest.raises(UserError, match=r"neither meta\.mat nor map_clsloc\.txt beside the labels"):
        open_data(str(tmp_path))


def test_flat_images_without_labels_stay_unlabelled(tmp_path: Path) -> None:
    write_images(tmp_path / "alone" / "images")
    assert find_val(tmp_path / "alone" / "images") is None
    assert len(open_split(str(tmp_path / "alone" / "images"))) == 6  # type: ignore[arg-type]
