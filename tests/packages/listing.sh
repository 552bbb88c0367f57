# shellcheck shell=bash
# Sourced: listing DIRECTORY: all that is there, but for what package managers and services write about themselves.
listing() {
    (cd "$1" && find . -xdev \( -path ./proc -o -path ./sys -o -path ./dev -o -path ./run -o -path ./tmp -o -path ./var/log \
        -o -path ./var/lib/dpkg -o -path ./var/lib/rpm -o -path ./var/cache -o -path ./var/tmp \) -prune -o \
        -printf '%y %m %p %l\n') | LC_ALL=C sort
}
