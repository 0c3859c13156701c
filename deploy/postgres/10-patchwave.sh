#!/bin/sh
# Runs once, in an empty database cluster: the role and the database of Patchwave. The role owns its
# database, where the programs run their migrations, and is no superuser.
set -eu

psql --set ON_ERROR_STOP=1 --no-psqlrc --username "${POSTGRES_USER:-postgres}" --dbname postgres \
    --set password="$(cat /run/secrets/patchwave/patchwave)" <<'END'
CREATE ROLE patchwave LOGIN PASSWORD :'password';
CREATE DATABASE patchwave OWNER patchwave;
REVOKE CONNECT ON DATABASE patchwave FROM PUBLIC;
END
