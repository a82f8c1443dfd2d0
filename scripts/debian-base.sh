#!/usr/bin/env bash
# Make the images' base from Debian's packages, for a machine that reaches no image registry: `scripts/debian-base.sh docker|podman|buildah`.
# It holds Debian 12's smallest system, Python 3.11 and certificates. Prints its name; one of this month is kept, an older one lacks updates.
set -euo pipefail
tool=$1
name=localhost/rehearsal-base:bookworm-$(date +%Y%m)

if "$tool" inspect "$name" >/dev/null 2>&1; then echo "$name" && exit; fi
[ "$(id -u)" = 0 ] || { echo "A base of Debian's packages is made by root; or name one that holds Python: make images BASE=…" >&2; exit 1; }
command -v debootstrap >/dev/null || { echo "A base is made by debootstrap: apt-get install debootstrap" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "Making $name from Debian's packages (a minute)" >&2
debootstrap --variant=minbase --include=python3,ca-certificates bookworm "$work/system" >&2
sources=$work/system/etc/apt/sources.list # debootstrap has written its mirror there; updates lie beside it
read -r _ mirror _ <"$sources"
echo "deb $mirror bookworm-updates main" >>"$sources"
echo "deb ${mirror%/debian}/debian-security bookworm-security main" >>"$sources"
chroot "$work/system" sh -c 'apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -qy upgrade && apt-get clean' >&2
rm -rf "$work"/system/{etc/resolv.conf,etc/hostname,var/lib/apt/lists/*,var/log/*,var/cache/*,usr/share/{doc,man,locale,info}/*}
tar -C "$work/system" --numeric-owner -cf "$work/system.tar" .
rm -rf "$work/system"
printf 'FROM scratch\nADD system.tar /\nENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n' >"$work/Dockerfile"
"$tool" build --tag "$name" "$work" >&2
echo "$name"
