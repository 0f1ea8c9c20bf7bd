# syntax=docker/dockerfile:1
# One image for the server, the workers and the migrations.
#
#   CPU:   docker build -t lacuna .
#   CUDA:  docker build -t lacuna:cuda --build-arg TORCH_INDEX= .
#
# Without TORCH_INDEX pip takes torch's ordinary build for Linux, which brings CUDA's libraries; the machine then needs
# only the driver and the NVIDIA container toolkit. BASE may be any image with Python 3.11 or newer as `python3`, its
# module venv, and useradd: an own mirror, a pinned digest, or one of NVIDIA's with Python in it.
ARG BASE=python:3.11-slim

FROM ${BASE} AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
# torch is large and seldom changes: its layer stays when only our code changes.
RUN python3 -m venv /opt/lacuna \
    && /opt/lacuna/bin/pip install "torch>=2.13,<2.14" ${TORCH_INDEX:+--extra-index-url "${TORCH_INDEX}"}
WORKDIR /source
COPY . .
RUN /opt/lacuna/bin/pip install '.[demo,s3]'

FROM ${BASE}
# A number, so that Kubernetes can see that it is not root without reading /etc/passwd.
ARG UID=10001
RUN useradd --uid "${UID}" --user-group --no-create-home --home-dir /data --shell /usr/sbin/nologin lacuna \
    && install -d -o "${UID}" -g "${UID}" -m 0700 /data
COPY --from=build /opt/lacuna /opt/lacuna
# The program writes below /data only, so the rest can be mounted read-only.
ENV PATH=/opt/lacuna/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    OMP_WAIT_POLICY=PASSIVE LACUNA_DATA_DIR=/data LACUNA_HOST=0.0.0.0 LACUNA_PORT=8000
USER ${UID}
WORKDIR /data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
ENTRYPOINT ["lacuna"]
CMD ["server"]
