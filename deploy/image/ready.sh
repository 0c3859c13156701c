#!/bin/sh
# Health check of a container that serves the API: exits 0 when /readyz answers 200.
# Needs no HTTP client in the image.
set -eu

# shut-none: the connection stays whole until the answer is there. A half-closed one looks like a
# client that has gone.
address=${1:-127.0.0.1:8080}
answer=$(printf 'GET /readyz HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' "$address" |
    socat -t 12 - "TCP:$address,connect-timeout=2,shut-none" | head -n 1)
case $answer in
    'HTTP/1.1 200 '*) ;;
    *)
        echo "not ready: ${answer:-no answer from $address}" >&2
        exit 1
        ;;
esac
