#!/bin/sh
# The first process of the system that is installed on the disk: it says where it runs, goes on with the configuration that the initial file
# system had, and says when it is routed again by both uplinks.
exec > /dev/console 2>&1
/bin/busybox awk '$2 == "/" && $1 != "none" {print "installed: runs on " $1 ", " $3 ", " substr($4, 1, 2)}' /proc/mounts
(
    export NO_COLOR=1
    until /usr/bin/weft show summary 2> /dev/null | /bin/busybox grep -q "2 of 2 neighbors Established"; do /bin/busybox sleep 0.2; done
    echo "installed: routed by both uplinks, as before"
) &
while :; do
    NO_COLOR=1 /usr/bin/weft daemon --config /run/weft/weft.yaml
    /bin/busybox sleep 1
done
