"""What a notebook shows of results: the numbers that are printed, every text escaped."""

import dataclasses

from nets import random_net

from vggnet.evaluation.metrics import Count, Errors
from vggnet.evaluation.submission import ClassGuess, Prediction
from vggnet.evaluation.tables import Row, Table
from vggnet.network.diagnosis import Diagnosis, LayerSignal
from vggnet.network.pretrained import model_card


def test_a_table_has_its_rows_and_remarks() -> None:
    row = Row("<b>A</b>", "256", "dense", "256", Errors(Count(3, 10), None), 10)
    shown = Table("Errors & more", (row,), ("a <note>",))._repr_html_()
    assert "<td>&lt;b&gt;A&lt;/b&gt;</td>" in shown
    assert "<td>30.0 [10.8, 60.3]</td>" in shown
    assert "Errors &amp; more" in shown
    assert "a &lt;note&gt;" in shown
    assert "top-5" not in shown  # no row has one


def test_predictions_and_diagnoses_have_theirs() -> None:
    shown = Prediction("a&b.jpg", (ClassGuess("n01", "cat", 0.875),))._repr_html_()
    assert "<td>87.5</td><td>cat</td><td>n01</td>" in shown
    assert "a&amp;b.jpg" in shown
    layer = LayerSignal("fc8", 1.0, 0.5, 0.25, 1.0, 1.0, 0.125)
    shown = Diagnosis((layer,), 2.3, 1.5, 0.1, "learns", "Net A can learn.")._repr_html_()
    assert "<td>fc8</td><td>1.00e+00</td><td>5.00e-01</td><td>2.50e-01</td><td>1.25e-01</td>" in shown
    assert "Net A can learn." in shown


def test_a_card_has_data_errors_and_limits() -> None:
    description = random_net(("bee", "cat")).description
    card = model_card(description, "photos", ["top-1 3.0 % on 100 images, dense, Q=40"])
    assert card.startswith("---\nlibrary_name: vggnet\n")
    assert "- Training data: photos" in card
    assert "- top-1 3.0 % on 100 images, dense, Q=40" in card
    assert "narrower than the paper's net (width 0.04)" in card
    assert "also for images that show none of them" in card
    plain = model_card(dataclasses.replace(description, classes=()))
    assert "Training data: not recorded" in plain
    assert "`vggnet evaluate MODEL DATA` measures them" in plain
