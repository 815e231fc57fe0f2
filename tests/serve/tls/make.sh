#!/bin/sh
# Certificates for test_fetch.py: an authority of our own and one server, photos.test. For tests alone, so their keys
# are no secret, and they are valid for a hundred years. Wants openssl 3.
set -eu
cd "$(dirname "$0")"

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -keyout authority.key -out authority.pem \
    -days 36500 -subj "/CN=prohibit_jax tests" \
    -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign,cRLSign"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -keyout photos.key -out photos.crt \
    -days 36500 -subj "/CN=photos.test" -CA authority.pem -CAkey authority.key \
    -addext "basicConstraints=critical,CA:FALSE" -addext "subjectAltName=DNS:photos.test"
cat photos.key photos.crt > photos.pem
rm photos.key photos.crt authority.key
