# A BMP station at two ports, and a dissector that writes down what it sees on the wire of the second from the first octet on. It takes
# seconds to start, what captures for it does not.
pmbmpd -f /etc/lab/pmbmpd.conf &
dumpcap -q -P -i eth1 -f 'tcp port 5001' -w - 2> /run/weft/capture.log |
  tshark -l -n -r - -d tcp.port==5001,bmp -V > /run/weft/wire 2> /run/weft/tshark.log &
until grep -q 'Capturing on' /run/weft/capture.log; do sleep 0.1; done
exec pmbmpd -l 5001 -o /run/weft/bmp-dissected.json
