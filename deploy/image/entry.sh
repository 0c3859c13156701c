#!/bin/sh
# Starts a program with the settings that are kept in files: for each PATCHWAVE_…_FILE the variable
# without _FILE is set to the file's content. A URL with a password so stands neither in the
# compose file nor in what `docker inspect` shows.
set -eu

for name in PATCHWAVE_BUS PATCHWAVE_BUS_MANAGEMENT PATCHWAVE_STORE PATCHWAVE_TOPICS PATCHWAVE_AGENT_BUS; do
    eval "file=\${${name}_FILE:-}"
    [ -n "$file" ] || continue
    if [ ! -r "$file" ]; then
        echo "error: ${name}_FILE names $file, which cannot be read" >&2
        exit 78
    fi
    eval "$name=\$(cat \"\$file\")"
    export "$name"
    unset "${name}_FILE"
done

exec "$@"
