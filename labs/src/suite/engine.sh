# Two routers from the image, in a container engine as containerlab would run them: no network of the engine's, the rights that the
# README names, the sysctls that containerlab sets, and a pair of interfaces between them.
#
#   unshare --net --mount --pid --fork --mount-proc sh engine.sh DOCKERFILE CONTEXT FOLDER NAME
#
# Everything is in namespaces of its own and in FOLDER; it ends with this script.
set -eu
dockerfile=$1 context=$2 folder=$3 name=$4
export DOCKER_HOST="unix://$folder/socket" DOCKER_BUILDKIT=0
# containerd's sockets are below /run, whatever dockerd is told
mount -t tmpfs none /run
ip link set lo up
/usr/sbin/dockerd --data-root "$folder/data" --exec-root "$folder/exec" --pidfile "$folder/pid" --host "$DOCKER_HOST" \
    --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent "/weft-suite-$$" --iptables=false --bridge=none >"$folder/dockerd.log" 2>&1 &
engine=$!

# until COMMAND succeeds, at most half a minute
poll() {
    for _ in $(seq 120); do
        if "$@" >"$folder/said" 2>&1; then return; fi
        sleep 0.25
    done
    echo "not within 30 s: $*"
    cat "$folder/said"
    return 1
}
says() {
    text=$1
    shift
    "$@" 2>&1 | tee "$folder/heard" | grep -q "$text" || { cat "$folder/heard"; return 1; }
}

poll /usr/bin/docker version
/usr/bin/docker build --quiet --tag weft --file "$dockerfile" "$context"
for n in 1 2; do
    cat >"$folder/r$n.yaml" <<CONFIG
hostname: r$n
asn: 420000000$n
addresses: [10.255.0.$n/32]
groups:
  fabric: {import: accept-all, export: accept-all}
peers:
  other: {interface: eth1, remote_asn: external, group: fabric}
CONFIG
    /usr/bin/docker run --detach --name r$n --hostname r$n --network none --cap-add NET_ADMIN \
        --sysctl net.ipv6.conf.all.disable_ipv6=0 --sysctl net.ipv6.conf.default.disable_ipv6=0 \
        --volume "$folder/r$n.yaml:/etc/weft/weft.yaml:ro" weft
done
pid1=$(/usr/bin/docker inspect --format '{{.State.Pid}}' r1)
pid2=$(/usr/bin/docker inspect --format '{{.State.Pid}}' r2)
ip link add eth1 netns "$pid1" type veth peer name eth1 netns "$pid2"
for pid in "$pid1" "$pid2"; do nsenter --target "$pid" --net ip link set eth1 up; done
for n in 1 2; do poll says '1 of 1 neighbor Established' /usr/bin/docker exec r$n weft show neighbors; done
poll says 'proto 77' nsenter --target "$pid1" --net ip route show 10.255.0.2
poll says ', 0 warn, 0 bad' /usr/bin/docker exec r1 weft health
/usr/bin/docker stop r1
# what the image stops with is a restart that leaves routes in place, not the engine's kill
test "$(/usr/bin/docker inspect --format '{{.State.ExitCode}}' r1)" = 0
says 'routes_kept=true' /usr/bin/docker logs r1
/usr/bin/docker rm --force r1 r2
kill "$engine"
wait "$engine" || true
rmdir /sys/fs/cgroup/*/"$name" /sys/fs/cgroup/"$name" 2>/dev/null || true
