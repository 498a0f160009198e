# The same on musl: matrix-docker-ansible-deploy runs such an image.
#
#   docker build -f packaging/images/alpine.Dockerfile --build-arg PG_MAJOR=17 -t postgres-sliding-sync:17-alpine .
ARG PG_MAJOR=15

FROM postgres:${PG_MAJOR}-alpine AS build
RUN apk add --no-cache binutils g++ make
COPY . /source
WORKDIR /source
RUN make -j"$(nproc)" PG_CONFIG=/usr/local/bin/pg_config WERROR=
RUN make install PG_CONFIG=/usr/local/bin/pg_config WERROR= DESTDIR=/installed
RUN strip --strip-unneeded /installed/usr/local/lib/postgresql/sliding_sync.so

FROM postgres:${PG_MAJOR}-alpine
RUN apk add --no-cache libstdc++
COPY --from=build /installed/ /
