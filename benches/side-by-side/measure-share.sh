#!/bin/bash
# What a part of the agent costs of a drain: the same drain with it and without it, in turns.
#   measure-share.sh --what NAME [--with WORDS] --without WORDS -- COMMAND
# The words follow the agent's command: `gzip` and `gzip unredacted` for deploywatch's redaction.
OPTS="what=part with= without= files=1 bytes=268435456 turns=3"
. "$(dirname "$0")/lib.sh"
parse "$@"
rm -rf "$WORK"
tls=()
[ "$TLS" = 0 ] || tls=(--tls)
drain() { # words; prints CPU seconds
  "$BENCH/measure-drain.sh" "${tls[@]}" --files "$opt_files" --bytes "$opt_bytes" --name share -- "${AGENT_CMD[@]}" $1 |
    sed -n 's/.* cpu_s=\([0-9.]*\) .*/\1/p'
}
with=0 without=0
for turn in $(seq "$opt_turns"); do
  with=$(calc "$with + $(drain "$opt_with")")
  without=$(calc "$without + $(drain "$opt_without")")
done
report "share $NAME what=$opt_what tls=$TLS files=$opt_files bytes=$opt_bytes turns=$opt_turns" \
  "cpu_s_with=$with cpu_s_without=$without share_pct=$(calc "($with - $without) / $with * 100" 1)"
