# One image for every program of ours; compose says which one a container runs.
# It builds with old engines too (20.10, without BuildKit).
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# Compiled here, because the running container's file system is read-only.
# Unchecked hashes: a copy's new timestamps must not make them stale.
ENV COMPILE="python3 -m compileall -q -f --invalidation-mode unchecked-hash"
# What others wrote and what we wrote are layers apart: a change of ours leaves
# the former, which is nearly all, as it is.
RUN python3 -m venv /opt/minutebook/venv
COPY requirements.lock /opt/minutebook/
RUN /opt/minutebook/venv/bin/pip install --require-hashes --no-deps --only-binary :all: --no-compile \
        -r /opt/minutebook/requirements.lock \
    && /opt/minutebook/venv/bin/pip uninstall --yes pip \
    && $COMPILE /opt/minutebook/venv/lib
COPY adoption /opt/minutebook/app/adoption
COPY migrations /opt/minutebook/app/migrations
COPY shared /opt/minutebook/app/shared
COPY reconciliation /opt/minutebook/app/reconciliation
COPY services /opt/minutebook/app/services
COPY ops /opt/minutebook/app/ops
RUN $COMPILE /opt/minutebook/app

FROM ${PYTHON_IMAGE}
ENV PATH=/opt/minutebook/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
COPY --from=build /opt/minutebook/venv /opt/minutebook/venv
COPY --from=build /opt/minutebook/app /opt/minutebook/app
WORKDIR /opt/minutebook/app
# A number, so that orchestrators can see that it is not root.
USER 10001:10001
CMD ["python", "-m", "services.ingest", "--help"]
