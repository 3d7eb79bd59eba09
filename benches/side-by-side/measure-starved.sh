#!/bin/bash
# Starved: a backlog, and lines that keep coming, while the agent has a share of one core and little
# memory: lost, duplicated, how long it took. Needs root, and cgroups with cpu and memory (v1 or v2).
OPTS="bytes=67108864 rate=200 seconds=20 cpu_pct=5 memory_mb=32 timeout_s=900 stall_s=120"
. "$(dirname "$0")/lib.sh"
parse "$@"
take_lock

cgroups=() # the agent's, one for each hierarchy
limit() { # hierarchy group-file value ...
  local dir=$1/bench-$$
  shift
  mkdir -p "$dir"
  cgroups+=("$dir")
  while [ $# -gt 0 ]; do
    echo "$2" >"$dir/$1"
    shift 2
  done
}
quota_us=$((opt_cpu_pct * 1000))
memory=$((opt_memory_mb * 1048576))
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
  kind=v2
  echo "+cpu +memory" >/sys/fs/cgroup/cgroup.subtree_control
  limit /sys/fs/cgroup cpu.max "$quota_us 100000" memory.max "$memory"
else
  kind=v1
  limit /sys/fs/cgroup/cpu cpu.cfs_period_us 100000 cpu.cfs_quota_us "$quota_us"
  limit /sys/fs/cgroup/memory memory.limit_in_bytes "$memory"
fi
release() {
  cleanup
  local dir
  for dir in "${cgroups[@]}"; do
    rmdir "$dir" 2>/dev/null || { sleep 1; rmdir "$dir"; } || true
  done
}
trap release EXIT

start_sink --strict --keep "$KEEP"
"$BIN/loadgen" gen --dir "$LOGS" --prefix backlog --bytes "$opt_bytes" --seed 2 --manifest "$WORK/m1" >"$WORK/totals1"
. "$WORK/totals1"
backlog=$lines
join='for dir in '"${cgroups[*]}"'; do echo $$ >"$dir/cgroup.procs"; done; exec "$@"'
AGENT_CMD=(sh -c "$join" sh "${AGENT_CMD[@]}")
start_agent
"$BIN/loadgen" gen --dir "$LOGS" --prefix live --rate "$opt_rate" --seconds "$opt_seconds" --seed 3 --ts \
  --manifest "$WORK/m2" >"$WORK/totals2" 9>&-
. "$WORK/totals2"
live=$lines
wait_events $((backlog + live)) "$opt_stall_s" "$opt_timeout_s"
rc=$WAIT_RC
wait_events 1000000000000 5 30 # late duplicates
snap p1
stats
agent_alive || { echo "agent ended early:"; tail -5 "$WORK/agent.log"; } >&2
# Both kinds number their lines alike; only live ones carry a time.
all=$KEEP
KEEP=$WORK/keep1 MANIFEST=$WORK/m1
grep -av ' ts=[0-9]*$' "$all" >"$KEEP" || true
verify && lost1=$v_lost dup1=$v_duplicated
KEEP=$WORK/keep2 MANIFEST=$WORK/m2
grep -a ' ts=[0-9]*$' "$all" >"$KEEP" || true
verify && lost2=$v_lost dup2=$v_duplicated
throttled=$(awk '$1 == "throttled_usec" { print $2 / 1e6 } $1 == "throttled_time" { print $2 / 1e9 }' "${cgroups[0]}/cpu.stat")
report "starved $NAME tls=$TLS cgroup=$kind cpu_pct=$opt_cpu_pct memory_mb=$opt_memory_mb bytes=$opt_bytes" \
  "backlog_lines=$backlog live_lines=$live arrived=$s_events lost=$((lost1 + lost2)) dup=$((dup1 + dup2))" \
  "caught_up_s=$(calc "($s_last_arrival_ns - $T_START) / 1e9" 1) cpu_s=$p1_cpu_s throttled_s=$throttled" \
  "peak_rss_mb=$(calc "$p1_peak_kb / 1024" 1) rc=$rc"
stop_agent
