"""The plan of a training: what it takes from the options, the images, the source net and the run to continue."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from vggnet.data.opening import open_data
from vggnet.description import InputPolicy
from vggnet.errors import UserError
from vggnet.network.initialization import build
from vggnet.network.weights import save_model
from vggnet.options.flat import changed, flat
from vggnet.options.localization import LocalizeTrainOptions
from vggnet.options.machine import MachineOptions
from vggnet.options.training import TrainOptions
from vggnet.training import plan as planning
from vggnet.training.agreement import plain
from vggnet.training.continuing import CHOSEN_AT_START, FREE_ON_RESUME, NOT_WRITTEN
from vggnet.training.distributed import World
from vggnet.training.meeting import launch_names
from vggnet.training.plan import plan_training, resolve_training

Folders = Callable[..., Path]


def started(options: TrainOptions, out: Path, **more: object) -> Path:
    """Leave in `out` what a run has that was started with the options and stopped before its first state."""
    resolved = resolve_training(dataclasses.replace(options, out=out)).options
    out.mkdir()
    values = {name: plain(value) for name, value in flat(resolved).items() if name not in NOT_WRITTEN}
    (out / "config.json").write_text(
        json.dumps(values | {"decoder": "processes", "micro_batch": 4, "threads": 1} | more)
    )
    return out


def source_net(path: Path, net: str = "A", policy: InputPolicy | None = None) -> Path:
    model = build(net, num_classes=3, width=0.03, crop=64)
    if policy is not None:
        model.description = dataclasses.replace(model.description, policy=policy)
    save_model(path, model)
    return path


def test_a_new_runs_plan_follows_from_the_images(class_folders: Folders) -> None:
    data = class_folders(classes=2)
    plan = plan_training(TrainOptions(str(data), net="A"), World())
    assert plan.out == Path("runs/images-A")
    assert (plan.architecture.net, plan.architecture.outputs, plan.architecture.crop_px) == ("A", 2, 32)
    assert plan.recipe.train_scale == (37,)  # 256/224 of the crop
    assert plan.recipe.learning_rate == 0.01
    assert plan.policy == InputPolicy(mirror=True, orientation="apply")
    assert plan.workers > 0
    assert plan.data.train is not None
    assert len(plan.data.train) == 24
    values = flat(plan.options)
    optional = {"init_from", "train_from", "head_learning_rate", "micro_batch", "threads", "json"}  # need not be given
    optional |= {"check", "leave_out"}
    assert {name for name, value in values.items() if value is None or value == ()} == optional
    assert (values["crop"], values["out"], values["workers"]) == (32, plan.out, plan.workers)


def test_the_data_set_is_opened_once(class_folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    monkeypatch.setattr(planning, "open_data", lambda data: opened.append(data) or open_data(data))
    for crop in (None, 32):
        plan_training(TrainOptions(str(class_folders(name=f"crop-{crop}")), net="A", crop=crop), World())
    assert len(opened) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"net": "Z"}, "net 'Z' is not in Table 1"),
        ({"crop": 50}, "50 is not a multiple of 32"),
        ({"crop": 64, "train_scale": (40,)}, "a crop would not fit"),
        ({"sigma": 0.1}, "`sigma` 0.1 is the deviation of `init` gaussian"),
        ({"new_head": True}, "give `init_from`, too"),
        ({"train_from": "fc8"}, "give `init_from`, too"),
    ],
)
def test_mistakes_are_found_before_any_image_is_read(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        plan_training(changed(TrainOptions("no/such/folder", crop=None), **changes), World())


def test_crop_rate_and_policy_are_those_of_the_source_net(class_folders: Folders, tmp_path: Path) -> None:
    data, policy = str(class_folders()), InputPolicy(mirror=False, orientation="ignore", pixel_range=(0, 4095))
    given = TrainOptions(data, net="A", init_from=source_net(tmp_path / "a.safetensors", policy=policy), new_head=True)
    plan = plan_training(given, World())
    assert plan.architecture.crop_px == 64
    assert plan.recipe.learning_rate == 0.003  # of a new last layer without batch normalisation
    assert plan.policy == InputPolicy(mirror=False, orientation="apply", pixel_range=(0, 4095))
    assert plan.recipe.mirror is False
    own = dataclasses.replace(given, net="D", mirror=True, orientation="ignore", pixel_range=(0, 1023), crop=32)
    plan = plan_training(own, World())
    assert plan.recipe.learning_rate == 0.01
    assert plan.policy == InputPolicy(mirror=True, orientation="ignore", pixel_range=(0, 1023))


def test_a_run_goes_on_with_the_options_of_its_start(class_folders: Folders, tmp_path: Path) -> None:
    given = TrainOptions(str(class_folders()), net="A", mirror=False, train_scale=(40, 80))
    out = started(given, tmp_path / "run")
    again = TrainOptions(given.data, net="A", out=out, resume=True)
    plan = plan_training(again, World())
    assert plan.policy.mirror is False
    assert plan.recipe.train_scale == (40, 80)
    assert (plan.options.machine.micro_batch, plan.options.machine.threads) == (4, 1)
    free = changed(again, workers=3, device="cpu", step="plain", save_every=1.0, bad_images="skip", micro_batch=3)
    plan = plan_training(free, World())
    assert (plan.workers, plan.options.machine.micro_batch) == (3, 3)
    for name, value in {"mirror": True, "threads": 2, "crop": 64, "seed": 1, "batch": 8}.items():
        with pytest.raises(UserError, match=f"started with `{name}` "):
            plan_training(changed(again, **{name: value}), World())


def test_resume_without_a_run_is_a_new_run(class_folders: Folders, tmp_path: Path) -> None:
    given = TrainOptions(str(class_folders()), net="A", out=tmp_path / "run")
    new = plan_training(given, World())
    plan = plan_training(dataclasses.replace(given, resume=True), World())
    assert dataclasses.replace(plan.options, resume=False) == new.options
    assert (plan.architecture, plan.recipe, plan.policy) == (new.architecture, new.recipe, new.policy)


def test_only_a_restart_of_the_same_launch_goes_on_by_itself(
    class_folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = TrainOptions(str(class_folders()), net="A")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    same = started(given, tmp_path / "same", launch=launch_names())
    other = started(given, tmp_path / "other", launch=["another machine 1 1"])
    assert resolve_training(dataclasses.replace(given, out=same)).options.resume
    assert not resolve_training(dataclasses.replace(given, out=other)).options.resume


def test_config_json_and_the_command_line_know_no_groups() -> None:
    machine = set(flat(MachineOptions()))
    # nothing of a machine is refused for what it does not change; bf16 rounds the gradients that are exchanged
    assert machine - {"exchange"} <= FREE_ON_RESUME | CHOSEN_AT_START
    for options in (TrainOptions("data"), LocalizeTrainOptions("data", Path("model"))):
        assert machine < set(flat(options))
        assert "machine" not in flat(options)
        assert changed(options, device="cpu", seed=3).machine == MachineOptions(device="cpu")
        with pytest.raises(TypeError):
            changed(options, no_such_option=1)
