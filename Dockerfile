# vggnet from its wheel, for a CPU or for an NVIDIA GPU:
#     docker build -t vggnet .
#     docker build -t vggnet:cuda --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 .
#     docker run --rm -u $(id -u):$(id -g) -v "$PWD:/data" vggnet predict runs/D photos/val
#     docker run --rm --gpus all --shm-size 8g -u $(id -u):$(id -g) -v "$PWD:/data" vggnet:cuda train photos --out runs/D
FROM python:3.12-slim AS build
RUN pip install --no-cache-dir build
WORKDIR /source
COPY pyproject.toml README.md MANIFEST.in ./
COPY src src
RUN python -m build --wheel --outdir /wheels

FROM python:3.12-slim
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG EXTRAS=scenes,transfer,localize,tensorboard
COPY --from=build /wheels /wheels
# PyTorch first, from its own index: the one on PyPI brings CUDA along
RUN pip install --no-cache-dir --index-url "$TORCH_INDEX" torch torchvision \
    && pip install --no-cache-dir "$(ls /wheels/*.whl)[$EXTRAS]" \
    && rm -r /wheels
# any user may run it (-u); data sets and posteriors are cached beside the user's data
ENV VGGNET_CACHE=/data/.vggnet-cache HOME=/tmp
WORKDIR /data
ENTRYPOINT ["vggnet"]
CMD ["--help"]
