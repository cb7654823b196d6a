#!/bin/sh
# Makes the data directory on the first start, then becomes postgres. There is no tool but the shell's own
# words and PostgreSQL's programs.
#
# For each NAME in SEALIFT_DATABASE_ROLES: /run/secrets/postgres-NAME holds the password of the role NAME,
# which owns the database NAME.
set -eu
umask 077

say() { printf '%s\n' "postgres-start: $*" >&2; }

# Written last: a directory without it is what an interrupted first start left.
marker=$PGDATA.initialised

if [ ! -e "$marker" ]; then
    if [ -e "$PGDATA/PG_VERSION" ]; then
        say "the first start did not end, so $PGDATA is no database yet; remove the volume and start again"
        exit 78
    fi
    sql=
    for role in ${SEALIFT_DATABASE_ROLES:-}; do
        case $role in *[!a-z0-9_]*) say "a role's name may have only a-z, 0-9 and _"; exit 78 ;; esac
        password=
        # The last line of a file may have no newline; read then fails and has read it all the same.
        IFS= read -r password <"/run/secrets/postgres-$role" || :
        case $password in
            '' | *[!A-Za-z0-9._~+=/-]*)
                say "the password of $role must be letters, digits and ._~+=/- only"
                exit 78
                ;;
        esac
        sql="$sql
CREATE ROLE \"$role\" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD '$password';

CREATE DATABASE \"$role\" OWNER \"$role\";

REVOKE ALL ON DATABASE \"$role\" FROM PUBLIC;
"
    done
    # C.UTF-8 from PostgreSQL itself: the image has no locales of the C library. The superuser gets no
    # password; pg_hba.conf lets it in only through the socket.
    initdb --pgdata="$PGDATA" --username=postgres --encoding=UTF8 --locale=C \
        --locale-provider=builtin --builtin-locale=C.UTF-8 --data-checksums \
        --auth-local=peer --auth-host=scram-sha-256 >&2
    # -j: a statement ends at an empty line, so that one broken line cannot join two of them.
    printf '%s\n' "$sql" | postgres --single -j -D "$PGDATA" -c config_file=/etc/postgresql/postgresql.conf \
        -c exit_on_error=on postgres >/dev/null
    : >"$marker"
fi

exec postgres -D "$PGDATA" -c config_file=/etc/postgresql/postgresql.conf "$@"
