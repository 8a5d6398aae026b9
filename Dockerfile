# On a CPU:  docker build -t trialigngr . && docker run --rm -v "$PWD/runs:/runs" trialigngr run trialigngr-demo --out /runs/demo
FROM python:3.12-slim
# The version of requirements.lock, as the build without CUDA.
RUN pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu torch==2.13.0
COPY pyproject.toml README.md LICENSE /source/
COPY src /source/src
RUN pip install --no-cache-dir '/source[weights]'
ENTRYPOINT ["trialigngr"]
