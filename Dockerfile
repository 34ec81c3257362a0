# On the CPU:   docker build -t clan .
# With CUDA:    docker build -t clan --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128 .
#               docker run --gpus all ...
# Then:         docker run --rm -v "$PWD:/data" clan predict runs/clan/seed0 photos --out predictions
FROM python:3.11-slim

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

WORKDIR /clan
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src ./src
RUN PIP_INDEX_URL="$TORCH_INDEX" pip install --no-cache-dir -c constraints.txt torch \
    && pip install --no-cache-dir -c constraints.txt '.[cda,hub,onnx,transformers,video]'

WORKDIR /data
ENTRYPOINT ["clan"]
CMD ["--help"]
