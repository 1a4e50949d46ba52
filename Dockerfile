# The demo on the CPU: docker build -t brad-mehldau-ai . && docker run -v "$PWD/outputs:/app/outputs" brad-mehldau-ai
FROM python:3.11-slim

RUN apt-get update \
    && apt-get install -y --no-install-recommends libfluidsynth3 git \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /app
COPY requirements.txt requirements-serve.txt colab_setup.sh ./
RUN bash colab_setup.sh install

COPY . .
CMD ["bash", "colab_setup.sh", "demo"]
