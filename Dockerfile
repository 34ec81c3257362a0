# docker build -t clan .
# docker run --rm -v "$PWD:/data" clan predict runs/clan/seed0 photos --out predictions
# With a GPU, add --gpus all: PyPI's torch for Linux runs on the CPU and brings its CUDA libraries.
# Another build of torch:  docker build -t clan --build-arg PIP_EXTRA_INDEX_URL=ADDRESS .
# where ADDRESS is the one that pytorch.org names for it; a build for the CPU alone is far smaller.
FROM python:3.11-slim

# read by pip
ARG PIP_EXTRA_INDEX_URL

WORKDIR /clan
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src ./src
RUN pip install --no-cache-dir -c constraints.txt '.[cda,hub,large,onnx,remote,transformers,video]'

WORKDIR /data
ENTRYPOINT ["clan"]
CMD ["--help"]
