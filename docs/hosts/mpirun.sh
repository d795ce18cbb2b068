#!/bin/sh
# Runs one shard on each host. mpirun of Open MPI only launches them over ssh: loadgen makes no MPI call.
#
#   docs/hosts/mpirun.sh 'h1 h2 h3' ADDR [flags of loadgen run]        in an empty directory
#
# Needs: Open MPI here and on the hosts, ssh without a password, and loadgen under the same path everywhere.
set -eu
hosts=$1
shift
n=$(echo "$hosts" | wc -w)
program=${LOADGEN:-/usr/local/bin/loadgen}
printf "ssh %s $program\n" $hosts | xargs -d '\n' "$program" clock --out clocks.json
start=$(($(date +%s) + ${LEAD:-10}))
place=/tmp/loadgen-$start
mpirun --host "$(echo $hosts | tr ' ' ,)" -np "$n" --map-by node --bind-to none --timeout 3600 \
    --mca plm_rsh_no_tree_spawn 1 \
    "$program" run "$@" --shard auto --start-at "$start" --out "$place" ||
    echo "mpirun ended with $?" >&2
for host in $hosts; do
    ssh "$host" "tar -C $place -c . && rm -r $place" | tar -x || echo "$host has no results" >&2
done
"$program" merge . --clocks clocks.json --out whole
