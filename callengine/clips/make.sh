#!/bin/sh
# Makes the clips of this folder: what a caller hears when there is nobody else to say it.
# Needs Debian's espeak-ng and sox; run it from anywhere. The voice is synthetic and the texts are
# ours, so they carry the licence of the project. 8 kHz mu-law without a header.
set -eu
cd "$(dirname "$0")"

# say NAME TEXT
say() {
    espeak-ng -v en-gb+f3 -s 160 --stdout "$2" |
        sox -D -t wav - -t ul -r 8000 -c 1 "$1.ulaw" sinc 300-3400 rate 8000 norm -3 \
            silence 1 0.005 4% reverse silence 1 0.01 0.5% reverse
}

say one_moment "One moment, please."
say goodbye "I am sorry, I have to end this call now. Goodbye."
