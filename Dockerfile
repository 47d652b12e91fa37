# phoenix-cached as a container.
#
#   docker build -t phoenix-cached .        (or: make image)
#
# Beside an orchestrator in one pod nothing is to be set but PHOENIX_REDIS_URL: the API stays on the pod's loopback
# address, where only the pod's containers reach it, and probes and metrics are on 8380 for the kubelet and Prometheus.
# Alone, with a published port, the API must be told to listen on all addresses, and should ask for a token:
#
#   docker run --read-only --cap-drop ALL -p 127.0.0.1:8379:8379 -e PHOENIX_HTTP_LISTEN=0.0.0.0:8379 \
#       -e PHOENIX_REDIS_URL=redis://redis.example:6379 -v phoenix:/var/lib/phoenix-cached phoenix-cached
#
# Every option is a PHOENIX_<SECTION>_<OPTION>; a file can be mounted and named by `--config FILE` after the image.
# What must survive (the spool) is in /var/lib/phoenix-cached: a volume, or a tmpfs where losing it with the container
# is acceptable. A volume of the host's must be writable for user 10001.

ARG BASE=debian:trixie-slim

FROM ${BASE} AS build
WORKDIR /src
# What the build needs changes seldom: a layer of its own.
COPY Makefile ./
COPY tools/deps.sh tools/
RUN apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends make >/dev/null && make deps-run
COPY . .
RUN make -j"$(nproc)" BUILD=build/image all && make -s BUILD=build/image install DESTDIR=/out PREFIX=/usr && \
    strip --strip-debug /out/usr/bin/phoenix-cached

FROM ${BASE}
# The spool's directory is open like /tmp: a tmpfs mounted on it takes its mode over, but belongs to root, and whoever
# runs the image as another user can write there too.
RUN apt-get update -qq && \
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends ca-certificates libmicrohttpd12t64 libhiredis1.1.0 libcjson1 \
        libuv1t64 libssl3t64 libinih1 libsqlite3-0 >/dev/null && \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log /usr/share/doc/* && \
    install -d -o 10001 -g 10001 -m 1777 /var/lib/phoenix-cached
COPY --from=build /out/usr/bin/phoenix-cached /usr/bin/phoenix-cached

ARG VERSION=unknown
LABEL org.opencontainers.image.title="phoenix-cached" \
      org.opencontainers.image.description="Sidecar that caches LLM responses and keeps orchestrators' state over HTTP, in Redis, and outlives its outages" \
      org.opencontainers.image.version="${VERSION}"

# The kubelet and Prometheus come from outside; the API's address stays loopback (see above). Where the network is
# IPv6 alone: [::]:8380.
ENV PHOENIX_ADMIN_LISTEN=0.0.0.0:8380
EXPOSE 8379 8380

WORKDIR /var/lib/phoenix-cached
VOLUME /var/lib/phoenix-cached
# By number, so that runAsNonRoot can be judged without looking into the image.
USER 10001:10001
STOPSIGNAL SIGTERM
# Kubernetes has probes of its own and ignores this one.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 CMD ["/usr/bin/phoenix-cached", "--probe"]
ENTRYPOINT ["/usr/bin/phoenix-cached"]
