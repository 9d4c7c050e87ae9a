# What ExaBGP hears, a line for each message. (ExaBGP ends when nobody holds its pipe.)
exec 3>&1
exec cat > /run/weft/heard
