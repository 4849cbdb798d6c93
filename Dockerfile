# pg-ecdsa-proxy in a container; what its variables mean: doc/container.md.
#
#	docker build -t pg-ecdsa-proxy .				with PostgreSQL inside
#	docker build -t pg-ecdsa-proxy --build-arg FLAVOUR=pooler .	pooler and backups for a PostgreSQL elsewhere
#
# BASE_IMAGE may be any Debian 12. Nothing in here depends on the architecture.
ARG BASE_IMAGE=debian:bookworm-slim

FROM ${BASE_IMAGE} AS build
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
	gcc libc6-dev make autoconf automake pkg-config \
	libevent-dev libssl-dev libsecp256k1-dev nettle-dev libc-ares-dev libidn-dev libpam0g-dev libldap-dev \
	liburing-dev libcurl4-openssl-dev libpq-dev libexpat1-dev libjansson-dev
COPY . /src
WORKDIR /build
RUN cd /src && ./autogen.sh && cd /build && /src/configure --prefix=/usr/local && \
	make -j"$(nproc)" && make install-strip DESTDIR=/out && rm -rf /out/usr/local/share

FROM ${BASE_IMAGE}
# all-in-one, or pooler.
ARG FLAVOUR=all-in-one
ARG VERSION=0.1.0
# The numbers are fixed, since they stand in volumes. A program each its user: who gets hold of one does not have the others' secrets.
RUN groupadd --system --gid 5432 postgres && \
	useradd --system --uid 5432 --gid postgres --home-dir /var/lib/postgresql --shell /bin/sh postgres && \
	groupadd --system --gid 5433 pgproxy && \
	useradd --system --uid 5433 --gid pgproxy --home-dir /nonexistent --shell /usr/sbin/nologin pgproxy && \
	groupadd --system --gid 5434 pgbackup && \
	useradd --system --uid 5434 --gid pgbackup --home-dir /nonexistent --shell /usr/sbin/nologin pgbackup
RUN case "$FLAVOUR" in \
	all-in-one) postgresql="postgresql postgresql-contrib" ;; \
	pooler) postgresql=postgresql-client ;; \
	*) echo "FLAVOUR=$FLAVOUR is neither all-in-one nor pooler" >&2; exit 1 ;; \
	esac && \
	mkdir -p /etc/postgresql-common && \
	echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf && \
	apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
	ca-certificates tzdata $postgresql \
	libevent-core-2.1-7 libevent-extra-2.1-7 libssl3 libsecp256k1-1 libnettle8 libc-ares2 libidn12 libpam0g libldap-2.5-0 \
	liburing2 libcurl4 libpq5 libexpat1 libjansson4 && \
	rm -rf /var/lib/apt/lists/* && \
	install -d -o postgres -g postgres -m 755 /var/lib/pg-ecdsa-proxy /run/pg-ecdsa-proxy
COPY --from=build /out/usr/local /usr/local

LABEL org.opencontainers.image.title="pg-ecdsa-proxy" \
	org.opencontainers.image.description="PostgreSQL connection pooler with wallet login, and encrypted backups" \
	org.opencontainers.image.version="${VERSION}" \
	org.opencontainers.image.licenses="MIT"

# PostgreSQL's protocol; health, metrics and pages. Platforms open what stands here and nothing else.
EXPOSE 5433 3000
VOLUME /var/lib/pg-ecdsa-proxy
HEALTHCHECK --interval=30s --timeout=10s --start-period=5m CMD ["/usr/local/bin/pg-ecdsa-container", "health"]
# No ENTRYPOINT: platforms that put one of their own in front carry CMD over, and CMD alone.
CMD ["/usr/local/bin/pg-ecdsa-container"]
