"""The schedule, step by step, by hand."""

import pytest

from vggnet.errors import UserError
from vggnet.network.initialization import build
from vggnet.paper.recipes import Recipe, fixed_scale, jittered_scale, larger_scale, scaled_px
from vggnet.training.optimization import Plateau, build_optimizer


def rates(recipe: Recipe, errors: list[float]) -> tuple[list[float], int]:
    """The rate after each epoch, and the epochs that ran."""
    schedule, seen = Plateau(recipe), []
    for number, error in enumerate(errors, start=1):
        going = schedule.after_epoch(number, error)
        seen.append(round(schedule.learning_rate, 9))
        if not going:
            return seen, number
    return seen, len(errors)


def test_the_rate_is_divided_by_ten_on_a_plateau_three_times_then_training_ends() -> None:
    recipe = Recipe(epochs=100, patience=2, latest_drops=())
    # 50 improves; then nothing does: a drop every two epochs, and the end at the fourth plateau
    seen, epochs = rates(recipe, [50.0] * 20)
    assert seen == [0.01, 0.01, 0.001, 0.001, 1e-4, 1e-4, 1e-5, 1e-5, 1e-5]
    assert epochs == 9


def test_an_improvement_starts_the_count_again() -> None:
    recipe = Recipe(epochs=100, patience=2, latest_drops=())
    seen, _ = rates(recipe, [50.0, 51.0, 49.0, 50.0, 50.0, 48.0])
    assert seen == [0.01, 0.01, 0.01, 0.01, 0.001, 0.001]


def test_a_short_budget_still_sees_every_rate() -> None:
    recipe = Recipe(epochs=10, patience=50)
    seen, epochs = rates(recipe, [float(100 - i) for i in range(10)])
    # drops after 6 (0.6), 8 (0.8) and 10 (0.93 x 10 rounds up): the last epoch ends training before the third
    assert seen == [0.01] * 5 + [0.001] * 2 + [1e-4] * 3
    assert epochs == 10


@pytest.mark.parametrize(("epochs", "drops"), [(74, [45, 60, 69]), (20, [12, 16, 19]), (15, [9, 12, 14])])
def test_the_rate_drops_while_the_error_still_falls(epochs: int, drops: list[int]) -> None:
    """As docs/training.md and the help of --patience state it."""
    recipe = Recipe(epochs=epochs)
    seen, ran = rates(recipe, [float(1000 - i) for i in range(epochs)])
    assert ran == epochs
    assert [number for number in range(1, epochs) if seen[number - 1] < ([0.01, *seen])[number - 1]] == drops


def test_weight_decay_acts_on_biases_and_on_batch_normalisation_too() -> None:
    model = build("A", num_classes=3, width=0.03, crop=32, batch_norm=True)
    groups = build_optimizer(model, Recipe()).param_groups
    assert {group["weight_decay"] for group in groups} == {5e-4}
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))


def test_a_restored_schedule_goes_on_as_if_nothing_had_happened() -> None:
    recipe = Recipe(epochs=30, patience=3)
    errors = [50, 49, 49, 49, 49, 48, 48, 48, 48, 48, 47, 47, 47, 47, 47]
    whole = Plateau(recipe)
    for number, error in enumerate(errors, start=1):
        whole.after_epoch(number, error)
        again = Plateau(recipe)
        again.restore(whole.state())
        assert again.state() == whole.state()
        assert again.learning_rate == whole.learning_rate


def test_pixel_sizes_follow_the_crop() -> None:
    assert [scaled_px(size, 64) for size in (256, 384, 512, 32)] == [73, 110, 146, 9]
    assert fixed_scale(64).train_scale == (73,)
    assert larger_scale().train_scale == (384,)
    assert larger_scale().learning_rate == 1e-3
    assert jittered_scale(64).train_scale == (73, 146)
    assert jittered_scale().judged_scale == 384


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch": 0},
        {"epochs": 0},
        {"learning_rate": 0.0},
        {"momentum": 1.0},
        {"weight_decay": -1.0},
        {"train_scale": (512, 256)},
        {"train_scale": (1, 2, 3)},
        {"train_scale": ()},
        {"patience": 0},
    ],
)
def test_a_recipe_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UserError):
        Recipe(**wrong)  # type: ignore[arg-type]


def test_a_scale_below_the_crop_is_refused_with_the_least_one() -> None:
    with pytest.raises(UserError, match="at least 224"):
        Recipe(train_scale=(200,)).check_crop(224)
