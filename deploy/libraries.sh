# shellcheck shell=bash
# Which shared libraries a program needs. Sourced by image_root.sh, for images, and bundle.sh, for folders.

# The libraries that a program needs and they in turn, one path a line.
libraries_of() {
  local listed missing
  listed="$(ldd "$1")" || return 1
  missing="$(awk '/not found/ { print $1 }' <<<"$listed")"
  if [[ -n "$missing" ]]; then
    printf '%s needs %s, not installed here: an image gets its Debian packages from deploy/Dockerfile, another machine from deploy/setup.sh\n' \
      "$1" "${missing//$'\n'/, }" >&2
    return 1
  fi
  awk '$2 == "=>" { print $3 } $1 ~ /^\// { print $1 }' <<<"$listed"
}

# Of paths on stdin, those that are not glibc's. Its parts fit each other, the kernel's loader among them, and no others'.
without_glibc() {
  grep -vE '/(ld-linux[^/]*|lib(anl|BrokenLocale|c|dl|m|mvec|nsl|nss_[a-z]+|pthread|resolv|rt|thread_db|util))\.so[.0-9]*$' || true
}

# Of paths on stdin, those that are not LibTorch's, which are found beside each other only: a gigabyte, with CUDA's.
without_torch() {
  grep -vE '/site-packages/(torch|nvidia)/|/(libtorch[^/]*|libc10[^/]*)\.so' || true
}
