#!/bin/sh
# Makes the data directory on the first start, sees at each start that the databases and their roles are
# there, then becomes postgres. There is no tool but the shell's own words and PostgreSQL's programs.
#
# For each NAME in SEALIFT_DATABASES: the database NAME; the role NAME_owner, which owns it and changes its
# schema (password in /run/secrets/postgres-NAME-owner); and the role NAME, with which the service works and
# which owns nothing (password in /run/secrets/postgres-NAME). A new password counts from the next start on.
set -eu
umask 077

say() { printf '%s\n' "postgres-start: $*" >&2; }

# Sets `password` to the content of a secret that can stand between quotes in SQL.
read_password() {
    password=
    # The last line of a file may have no newline; read then fails and has read it all the same.
    IFS= read -r password <"/run/secrets/$1" || :
    case $password in
        '' | *[!A-Za-z0-9._~+=/-]*)
            say "the secret $1 must be letters, digits and ._~+=/- only"
            exit 78
            ;;
    esac
}

# Runs the SQL on its input before any client can connect. -j: a statement ends at an empty line, so that
# one broken line cannot join two of them.
single() {
    postgres --single -j -D "$PGDATA" -c config_file=/etc/postgresql/postgresql.conf -c log_checkpoints=off \
        "$@" postgres >/dev/null
}

# Made after initdb has written everything to the disk, so where it is, the rest is too.
marker=$PGDATA/sealift-initialised
if [ ! -e "$marker" ]; then
    for left in "$PGDATA"/*; do
        [ ! -e "$left" ] && continue
        say "the first start did not end, so $PGDATA is no database yet; remove the volume and start again"
        exit 78
    done
    # C.UTF-8 from PostgreSQL itself: the image has no locales of the C library. The superuser gets no
    # password; pg_hba.conf lets it in only through the socket.
    initdb --pgdata="$PGDATA" --username=postgres --encoding=UTF8 --locale=C \
        --locale-provider=builtin --builtin-locale=C.UTF-8 --data-checksums \
        --auth-local=peer --auth-host=scram-sha-256 >&2
    : >"$marker"
    initdb --pgdata="$PGDATA" --sync-only >&2
fi

for name in ${SEALIFT_DATABASES:-}; do
    case $name in *[!a-z0-9_]*) say "a database's name may have only a-z, 0-9 and _"; exit 78 ;; esac
    read_password "postgres-$name-owner"
    owner_password=$password
    read_password "postgres-$name"
    # What is there already is an error that does not matter; anything else that fails then fails after it.
    single -c log_min_messages=fatal <<END
CREATE ROLE "$name";

CREATE ROLE "${name}_owner";

CREATE DATABASE "$name";

SET exit_on_error = on;

SET log_min_messages = warning;

ALTER ROLE "$name" LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE NOREPLICATION NOINHERIT PASSWORD '$password';

ALTER ROLE "${name}_owner" LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE NOREPLICATION NOINHERIT PASSWORD '$owner_password';

ALTER DATABASE "$name" OWNER TO "${name}_owner";

REVOKE ALL ON DATABASE "$name" FROM PUBLIC, "$name";

GRANT CONNECT ON DATABASE "$name" TO "$name";

END
done

# With an identity of the site (a key, its certificate and the roots in one file), TLS is the only way in from
# the network, and whoever comes must show a certificate of the site besides a password.
identity=/run/secrets/identity.pem
if [ -e "$identity" ]; then
    set -- -c ssl=on -c ssl_cert_file="$identity" -c ssl_key_file="$identity" -c ssl_ca_file="$identity" \
        -c hba_file=/etc/postgresql/pg_hba-tls.conf "$@"
fi

exec postgres -D "$PGDATA" -c config_file=/etc/postgresql/postgresql.conf "$@"
