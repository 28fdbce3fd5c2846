# syntax=docker/dockerfile:1
# One image for every role (`tierlink registry`, `resolver`, `migrate`); a second target adds the load generator.

FROM python:3.13-slim AS build
WORKDIR /src
RUN python -m venv /opt/tierlink
ENV PATH=/opt/tierlink/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
COPY requirements/server.lock requirements/
RUN pip install --require-hashes -r requirements/server.lock
COPY pyproject.toml README.md LICENSE ./
COPY schemas schemas
COPY registry registry
COPY resolver resolver
COPY tierlink tierlink
COPY migrations migrations
RUN pip install 'hatchling>=1.33' && pip install --no-deps --no-build-isolation .

FROM python:3.13-slim AS load
RUN useradd --system --uid 10001 tierlink
COPY --from=build /opt/tierlink /opt/tierlink
ENV PATH=/opt/tierlink/bin:$PATH PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1
COPY requirements/load.lock /tmp/load.lock
RUN pip install --require-hashes -r /tmp/load.lock
WORKDIR /app
COPY loadtests loadtests
USER tierlink

FROM python:3.13-slim AS node
# Volumes mounted over these folders take over their owner.
RUN useradd --system --uid 10001 tierlink \
 && install --directory --owner tierlink --mode 0700 /var/lib/tierlink \
 && install --directory --owner tierlink --mode 0755 /var/lib/tierlink-public
COPY --from=build /opt/tierlink /opt/tierlink
ENV PATH=/opt/tierlink/bin:$PATH PYTHONUNBUFFERED=1
USER tierlink
EXPOSE 8088
ENTRYPOINT ["tierlink"]
CMD ["registry"]
