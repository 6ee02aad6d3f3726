"""evaluate, predict."""

import json

from vggnet.commands.output import write_json
from vggnet.console import progress, say
from vggnet.errors import UserError
from vggnet.evaluation.evaluate import evaluate as run_evaluation
from vggnet.evaluation.evaluate import predict as run_prediction
from vggnet.options.evaluation import EvaluateOptions, PredictOptions


def evaluate(options: EvaluateOptions) -> None:
    """`vggnet evaluate`."""
    if len(options.inputs) < 2:
        raise UserError("give the models first and the images last: vggnet evaluate MODEL... DATA")
    *models, data = options.inputs
    with progress("scoring") as tick:
        result = run_evaluation(
            models,
            data,
            views=options.views or None,
            test_scale=options.test_scale or None,
            protocol=options.protocol,
            device=options.device,
            precision=options.precision,
            workers=options.workers,
            bad_images=options.bad_images,
            csv=options.csv,
            markdown=options.markdown,
            on_progress=tick,
        )
    if options.json is not None:
        write_json(options.json, json.loads(result.to_json()))
    if str(options.json) == "-":
        return
    result.print()
    for path in (options.json, options.csv, options.markdown):
        if path is not None:
            say(f"written to {path}")


def predict(options: PredictOptions) -> None:
    """`vggnet predict`."""
    if len(options.inputs) < 2:
        raise UserError("give the model first, then images or folders of images: vggnet predict MODEL IMAGE...")
    model, *images = options.inputs
    predictions = run_prediction(
        model,
        images,
        top=options.top,
        scale=options.test_scale,
        device=options.device,
        precision=options.precision,
    )
    if options.json is not None:
        write_json(options.json, [_as_json(path, answers) for path, answers in predictions])
        if str(options.json) == "-":
            return
    for path, answers in predictions:
        say(path)
        for name, title, posterior in answers:
            say(f"  {100 * posterior:5.1f} %  {title}" + (f" ({name})" if title != name else ""))


def _as_json(path: str, answers: list[tuple[str, str, float]]) -> dict[str, object]:
    classes = [{"class": name, "title": title, "posterior": posterior} for name, title, posterior in answers]
    return {"image": path, "classes": classes}
