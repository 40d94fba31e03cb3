# The container: Ubuntu, Monit, and the watcher with its own Node.js. No syntax that only BuildKit knows.
ARG NODE_IMAGE=node:24-bookworm-slim
ARG BASE_IMAGE=ubuntu:24.04

# --- packages: what the machine that builds needs to get at them stays here -------------------------

FROM ${BASE_IMAGE} AS packages
LABEL mailwatchd.stage=packages
# A mirror instead of the distribution's own servers, and certificates (PEM) of authorities to trust besides.
ARG APT_MIRROR=
ARG CA_CERTIFICATES=
RUN set -e; \
    [ -z "$APT_MIRROR" ] || find /etc/apt -name '*.list' -o -name '*.sources' | \
      xargs sed -i -E "s#https?://[^ ]+#$APT_MIRROR#"; \
    if [ -n "$CA_CERTIFICATES" ]; then \
      { echo "$CA_CERTIFICATES"; cat /etc/ssl/certs/ca-certificates.crt 2>/dev/null || :; } >/ca.pem; \
      echo 'Acquire::https::CAInfo "/ca.pem";' >/etc/apt/apt.conf.d/ca; \
    fi; \
    mkdir -p /packages/partial; \
    apt-get update --quiet; \
    apt-get install --quiet --yes --no-install-recommends --download-only -o Dir::Cache::archives=/packages \
      ca-certificates monit tini; \
    rm -rf /packages/partial /packages/lock

# --- the program -----------------------------------------------------------------------------------

FROM ${NODE_IMAGE} AS builder
LABEL mailwatchd.stage=builder
ARG NPM_CONFIG_REGISTRY=https://registry.npmjs.org/
ARG CA_CERTIFICATES=
WORKDIR /build
COPY package.json package-lock.json ./
# The Node.js of this image is the one to build with: no package has to bring its own, or to run anything.
RUN set -e; \
    if [ -n "$CA_CERTIFICATES" ]; then \
      echo "$CA_CERTIFICATES" >/ca.pem; \
      export NODE_EXTRA_CA_CERTS=/ca.pem; \
    fi; \
    npm ci --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error
COPY . .
RUN npm run build && \
    ./scripts/stage /stage --node "$(command -v node)" && \
    install -m 755 scripts/entrypoint scripts/take-directories /stage/usr/lib/mailwatchd && \
    install -D -m 600 monitrc /stage/etc/monit/monitrc

# --- the result ------------------------------------------------------------------------------------

FROM ${BASE_IMAGE}
COPY --from=packages /packages /packages
# Ubuntu's own user has the number 1000, as most people's have who mount a directory. What depends on the day
# (logs, caches, the day of a password's change) is removed, so that two builds give the same files.
RUN set -e; \
    DEBIAN_FRONTEND=noninteractive dpkg --install /packages/*.deb; \
    if id ubuntu >/dev/null 2>&1; then userdel --remove ubuntu; fi; \
    groupadd --system --gid 900 mailwatchd; \
    useradd --system --uid 900 --gid mailwatchd --home-dir /nonexistent --shell /usr/sbin/nologin mailwatchd; \
    chage --lastday -1 mailwatchd; \
    install -d -o mailwatchd -g mailwatchd -m 2770 /var/spool/mailwatchd; \
    install -d -o mailwatchd -g mailwatchd -m 750 /var/lib/mailwatchd /var/log/mailwatchd; \
    install -d /etc/mailwatchd; \
    rm -rf /packages /etc/passwd- /etc/group- /etc/shadow- /etc/gshadow- /etc/subuid- /etc/subgid- \
      /var/log/dpkg.log /var/log/alternatives.log /var/log/lastlog /var/log/faillog \
      /var/cache/ldconfig/aux-cache /var/cache/debconf/*-old /var/lib/dpkg/*-old
COPY --from=builder /stage/ /

EXPOSE 2812
VOLUME ["/var/spool/mailwatchd", "/var/lib/mailwatchd", "/var/log/mailwatchd"]
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s CMD ["/etc/init.d/mailwatchd", "status"]
# Where process 1 is another (--init, --pid host, pods that share pids), what lost its parent is still ours.
ENTRYPOINT ["/usr/bin/tini", "-s", "--", "/usr/lib/mailwatchd/entrypoint"]

ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="mailwatchd" \
      org.opencontainers.image.description="Mail in, JSON out: watches IMAP mailboxes and turns every new message into one JSON file, exactly once." \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
