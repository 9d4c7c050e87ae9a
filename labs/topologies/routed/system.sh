#!/bin/sh
# The first process of the system that is loaded: it goes on with the configuration that the initial file system had.
exec > /dev/console 2>&1
echo "system: runs, with $(/bin/busybox wc -c < /usr/share/filler) octets of its own"
while :; do
    NO_COLOR=1 /usr/bin/weft daemon --config /run/weft/weft.yaml
    /bin/busybox sleep 1
done
