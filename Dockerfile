# The controller's image: what uv.lock pins and nothing else, as nobody, on a file system that it never writes to.
ARG PYTHON=3.13.9-slim-trixie

FROM ghcr.io/astral-sh/uv:0.9.11 AS uv

FROM python:${PYTHON} AS build
COPY --from=uv /uv /usr/local/bin/uv
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never UV_PROJECT_ENVIRONMENT=/opt/quartermaster
WORKDIR /src
# Dependencies first: this layer stays while only our code changes.
COPY pyproject.toml uv.lock ./
RUN uv sync --frozen --no-dev --no-install-project
COPY README.md LICENSE NOTICE ./
COPY src src
RUN uv sync --frozen --no-dev --no-editable

FROM python:${PYTHON}
LABEL org.opencontainers.image.title="quartermaster" org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/quartermaster /opt/quartermaster
ENV PATH=/opt/quartermaster/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
WORKDIR /tmp
EXPOSE 8080 9443
ENTRYPOINT ["quartermaster"]
CMD ["controller"]
