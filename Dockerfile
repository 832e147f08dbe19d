# goclip for the CPU: `docker build -t goclip .`, then docs/install.md. The build fetches libtorch (0.55 GB) from the package
# index that pip is configured for; GOCLIP_WHEELS is the address of a server with the wheels where there is none.
FROM golang:1.26-bookworm AS build
ARG VERSION=container
ARG GOCLIP_WHEELS=
WORKDIR /src
# libtorch, the packages that its installer needs, and the modules change less often than the source.
COPY Makefile go.mod go.sum ./
COPY scripts/ scripts/
COPY cmd/libtorch/ cmd/libtorch/
RUN apt-get update && make libtorch && rm -rf /root/.cache/goclip /var/lib/apt/lists/*
RUN go mod download
COPY . .
RUN make release VERSION="$VERSION" && mkdir /goclip && tar -xzf dist/goclip-*.tar.gz --strip-components=1 -C /goclip

FROM debian:bookworm-slim
# What reads HEIC and AVIF, JPEG XL and JPEG 2000.
RUN apt-get update && apt-get install -y --no-install-recommends libheif1 libjxl0.7 libopenjp2-7 && rm -rf /var/lib/apt/lists/*
COPY --from=build /goclip /opt/goclip
# The user's number is fixed, so that a directory on the host can be given to it.
RUN groupadd --gid 10001 goclip && useradd --uid 10001 --gid goclip --home-dir /cache --no-create-home --shell /usr/sbin/nologin goclip \
  && mkdir -p /cache /data && chown goclip:goclip /cache /data
ENV PATH=/opt/goclip/bin:/usr/local/bin:/usr/bin:/bin GOCLIP_CACHE=/cache
# /cache holds the models that were fetched; /data is for images and indexes.
VOLUME /cache
WORKDIR /data
USER goclip
EXPOSE 8080
# Nothing listens unless the command is `serve --addr 0.0.0.0:8080`; of other commands the container's state says nothing.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s CMD ["infer", "doctor", "--server", "127.0.0.1:8080"]
ENTRYPOINT ["infer"]
CMD ["--help"]
