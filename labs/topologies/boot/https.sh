# On the boot server: from now on machines of the role cs are told to boot by TLS, from a server whose authority is /run/boot/ca.pem;
# /run/boot/other.pem is another one.
set -e
umask 077
mkdir -p /run/boot
cd /run/boot
for name in ca other; do
    openssl req -x509 -newkey rsa:3072 -nodes -keyout $name.key -out $name.pem -days 2 -subj "/CN=$name" 2> /dev/null
done
openssl req -newkey rsa:3072 -nodes -keyout boot.key -out boot.csr -subj /CN=boot 2> /dev/null
printf 'subjectAltName=IP:10.72.0.1\nextendedKeyUsage=serverAuth\n' > san
openssl x509 -req -in boot.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile san -out boot.pem 2> /dev/null
sed -e 's|^    http: .*|&\n    https: {roles: [cs], urls: {x64: "https://10.72.0.1:8443/boot/uki.efi"}}|' \
    -e 's|^boot:$|&\n  https: {listen: ["10.72.0.1:8443"], certificate: /run/boot/boot.pem, key: /run/boot/boot.key}|' \
    /etc/weft/netboot.yaml > /run/netboot.yaml
[ "$(grep -c https: /run/netboot.yaml)" = 2 ]
. /etc/lab/restart.sh
echo "it has TLS"
