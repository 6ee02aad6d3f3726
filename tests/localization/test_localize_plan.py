"""The plan of a box net's training: what it takes from the net that it starts from, and from the run to continue."""

import dataclasses
import json
from pathlib import Path

import pytest

from vggnet.errors import UserError
from vggnet.localization.plan import SOURCE, plan_localizer, resolve_localizer
from vggnet.options.flat import changed, flat
from vggnet.options.localization import LocalizeTrainOptions
from vggnet.training.agreement import plain
from vggnet.training.continuing import NOT_WRITTEN
from vggnet.training.distributed import World


def test_net_crop_and_scale_are_those_of_the_source(blocks: Path, classifier: Path) -> None:
    plan = plan_localizer(LocalizeTrainOptions(str(blocks), classifier), World())
    source = plan.source.architecture
    classes = len(plan.data.classes)
    assert plan.architecture == dataclasses.replace(source, outputs=4 * classes, dropout=0.0)
    assert plan.recipe.train_scale == plan.source.train_scale
    assert plan.out == Path("runs") / f"{blocks.name}-{source.net}-pcr"
    larger = LocalizeTrainOptions(str(blocks), classifier, boxes="scr", crop=2 * source.crop_px)
    plan = plan_localizer(larger, World())
    assert (plan.architecture.outputs, plan.architecture.crop_px) == (4, 2 * source.crop_px)
    assert plan.recipe.train_scale == tuple(2 * px for px in plan.source.train_scale)


def test_a_run_in_the_default_folder_goes_on_with_the_options_of_its_start(
    blocks: Path, classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where --out is not given, and where --net says which folder it is and the source's file is gone."""
    monkeypatch.chdir(tmp_path)
    given = LocalizeTrainOptions(str(blocks), classifier, train_scale=(40, 80), mirror=False)
    resolved, source = resolve_localizer(given)
    resolved.out.mkdir(parents=True)
    values = {name: plain(value) for name, value in flat(resolved.options).items() if name not in NOT_WRITTEN}
    values |= {"decoder": "processes", "micro_batch": 4, "threads": 1, SOURCE: json.loads(source.to_json())}
    (resolved.out / "config.json").write_text(json.dumps(values))
    again = LocalizeTrainOptions(str(blocks), classifier, resume=True)
    found, _ = resolve_localizer(again)
    assert found.recipe.train_scale == (40, 80)
    assert found.policy.mirror is False
    assert found.options.machine.micro_batch == 4
    with pytest.raises(UserError, match="started with `train_scale`"):
        resolve_localizer(changed(again, train_scale=(50,)))
    classifier.rename(tmp_path / "moved")
    found, stored = resolve_localizer(changed(again, net=source.architecture.net))
    assert (found.recipe.train_scale, stored) == ((40, 80), source)
