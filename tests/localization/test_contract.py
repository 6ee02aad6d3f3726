"""Files of nets that draw boxes, and those written before there were any."""

import json

import pytest

from vggnet.description import ModelDescription
from vggnet.errors import UserError
from vggnet.paper.configurations import Architecture

CLASSES = ("ant", "bee", "cat")


@pytest.mark.parametrize(("boxes", "outputs"), [("", 3), ("scr", 4), ("pcr", 12)])
def test_classes_travel_with_boxes(boxes, outputs):
    description = ModelDescription(Architecture("A", outputs), classes=CLASSES, boxes=boxes)
    assert ModelDescription.from_json(description.to_json(), "a file") == description
    with pytest.raises(UserError, match="3 class names for a net of 5 outputs"):
        ModelDescription(Architecture("A", 5), classes=CLASSES, boxes=boxes)


def test_older_files_are_nets_that_name_classes():
    text = json.loads(ModelDescription(Architecture("A", 3), classes=CLASSES).to_json())
    del text["boxes"]
    assert ModelDescription.from_json(json.dumps(text), "a file").boxes == ""
    with pytest.raises(UserError, match="boxes"):
        ModelDescription.from_json(json.dumps(text | {"boxes": "polygons"}), "a file")


def test_a_description_goes_through_json_values_as_through_text() -> None:
    description = ModelDescription(Architecture("A", 2), classes=("a", "b"), train_scale=(40, 80))
    assert description.to_dict() == json.loads(description.to_json())
    assert ModelDescription.from_dict(description.to_dict(), "a file") == description
    old = description.to_dict() | {"recipe": {"mirror": False}}
    assert ModelDescription.from_dict(old, "a file").policy.mirror is False
    with pytest.raises(UserError, match="a file: not a vggnet model description: train_scale"):
        ModelDescription.from_dict(description.to_dict() | {"train_scale": ["x"]}, "a file")
    with pytest.raises(UserError, match="not UTF-8"):
        ModelDescription(Architecture("A", 2), classes=("a", "caf\udce9")).to_dict()
