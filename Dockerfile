# On the CPU:   docker build -t clan .
# With CUDA:    docker build -t clan --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128 .
#               docker run --gpus all ...
# Then:         docker run --rm -v "$PWD:/data" clan predict runs/clan/seed0 photos --out predictions
FROM python:3.11-slim

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

WORKDIR /clan
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src ./src
# torch alone from its own index, where 2.13.0+cpu counts as newer than 2.13.0; all it needs from PyPI
RUN pip install --no-cache-dir -c constraints.txt --extra-index-url "$TORCH_INDEX" torch \
    && pip install --no-cache-dir -c constraints.txt '.[cda,hub,large,onnx,remote,transformers,video]'

WORKDIR /data
ENTRYPOINT ["clan"]
CMD ["--help"]
