#!/bin/sh
# certificates.sh DIR: makes what the TLS tests need in DIR, as NAME.pem and NAME.key:
#   ca, other_ca    two authorities
#   server          by ca, for localhost and 127.0.0.1
#   wrong_name      by ca, for another host
#   expired         by ca, for localhost, over since 2020
#   client          by ca;  stranger: a client's, by other_ca
set -eu
cd "$1"
ec='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc'

authority() {
    # shellcheck disable=SC2086 # options
    openssl req -x509 $ec -keyout "$1.key" -out "$1.pem" -subj "/CN=$1" -days 2 -addext basicConstraints=critical,CA:TRUE
}

# signed NAME AUTHORITY EXTENSION [OPTION…]
signed() {
    name=$1 authority=$2
    echo "$3" >"$name.ext"
    shift 3
    # shellcheck disable=SC2086 # options
    openssl req $ec -keyout "$name.key" -out "$name.csr" -subj "/CN=$name"
    openssl x509 -req -in "$name.csr" -CA "$authority.pem" -CAkey "$authority.key" -out "$name.pem" -extfile "$name.ext" "$@"
}

authority ca
authority other_ca
signed server ca 'subjectAltName=DNS:localhost,IP:127.0.0.1' -days 2
signed wrong_name ca 'subjectAltName=DNS:redis.example,IP:192.0.2.1' -days 2
# Before OpenSSL 3.4 the end could only be told in days from now.
signed expired ca 'subjectAltName=DNS:localhost,IP:127.0.0.1' -not_before 20190101000000Z -not_after 20200101000000Z ||
    signed expired ca 'subjectAltName=DNS:localhost,IP:127.0.0.1' -days -1
signed client ca 'extendedKeyUsage=clientAuth' -days 2
signed stranger other_ca 'extendedKeyUsage=clientAuth' -days 2
