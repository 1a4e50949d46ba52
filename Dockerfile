# docs/DOCKER.md says more.  CPU:     docker build -t brad-mehldau-ai .
#                            NVIDIA:  docker build -t brad-mehldau-ai:cuda --build-arg DEVICE=cuda .
FROM python:3.12-slim-bookworm

# cpu or cuda; with cuda, CUDA=cu126 takes the wheels of PyTorch's index for a driver older than 580, or for a V100
ARG DEVICE=cpu
ARG CUDA=

# git: which state of the project `doctor` tells; rclone: --mirror REMOTE:. Debian's stable versions are as good as pinned
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends git libfluidsynth3 rclone \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /app
COPY requirements.txt requirements-serve.txt colab_setup.sh ./
# A torch that is there is kept by `install`, which takes the CPU's where it sees no GPU, as nothing here does
RUN case "$DEVICE" in \
        cpu) ;; \
        cuda) python -m venv .venv && .venv/bin/pip install --no-cache-dir "torch>=2.9,<3" \
                  ${CUDA:+--index-url "https://download.pytorch.org/whl/$CUDA"} ;; \
        *) echo "DEVICE is cpu or cuda, not $DEVICE" >&2; exit 2 ;; \
    esac \
    && PIP_NO_CACHE_DIR=1 bash colab_setup.sh install

COPY . .
ENV PATH="/app/.venv/bin:$PATH"
VOLUME ["/app/runs", "/app/outputs"]
CMD ["bash", "colab_setup.sh", "demo"]
