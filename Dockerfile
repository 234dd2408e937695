# One image for every role: docker build --build-arg RAY_VERSION=2.60.0 -t raydeck .
FROM python:3.12-slim AS build
WORKDIR /src
COPY requirements-run.lock requirements-node.lock ./
RUN python -m venv /opt/raydeck && /opt/raydeck/bin/pip install --no-cache-dir --require-hashes --no-deps -r requirements-run.lock
# Raydeck speaks to a cluster through the cluster's own Ray version.
ARG RAY_VERSION=
RUN if [ -n "$RAY_VERSION" ]; then /opt/raydeck/bin/pip install --no-cache-dir --no-deps "ray==$RAY_VERSION"; fi
COPY pyproject.toml hatch_build.py package.json package-lock.json .npmrc README.md LICENSE CHANGELOG.md ./
COPY scripts ./scripts
COPY clusterstate ./clusterstate
COPY workers ./workers
COPY webapp ./webapp
COPY templates ./templates
COPY static ./static
RUN /opt/raydeck/bin/pip install --no-cache-dir --no-deps .

FROM python:3.12-slim
COPY --from=build /opt/raydeck /opt/raydeck
RUN useradd --uid 10001 --no-create-home --home-dir /var/lib/raydeck raydeck && install -d -m 0700 -o raydeck /var/lib/raydeck
USER raydeck
ENV PATH=/opt/raydeck/bin:$PATH RAYDECK_STATE_DIR=/var/lib/raydeck
VOLUME /var/lib/raydeck
ENTRYPOINT ["raydeck"]
CMD ["up"]
