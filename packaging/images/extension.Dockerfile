# The extension alone, to be mounted beside a server from PostgreSQL 18 on, as CloudNativePG's image volumes are:
#
#   docker build -f packaging/images/extension.Dockerfile --build-arg PG_MAJOR=18 -t sliding-sync-extension:18 .
#
#   extension_control_path = '$system:/extensions/sliding-sync/share'
#   dynamic_library_path   = '$libdir:/extensions/sliding-sync/lib'
#
# The C++ runtime is the server's: its image has one, for ICU.
ARG PG_MAJOR=18
ARG SUITE=bookworm

FROM postgres:${PG_MAJOR}-${SUITE} AS build
RUN apt-get update && apt-get install -y --no-install-recommends g++ make postgresql-server-dev-${PG_MAJOR}
COPY . /source
WORKDIR /source
RUN make -j"$(nproc)" PG_CONFIG=/usr/lib/postgresql/${PG_MAJOR}/bin/pg_config WERROR=
RUN make install PG_CONFIG=/usr/lib/postgresql/${PG_MAJOR}/bin/pg_config WERROR= DESTDIR=/installed
RUN strip --strip-unneeded /installed/usr/lib/postgresql/${PG_MAJOR}/lib/sliding_sync.so

FROM scratch
COPY --from=build /installed/usr/lib/postgresql/${PG_MAJOR}/lib/ /lib/
COPY --from=build /installed/usr/share/postgresql/${PG_MAJOR}/extension/ /share/extension/
