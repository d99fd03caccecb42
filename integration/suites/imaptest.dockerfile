# What building ImapTest takes: it uses Dovecot's library, of a recent release.
FROM debian:forky-slim

RUN set -eu; \
    export DEBIAN_FRONTEND=noninteractive; \
    apt-get -o Acquire::Check-Valid-Until=false update -q; \
    apt-get install -q -y --no-install-recommends \
        autoconf automake libtool gcc libc6-dev make pkg-config gettext dovecot-core dovecot-dev libssl-dev; \
    rm -rf /var/lib/apt/lists/*
