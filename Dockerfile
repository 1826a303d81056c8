# Pipeline and service in one image. For research use; not a medical device.
# A service alone needs no torch: each bento brings its own, smaller Dockerfile (env/docker/Dockerfile inside it).
FROM python:3.11.13-slim-bookworm

ENV PIP_NO_CACHE_DIR=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    DAGSTER_DISABLE_TELEMETRY=yes \
    BENTOML_DO_NOT_TRACK=true \
    DAGSTER_HOME=/app/data/dagster

RUN useradd --uid 10001 --user-group --create-home --shell /usr/sbin/nologin cxr

WORKDIR /app
COPY requirements.lock ./
RUN python -m pip install --requirement requirements.lock

COPY pyproject.toml README.md LICENSE workspace.yaml ./
COPY cxr_core cxr_core
COPY cxr_assets cxr_assets
COPY bentoml_service bentoml_service
RUN python -m pip install --no-deps --no-build-isolation --editable . \
    && mkdir data && chown cxr:cxr data

USER cxr
VOLUME /app/data
EXPOSE 3001

# /health answers 200 only when the model is loaded; the slim image has no curl.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:3001/health', timeout=4)"]

# The service by default; `docker run IMAGE run` materialises the pipeline into the volume first.
ENTRYPOINT ["cxr"]
CMD ["serve", "--host", "0.0.0.0"]
