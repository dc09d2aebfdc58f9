# recalign for users: every verb, the experiments, and the demo. On a processor:
#   docker build -t recalign .
#   docker run --rm -v "$PWD:/work" recalign demo
# On a GPU of this machine (NVIDIA's container toolkit):
#   docker build --build-arg ACCELERATOR=cuda13 -t recalign .
#   docker run --rm --gpus all -v "$PWD:/work" recalign train --gin_file=own.gin …
# Recommendations over HTTP (docs/serving.md): docker build --build-arg EXTRA=serve -t recalign .
# The image for GKE's training is launch/gke/Dockerfile.
FROM python:3.12-slim
ARG ACCELERATOR=cpu
WORKDIR /recalign
# The packages are a layer of their own: code that changes does not install them again.
COPY requirements.txt ./
COPY launch/locks launch/locks
RUN pip install --no-cache-dir --require-hashes -r requirements.txt
RUN if [ "$ACCELERATOR" != cpu ]; then \
  pip install --no-cache-dir --require-hashes -r "launch/locks/$ACCELERATOR.txt"; fi
COPY pyproject.toml setup.py README.md LICENSE ./
COPY recalign recalign
COPY tasks tasks
COPY gin gin
ARG EXTRA=
# An extra without a lock (text) comes without digests, at the releases of the lock that it shares.
RUN if [ -f "launch/locks/$EXTRA.txt" ]; then \
    pip install --no-cache-dir --require-hashes -r "launch/locks/$EXTRA.txt"; \
  elif [ -n "$EXTRA" ]; then \
    sed -n 's/^\([a-z].*==[^ ]*\).*/\1/p' requirements.txt >constraints.txt; \
    pip install --no-cache-dir --no-build-isolation -c constraints.txt ".[$EXTRA]"; fi
RUN pip install --no-cache-dir --no-deps --no-build-isolation .
# Where data/ and runs/ are made: a folder of the user's.
WORKDIR /work
ENTRYPOINT ["recalign"]
CMD ["--help"]
