#!/bin/bash
# Used by deploy/Dockerfile: lays out the root file system of an image that holds some programs and nothing
# else than they need.
#
#   bash image_root.sh ROOT PROGRAM...
#
# Copies the programs (to their own paths under ROOT) and the shared libraries that they link; writes the
# packages that those come from to var/lib/dpkg/status, for whoever looks for vulnerable versions, and their
# licences to usr/share/doc; makes the user 65532 and the folders that a program may expect.
set -euo pipefail

root="$1"
shift

# shellcheck source=deploy/libraries.sh
source "$(dirname "${BASH_SOURCE[0]}")/libraries.sh"

# dpkg may know a file by its path before /lib moved to /usr/lib.
package_of() {
  local path
  path="$(realpath "$1")"
  dpkg-query -S "$path" 2>/dev/null || dpkg-query -S "${path#/usr}"
}

mkdir -p "$root"/{etc,models,tmp,var/lib/dpkg} "$root"/usr/{bin,lib,lib64}
for folder in bin lib lib64; do ln -s "usr/$folder" "$root/$folder"; done
chmod 1777 "$root/tmp"

libraries=()
for program in "$@"; do
  install -D -m 755 "$program" "$root$program"
  found="$(libraries_of "$program")"
  # LibTorch comes from elsewhere than Debian, and is not copied here.
  found="$(without_torch <<<"$found")"
  mapfile -t -O "${#libraries[@]}" libraries <<<"$found"
done
mapfile -t libraries < <(printf '%s\n' "${libraries[@]}" | sort -u)

packages=(base-files)
for library in "${libraries[@]}"; do
  # Under the name that the programs ask for.
  install -D -m 755 "$(realpath "$library")" "$root$library"
  owner="$(package_of "$library")"
  packages+=("${owner%%:*}")
done
mapfile -t packages < <(printf '%s\n' "${packages[@]}" | sort -u)

for package in "${packages[@]}"; do
  dpkg-query -s "$package" >>"$root/var/lib/dpkg/status"
  echo >>"$root/var/lib/dpkg/status"
  licence="/usr/share/doc/$package/copyright"
  [[ ! -e "$licence" ]] || install -D -m 644 "$licence" "$root$licence"
done

install -m 644 /usr/lib/os-release "$root/usr/lib/os-release"
ln -s ../usr/lib/os-release "$root/etc/os-release"
install -m 644 /etc/debian_version "$root/etc/debian_version"
printf 'root:x:0:0:root:/:/usr/sbin/nologin\nsieve:x:65532:65532:sieve:/:/usr/sbin/nologin\n' \
  >"$root/etc/passwd"
printf 'root:x:0:\nsieve:x:65532:\n' >"$root/etc/group"
printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
