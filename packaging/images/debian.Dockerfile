# The official server's image with the extension in it.
#
#   docker build -f packaging/images/debian.Dockerfile --build-arg PG_MAJOR=17 -t postgres-sliding-sync:17 .
ARG PG_MAJOR=15
ARG SUITE=bookworm

FROM postgres:${PG_MAJOR}-${SUITE} AS build
RUN apt-get update && apt-get install -y --no-install-recommends g++ make postgresql-server-dev-${PG_MAJOR}
COPY . /source
WORKDIR /source
RUN make -j"$(nproc)" PG_CONFIG=/usr/lib/postgresql/${PG_MAJOR}/bin/pg_config WERROR=
RUN make install PG_CONFIG=/usr/lib/postgresql/${PG_MAJOR}/bin/pg_config WERROR= DESTDIR=/installed
RUN strip --strip-unneeded /installed/usr/lib/postgresql/${PG_MAJOR}/lib/sliding_sync.so

# No compiler in it, one layer more than the server's. Works with a read-only root and without capabilities, as that does.
FROM postgres:${PG_MAJOR}-${SUITE}
COPY --from=build /installed/ /
