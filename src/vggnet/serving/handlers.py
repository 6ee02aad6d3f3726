"""Answer the requests of the JSON API."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

from fastapi import Query, Request, Response

from vggnet.description import AS_STORED
from vggnet.explaining.pictures import fitted
from vggnet.serving.answers import (
    BoxAnswer,
    BoxesAnswer,
    ClassAnswer,
    ImageFacts,
    NetAnswer,
    PredictAnswer,
    SampleAnswer,
    ScaleWindows,
    ScoreMapAnswer,
    StatusAnswer,
)
from vggnet.serving.engine import Engine
from vggnet.serving.limits import Limits
from vggnet.serving.nets import ServedNet
from vggnet.serving.questions import Question, ViewName, ask, class_index, find_net
from vggnet.serving.refusals import Refused
from vggnet.serving.samples import Sample
from vggnet.serving.uploads import drain, read_upload, received
from vggnet.serving.windows import windows
from vggnet.serving.work import Work, jpeg

ModelParameter = Annotated[str | None, Query(description="a name of /api/models (default: the first)")]
ClassParameter = Annotated[str, Query(alias="class", description="a class's name in the data (not its title)")]
ScaleParameter = Annotated[int | None, Query(description="Q in pixels (default: the net's S)")]
ScalesParameter = Annotated[list[int], Query(description="Q in pixels, up to three times (default: the net's S)")]
TopParameter = Annotated[int, Query(ge=1, le=1_000_000, description="number of classes")]
ViewParameter = Annotated[
    ViewName,
    Query(
        description="center: one crop; dense: the whole image; crops: 5x5 crops; ten: ten crops; both: dense and crops"
    ),
]
MirrorParameter = Annotated[
    bool | None, Query(description="average with the mirror image (default: as the net was trained)")
]
THUMBNAIL_PX = 160


class Handlers:
    """The API's functions, one for each path. `folder` is for files of requests that are being answered."""

    def __init__(
        self,
        nets: Mapping[str, ServedNet],
        engine: Engine,
        limits: Limits,
        samples: Sequence[Sample],
        folder: Path,
    ) -> None:
        self._nets, self._engine, self._limits, self._samples = nets, engine, limits, samples
        self._folder = folder
        self._at_once = 0
        self.work = Work(engine, limits)

    async def models(self) -> list[NetAnswer]:
        """List the nets that are served, with their classes and their Q."""
        return [NetAnswer.of(net, ask(net, "dense", (), None)) for net in self._nets.values()]

    async def predict(
        self,
        request: Request,
        model: ModelParameter = None,
        view: ViewParameter = "dense",
        test_scale: ScalesParameter = [],  # noqa: B006  FastAPI copies it
        mirror: MirrorParameter = None,
        top: TopParameter = 5,
    ) -> PredictAnswer:
        """Name the most probable classes of an image, as `vggnet predict` and `vggnet evaluate` do."""
        async with self._taken(request) as file:
            question = ask(find_net(self._nets, model), view, test_scale, mirror)
            classes, (width, height) = await self.work.classes(file, question, top)
            notes = await self.work.notes(file, question)
        shown = _shown(question, width, height)
        copies = [each.copies for each in question.views]
        return PredictAnswer(
            model=question.net.name,
            view=view,
            test_scale=list(question.scales),
            mirror=any(each.mirror for each in question.views),
            image=ImageFacts(width=width, height=height),
            classes=[ClassAnswer.of(each) for each in classes],
            shown=shown,
            forward_passes=sum(
                many * (1 if each.view == "dense" else len(each.windows))
                for many, each in zip(copies, shown, strict=True)
            ),
            notes=list(notes),
        )

    async def score_map(
        self, request: Request, name: ClassParameter, model: ModelParameter = None, test_scale: ScaleParameter = None
    ) -> ScoreMapAnswer:
        """Return the posterior of a class for each window of the image (the class score map, Sect. 3.2)."""
        async with self._taken(request) as file:
            net, scale, label = self._about(model, name, test_scale)
            found, _ = await self.work.score_map(file, net, scale)
        return ScoreMapAnswer(
            model=net.name,
            name=name,
            title=net.description.title(label),
            test_scale=scale,
            step=found.step,
            window=found.window,
            posteriors=found.posteriors[label].tolist(),
        )

    async def score_map_picture(
        self, request: Request, name: ClassParameter, model: ModelParameter = None, test_scale: ScaleParameter = None
    ) -> Response:
        """Draw the class score map over the image."""
        async with self._taken(request) as file:
            net, scale, label = self._about(model, name, test_scale)
            found, image = await self.work.score_map(file, net, scale)
            return _png(await self.work.map_picture(found, image, label))

    async def saliency_picture(
        self, request: Request, name: ClassParameter, model: ModelParameter = None, test_scale: ScaleParameter = None
    ) -> Response:
        """Draw how much each pixel changes the score of a class: the gradient (Simonyan et al., 2014)."""
        async with self._taken(request) as file:
            net, scale, label = self._about(model, name, test_scale)
            return _png(await self.work.saliency(file, net, scale, label))

    async def boxes(
        self,
        request: Request,
        model: ModelParameter = None,
        test_scale: ScalesParameter = [],  # noqa: B006
        top: TopParameter = 5,
    ) -> BoxesAnswer:
        """Find the most probable classes with a box for each, as `vggnet localize predict` does (App. A)."""
        async with self._taken(request) as file:
            net = find_net(self._nets, model)
            if net.localization is None:
                raise Refused(404, "no net that draws boxes is served: start `vggnet serve` with `boxes`")
            scales = ask(net, "dense", test_scale or [net.box_scale], None).scales
            found, (width, height) = await self.work.boxes(file, net, scales, top)
        return BoxesAnswer(
            model=net.name,
            test_scale=list(scales),
            image=ImageFacts(width=width, height=height),
            boxes=[BoxAnswer.of(box) for box in found],
        )

    async def picture(self, request: Request, model: ModelParameter = None) -> Response:
        """Return the image as the net reads it, as a JPEG of at most 1024 pixels a side."""
        async with self._taken(request) as file:
            content = await self.work.picture(file, find_net(self._nets, model))
        return Response(content, media_type="image/jpeg")

    async def samples(self) -> list[SampleAnswer]:
        """List the sample images."""
        return [SampleAnswer(number=number, title=sample.title) for number, sample in enumerate(self._samples)]

    def sample(self, number: int) -> Response:
        """Return the file of a sample image."""
        return Response(self._sample(number).path.read_bytes(), media_type="application/octet-stream")

    def sample_picture(self, number: int) -> Response:
        """Return a small picture of a sample image."""
        image = read_upload(self._sample(number).path, AS_STORED, self._limits)
        return Response(jpeg(fitted(image, THUMBNAIL_PX)), media_type="image/jpeg")

    async def status(self) -> StatusAnswer:
        """Tell how many images were scored, in how many batches, and how many requests are being answered."""
        done = self._engine.counts
        return StatusAnswer(
            images=done.images,
            batches=done.batches,
            largest_batch=done.largest,
            at_once=self._at_once,
            limit=self._limits.images,
        )

    def _sample(self, number: int) -> Sample:
        if not 0 <= number < len(self._samples):
            raise Refused(404, f"sample {number}: there are {len(self._samples)}, counted from 0")
        return self._samples[number]

    def _about(self, model: str | None, name: str, test_scale: int | None) -> tuple[ServedNet, int, int]:
        """Return the net, Q and the class's place among its outputs."""
        net = find_net(self._nets, model)
        scales = ask(net, "dense", () if test_scale is None else (test_scale,), None).scales
        return net, scales[0], class_index(net, name)

    @asynccontextmanager
    async def _taken(self, request: Request) -> AsyncIterator[Path]:
        """Yield a file with the image of a request, as one of the images at once.

        Raises Refused: 429 where there are too many, 503 where the block takes too long.
        """
        if self._at_once >= self._limits.images:
            async with asyncio.timeout(self._limits.seconds):
                await drain(request)
            raise Refused(
                429, f"{self._at_once} images are being computed: come back in a second", {"Retry-After": "1"}
            )
        self._at_once += 1
        try:
            async with received(request, self._folder, self._limits) as file, asyncio.timeout(self._limits.seconds):
                yield file
        except TimeoutError:
            seconds = self._limits.seconds
            raise Refused(
                503, f"no answer within {seconds:g} s: try a smaller image or Q", {"Retry-After": "5"}
            ) from None
        finally:
            self._at_once -= 1


def _shown(question: Question, width: int, height: int) -> list[ScaleWindows]:
    architecture = question.net.description.architecture
    return [
        ScaleWindows(view=view.kind, test_scale=view.scale, windows=windows(view, architecture, width, height))
        for view in question.views
    ]


def _png(content: bytes) -> Response:
    return Response(content, media_type="image/png")
