#!/bin/sh
# Draws the passwords of a new installation and writes what each service needs into that service's
# own directory. Runs before everything else, at every start; does nothing when it has run before.
#
#     make-secrets.sh [DIRECTORY]
#
# Readers have different users, so files are readable by all, the master key excepted: what keeps a
# service from another's secrets is that its container does not mount them.
set -eu
umask 022

root=${1:-/secrets}
# Written last: without it a run was cut short, and nobody has started with what it drew.
done_mark=$root/server/complete
[ ! -e "$done_mark" ] || exit 0

# 32 random bytes, as hex: safe in URLs, in JSON and in configuration files.
draw() {
    od -An -v -tx1 -N32 /dev/urandom | tr -d ' \n'
}

# write FILE: standard input becomes the file, whole or not at all.
write() {
    cat >"$root/$1.new"
    chmod 0444 "$root/$1.new"
    mv -f "$root/$1.new" "$root/$1"
}

# RabbitMQ's rabbit_password_hashing_sha256: base64(salt + sha256(salt + password)), salt of 4 bytes.
rabbitmq_hash() {
    salt=$(od -An -v -tx1 -N4 /dev/urandom | tr -d ' \n' | tr a-f A-F)
    digest=$({
        printf %s "$salt" | basenc --base16 --decode
        printf %s "$1"
    } | sha256sum | cut -d ' ' -f 1 | tr a-f A-F)
    printf %s "$salt$digest" | basenc --base16 --decode | base64 -w 0
}

server_bus=$(draw)
management=$(draw)
simulator_bus=$(draw)
broker_auth=$(draw)
database=$(draw)
database_admin=$(draw)
topics=$(draw)

# The control plane owns what begins with `patchwave.`; `amq.default` is what commands to nodes go
# through. `simulator` may declare and read queues of nodes and publish reports, and nothing else; the
# control plane trusts it to speak for the nodes that it makes up. Real nodes are no users here: the
# broker asks the control plane about them.
# `monitoring` lets the control plane ask for the broker's file limit, and change nothing.
# `disconnector` closes connections of nodes that were cut off, which takes an administrator of the
# broker, and deletes their queues; the control plane alone has its password, and never over AMQP.
# The policy bounds what a node's queues hold, whatever the node declares them as: a queue that nobody
# reads is gone after five minutes, and what is too much for one is dropped and sent again.
write broker/definitions.json <<END
{
  "vhosts": [{ "name": "/" }],
  "users": [
    { "name": "patchwave", "password_hash": "$(rabbitmq_hash "$server_bus")",
      "hashing_algorithm": "rabbit_password_hashing_sha256", "tags": ["monitoring"] },
    { "name": "disconnector", "password_hash": "$(rabbitmq_hash "$management")",
      "hashing_algorithm": "rabbit_password_hashing_sha256", "tags": ["administrator"] },
    { "name": "simulator", "password_hash": "$(rabbitmq_hash "$simulator_bus")",
      "hashing_algorithm": "rabbit_password_hashing_sha256", "tags": [] }
  ],
  "permissions": [
    { "user": "patchwave", "vhost": "/",
      "configure": "^patchwave\\\\.", "write": "^(patchwave\\\\..*|amq\\\\.default)\$", "read": "^patchwave\\\\." },
    { "user": "disconnector", "vhost": "/",
      "configure": "^patchwave\\\\.node\\\\.", "write": "^\$", "read": "^\$" },
    { "user": "simulator", "vhost": "/",
      "configure": "^patchwave\\\\.(node|host)\\\\.", "write": "^patchwave\\\\.reports\$",
      "read": "^patchwave\\\\.(node|host)\\\\." }
  ],
  "policies": [
    { "vhost": "/", "name": "nodes", "pattern": "^patchwave\\\\.node\\\\.", "apply-to": "queues", "priority": 0,
      "definition": { "expires": 300000, "max-length": 1000, "max-length-bytes": 67108864, "overflow": "drop-head" } }
  ]
}
END

# Seals secrets in the database and signs the audit log. Its readers insist on being its only ones.
{
    printf 'patchwave-master-key-1:'
    head -c 32 /dev/urandom | base64 -w 0
    echo
} | write server/master.key
chmod 0400 "$root/server/master.key"

printf %s "$database_admin" | write database/admin
printf %s "$database" | write database/patchwave

# Publishing and subscribing to topics is all that this user can do.
write topics/users.conf <<END
user default off
user patchwave on >$topics resetkeys resetchannels &patchwave:topic:* -@all +@pubsub +@connection
END
printf %s "$topics" | write topics/password

printf 'amqp://patchwave:%s@rabbitmq:5672/%%2f' "$server_bus" | write server/bus
printf 'http://disconnector:%s@rabbitmq:15672' "$management" | write server/bus-management
printf 'postgres://patchwave:%s@postgres:5432/patchwave' "$database" | write server/store
printf 'redis://patchwave:%s@redis:6379/0' "$topics" | write server/topics
printf 'amqp://simulator:%s@rabbitmq:5672/%%2f' "$simulator_bus" | write agent/bus

# Where the broker asks about nodes. The secret in the path keeps others from asking.
printf %s "$broker_auth" | write server/broker-auth
write broker/nodes.conf <<END
auth_http.user_path     = http://api:8082/broker-auth/$broker_auth/user
auth_http.vhost_path    = http://api:8082/broker-auth/$broker_auth/vhost
auth_http.resource_path = http://api:8082/broker-auth/$broker_auth/resource
auth_http.topic_path    = http://api:8082/broker-auth/$broker_auth/topic
END

: | write server/complete
echo "new passwords were drawn" >&2
