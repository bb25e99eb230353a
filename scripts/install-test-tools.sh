#!/bin/sh
# Installs what some tests need beside Python: a C compiler, binutils (readelf, nm), emulators,
# Bochs for AVX-512, OpenCL on the processor (PoCL) and Oclgrind for kernels of GPUs.
# Uses apt where it may; what cannot be installed is named, and the tests that need it are skipped.
set -eu

missing=""
for pair in cc:gcc readelf:binutils cmake:cmake qemu-aarch64:qemu-user oclgrind:oclgrind \
    bochs:bochs+bochs-term qemu-system-arm:qemu-system-arm qemu-system-riscv32:qemu-system-misc \
    arm-none-eabi-gcc:gcc-arm-none-eabi+libnewlib-arm-none-eabi \
    riscv64-unknown-elf-gcc:gcc-riscv64-unknown-elf+picolibc-riscv64-unknown-elf; do
    command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair##*:}"
done
missing=$(echo "$missing" | tr + " ") # a compiler comes with its C library
# The OpenCL implementation is a library that the loader finds through a file.
[ -e /etc/OpenCL/vendors/pocl.icd ] || missing="$missing pocl-opencl-icd ocl-icd-libopencl1"
# glibc and its loader, for programs in qemu-aarch64 that open a shared library.
[ -e /usr/aarch64-linux-gnu/lib/ld-linux-aarch64.so.1 ] || missing="$missing libc6-arm64-cross"
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    reason="there is no apt-get"
elif [ "$(id -u)" = 0 ]; then
    as_root=""
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    as_root="sudo -n"
else
    reason="neither root nor sudo without a password"
fi

if [ -z "${reason:-}" ]; then
    # shellcheck disable=SC2086  # both are lists of words
    if $as_root apt-get update -qq && $as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends $missing libc6-dev >/dev/null; then
        exit 0
    fi
    reason="apt-get failed"
fi
echo "not installed:$missing ($reason); tests that need them are skipped and say so" >&2
