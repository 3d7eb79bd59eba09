#!/bin/bash
# Fair: while a large backlog of one file is drained, other files get a line now and then. How long
# from writing such a line to its arrival? (Lines of the backlog carry no time and are not counted.)
OPTS="bytes=2147483648 files=50 rate=10 seconds=5 timeout_s=600 stall_s=20"
. "$(dirname "$0")/lib.sh"
parse "$@"
CORPUS=$RUN/corpus-1-$opt_bytes # the same as measure-drain.sh's
if [ ! -s "$CORPUS/manifest" ]; then
  rm -rf "$CORPUS"
  "$BIN/loadgen" gen --dir "$CORPUS/logs" --bytes "$opt_bytes" --manifest "$CORPUS/manifest.new" >"$CORPUS.tmp"
  mv "$CORPUS.tmp" "$CORPUS/totals" && mv "$CORPUS/manifest.new" "$CORPUS/manifest"
fi
. "$CORPUS/totals"
backlog=$lines
take_lock
ln "$CORPUS"/logs/*.log "$LOGS/" 2>/dev/null || cp "$CORPUS"/logs/*.log "$LOGS/"
cat "$LOGS"/*.log >/dev/null
start_sink
start_agent
wait_events 1 20 60
"$BIN/loadgen" gen --dir "$LOGS" --prefix young --files "$opt_files" --rate "$opt_rate" --seconds "$opt_seconds" \
  --seed 5 --ts >"$WORK/totals" 9>&-
stats
during=$s_events
. "$WORK/totals"
wait_events $((backlog + lines)) "$opt_stall_s" "$opt_timeout_s"
snap p1
stats
agent_alive || { echo "agent ended early:"; tail -5 "$WORK/agent.log"; } >&2
report "fair $NAME tls=$TLS bytes=$opt_bytes young_files=$opt_files young_lines=$lines" \
  "backlog_left_at_last_line=$(calc "1 - ($during - $lines) / $backlog") arrived=$s_events of=$((backlog + lines))" \
  "p50_ms=$s_latency_p50_ms p99_ms=$s_latency_p99_ms max_ms=$s_latency_max_ms" \
  "peak_rss_mb=$(calc "$p1_peak_kb / 1024" 1) rc=$WAIT_RC"
stop_agent
