#!/bin/sh
# Builds and runs fast_driver.cpp under a sanitizer: fast_sanitize.sh thread | address,undefined [FOLDER]
set -e
here=$(cd "$(dirname "$0")" && pwd)
native=$here/../../src/native
out=${2:-$(mktemp -d)}
defined=""
[ "$(uname -m)" != x86_64 ] || defined="-DMICROGPT_AVX2 -DMICROGPT_AVX512"
flags="$defined -std=c++20 -g -O1 -fsanitize=$1 -fno-sanitize-recover=all -ffp-contract=fast -Wno-psabi"
[ "$1" = thread ] || flags="$flags -fno-omit-frame-pointer"
objects=""
compile() { # NAME SOURCE FLAGS...
    name=$1 source=$2
    shift 2
    ${CXX:-g++} $flags "$@" -c "$source" -o "$out/$name.o"
    objects="$objects $out/$name.o"
}
kernels() { # NAME FLAGS...
    name=$1
    shift
    compile "fast_$name" "$native/fast/isa.cpp" "-DMICROGPT_ISA=$name" "$@"
}
kernels baseline
if [ "$(uname -m)" = x86_64 ]; then
    kernels avx2 -mavx2 -mfma
    kernels avx512 -mavx512f -mavx512dq -mavx512vl -mavx512bw -mfma
fi
for name in cpu engine memory sampling stop; do compile $name "$native/$name.cpp"; done
for name in engine score weights; do compile "fast_own_$name" "$native/fast/$name.cpp"; done
compile driver "$here/fast_driver.cpp"
${CXX:-g++} $flags $objects -o "$out/driver" -pthread
"$out/driver"
