#!/bin/sh
# Starts Redis with a password that is made at the first start. Usage: redis.sh HOST FILE
# [OPTION...] Clients reach this Redis by the name HOST. They read its URL, with the password, from
# FILE in the volume at /run/sluice. The script starts as root with three capabilities, to give the
# files to their user. Redis runs as the user of Sluice's own images, with no capability.
set -eu
user=10001
host=$1 url=/run/sluice/$2 config=/run/sluice/$1.conf
shift 2

umask 027
if [ ! -s "$config" ]; then
  printf 'requirepass %s\n' "$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')" >"$config.new"
  mv "$config.new" "$config"
fi
printf 'redis://:%s@%s:6379/0\n' "$(cut -d' ' -f2 "$config")" "$host" >"$url"
chown "root:$user" "$config" "$url"
chown "$user:$user" /data
exec setpriv --reuid "$user" --regid "$user" --clear-groups --no-new-privs redis-server "$config" --dir /data "$@"
