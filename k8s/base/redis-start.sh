# Starts Redis with the password in REDISCLI_AUTH, which may have any characters. Everybody on the
# node can read arguments, so the password is a line of the configuration at standard input. Each
# byte is written as \xHH: none can end the line or the quotes.
set -eu
bytes=$(printf %s "$REDISCLI_AUTH" | od -An -v -tx1 | tr -d ' \n' | sed 's/../\\x&/g')
exec redis-server "${1:-/etc/redis/redis.conf}" - <<EOF
requirepass "$bytes"
EOF
