# One builder stage, and one target for each image: api, worker, ui, cli, triton, recipe. Every package is pinned by hash
# in constraints/. All images run as a user without rights. The root file system may be read-only,
# with room at /tmp.
FROM python:3.13-slim-trixie AS builder
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ONLY_BINARY=:all: PIP_ROOT_USER_ACTION=ignore
# Some packages come with debugging information: 23 MB in ml_dtypes, 14 MB in uvloop, 11 MB in
# others. binutils, which strips it, stays in this stage.
RUN apt-get update && apt-get install --yes --no-install-recommends binutils && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY constraints/build.txt constraints/api.txt constraints/worker.txt constraints/cli.txt sluice/local/servers/ui.txt constraints/
# The files of constraints/ are complete, without what an image leaves out on purpose.
RUN for name in build api worker ui cli; do \
      python -m venv --without-pip "/opt/$name" \
   && pip --python "/opt/$name/bin/python" install --no-deps --require-hashes -r "constraints/$name.txt" || exit 1; \
    done
COPY pyproject.toml README.md LICENSE ./
COPY sluice sluice
COPY api api
COPY worker worker
COPY ui ui
COPY model_repository/codes model_repository/codes
COPY samples/desk.jpg samples/desk.jpg
# Of pymupdf-fonts, the fonts that worker/lettering.py names stay. Of Pygments, the lexers stay with
# which Rich shows a stack of Python.
RUN pip --python /opt/build/bin/python wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
 && for name in api worker ui cli; do \
      pip --python "/opt/$name/bin/python" install --no-deps --no-index /wheels/*.whl || exit 1; \
    done \
 && find /opt/api /opt/worker /opt/cli -type d \( -name tests -o -path '*/onnx/backend/test' \) -prune -exec rm -r {} + \
 && find /opt/api /opt/worker /opt/cli -type f \( -name '*.pyi' -o -name '*.pxd' -o -path '*/include/*.h' \) -delete \
 && find /opt/worker /opt/cli -path '*/pymupdf_fonts/*' -type f ! -name '__init__.*' ! -name 'FiraGO_Regular.*' ! -name 'NotoSansSymbols*' -delete \
 && find /opt/api /opt/worker /opt/cli -path '*/pygments/lexers/*' -type f ! -name '__init__.*' ! -name '_mapping.*' ! -name 'python.*' ! -name 'special.*' -delete \
 && find /opt/api /opt/worker /opt/cli -regextype posix-extended \
      -regex '.*/((ml_dtypes|PIL|hiredis|httptools|uvloop)/.*|rapidjson\.[^/]*)\.so' -exec strip --strip-debug {} + \
 && rm /opt/api/bin/celery /opt/worker/bin/celery /opt/cli/bin/celery

FROM python:3.13-slim-trixie AS runtime
# /var/lib/sluice is for a volume with the keys file, and /var/lib/sluice-models for one with models. A new
# volume takes over the owner of the folder it is mounted on.
RUN groupadd --gid 10001 sluice && useradd --uid 10001 --gid 10001 --no-log-init --home-dir /tmp --no-create-home sluice \
 && install --directory --owner 10001 --group 10001 /var/lib/sluice /var/lib/sluice-models
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /tmp
USER 10001:10001
STOPSIGNAL SIGTERM
ARG VERSION=dev REVISION=unknown
LABEL org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="python:3.13-slim-trixie"

FROM runtime AS api
LABEL org.opencontainers.image.title="sluice-api" org.opencontainers.image.description="Sluice's HTTP interface"
ENV PATH=/opt/api/bin:$PATH SLUICE_API_HOST=0.0.0.0 SLUICE_API_PORT=8080
COPY --from=builder /opt/api /opt/api
EXPOSE 8080
# -IS leaves out the installed packages, which take ten times as long to start.
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s --retries=3 CMD ["python", "-IS", "-c", "\
import socket, sys; s = socket.create_connection(('127.0.0.1', 8080), 4); s.settimeout(4); \
s.sendall(b'GET /healthz HTTP/1.0\\r\\n\\r\\n'); sys.exit(b' 200 ' not in s.recv(64))"]
ENTRYPOINT ["python", "-m", "api"]

# The argument chooses the process: `predictions` (the default), `keeper` or `webhooks`.
FROM runtime AS worker
LABEL org.opencontainers.image.title="sluice-worker" org.opencontainers.image.description="Sluice's workers"
# For labels on annotated images: FriBiDi, with which Pillow shapes Arabic, Hindi and Thai, and a
# font for Chinese, Japanese and Korean. Both together have 6 MB.
USER root
RUN apt-get update && apt-get install --yes --no-install-recommends fonts-wqy-microhei libfribidi0 \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin
USER 10001:10001
# A process runs several predictions on its own threads. Libraries that start more threads would
# compete with them.
ENV PATH=/opt/worker/bin:$PATH OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 \
    SLUICE_WORKER_ALIVE_FILE=/tmp/alive SLUICE_WEBHOOKS_ALIVE_FILE=/tmp/alive
COPY --from=builder /opt/worker /opt/worker
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s --retries=3 \
  CMD ["sh", "-c", "find /tmp/alive -newermt '-15 seconds' | grep -q ."]
ENTRYPOINT ["python", "-m", "worker"]

# Triton with the packages of the steps of ensembles (docs/guide/recipes.md). They lie beside the Python
# backend, in the folder that Triton's Python searches last, so that Triton's own numpy stays.
FROM nvcr.io/nvidia/tritonserver:26.07-py3 AS triton
LABEL org.opencontainers.image.title="sluice-triton" org.opencontainers.image.description="Triton with the steps of Sluice's ensembles"
# Where Triton's numpy is 1, its results have the types of numpy 2, as in workers.
ENV NPY_PROMOTION_STATE=weak
COPY constraints/worker.txt /tmp/worker.txt
RUN awk '/^[^ ]/ {kept = /^(anyascii|opencv-python-headless|pillow|pymupdf-fonts)==/} kept' /tmp/worker.txt > /tmp/steps.txt \
 && python3 -m pip install --no-cache-dir --disable-pip-version-check --no-deps --require-hashes --only-binary :all: \
    --target /opt/tritonserver/backends/python -r /tmp/steps.txt \
 && rm /tmp/worker.txt /tmp/steps.txt
COPY sluice /opt/tritonserver/backends/python/sluice
COPY worker /opt/tritonserver/backends/python/worker
RUN python3 -m compileall -q /opt/tritonserver/backends/python/sluice /opt/tritonserver/backends/python/worker
USER 10001:10001

# The page. Uploaded images are in /tmp.
FROM runtime AS ui
LABEL org.opencontainers.image.title="sluice-ui" org.opencontainers.image.description="Sluice's page"
ENV PATH=/opt/ui/bin:$PATH SLUICE_UI_HOST=0.0.0.0 SLUICE_UI_PORT=7860 HOME=/tmp
COPY --from=builder /opt/ui /opt/ui
EXPOSE 7860
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["python", "-IS", "-c", "\
import socket, sys; s = socket.create_connection(('127.0.0.1', 7860), 4); s.settimeout(4); \
s.sendall(b'GET /healthz HTTP/1.0\\r\\n\\r\\n'); sys.exit(b' 200 ' not in s.recv(64))"]
ENTRYPOINT ["python", "-m", "ui"]

# The command `sluice`, for `sluice models`. /in is the place for files that are mounted.
FROM runtime AS cli
LABEL org.opencontainers.image.title="sluice-cli" org.opencontainers.image.description="The command sluice, with what models need"
ENV PATH=/opt/cli/bin:$PATH SLUICE_MODELS_REPOSITORY=/var/lib/sluice-models
COPY --from=builder /opt/cli /opt/cli
WORKDIR /in
ENTRYPOINT ["sluice"]

# A recipe of the cookbook, for comparison only: k8s/components/cookbook/README.md. The packages of
# the api (FastAPI) stand beside those of the worker (OpenCV, Triton's client).
FROM runtime AS recipe
LABEL org.opencontainers.image.title="sluice-recipe" org.opencontainers.image.description="A baseline for comparison: FastAPI before Triton, without a queue"
ENV PATH=/opt/worker/bin:$PATH PYTHONPATH=/opt/recipe:/opt/api/lib/python3.13/site-packages \
    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
COPY --from=builder /opt/worker /opt/worker
COPY --from=builder /opt/api /opt/api
COPY benchmarks/__init__.py /opt/recipe/benchmarks/
COPY benchmarks/cookbook/__init__.py benchmarks/cookbook/handlers.py benchmarks/cookbook/recipe.py /opt/recipe/benchmarks/cookbook/
EXPOSE 8080
ENTRYPOINT ["python", "-m", "benchmarks.cookbook.handlers"]
