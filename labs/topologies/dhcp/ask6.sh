#!/bin/sh
# Runs dhclient anew, with more words, until it has an address, or for half a minute, ends it without a goodbye, and says what it was told.
rm -f /run/leases6
: > /run/client6
dhclient -6 -d -D LL -sf /etc/lab/got6.sh -lf /run/leases6 -pf /run/client6.pid "$@" eth0 > /run/client6 2>&1 &
turns=0
until grep -q '^BOUND6' /run/client6 || [ $turns -gt 600 ]; do
    turns=$((turns + 1))
    sleep 0.05
done
kill $!
wait $!
cat /run/client6
