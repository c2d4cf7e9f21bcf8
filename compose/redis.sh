#!/bin/sh
# Starts Redis with a password that it makes at its first start. Usage: redis.sh HOST FILE [OPTION...]
# HOST is the name its clients reach it by; they read its URL, password included, from FILE in the volume at /run/sluice. It starts as
# root with three capabilities, to give the files to whom they belong, and runs as the user of Sluice's own images with none.
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
