// The floating-point mode of a thread: how results are rounded, and whether subnormal numbers count
// as zero. A library built with -ffast-math changes it for the whole process when it is loaded, and
// fesetround changes it too. The module computes in the modes below and restores the caller's.
#pragma once

#include <cstdint>

namespace microgpt {

// The register that holds the mode, on x86-64 MXCSR, on arm64 FPCR. Elsewhere modes are ignored.
// standard_mode: rounds to nearest, keeps subnormal numbers, no traps. flushing_mode: the same, but
// subnormal numbers, read or computed, are zeros.
#if defined(__x86_64__)
using FloatingPointWord = std::uint32_t;
inline constexpr FloatingPointWord standard_mode = 0x1f80;  // all exceptions masked
inline constexpr FloatingPointWord flushing_mode = standard_mode | 0x8000 | 0x0040;  // FTZ, DAZ
#elif defined(__aarch64__)
using FloatingPointWord = std::uint64_t;
inline constexpr FloatingPointWord standard_mode = 0;
inline constexpr FloatingPointWord flushing_mode = 1u << 24;  // FZ
#else
using FloatingPointWord = std::uint32_t;
inline constexpr FloatingPointWord standard_mode = 0, flushing_mode = 0;
#endif

// Sets the thread's mode until the end of the block.
class FloatingPointMode {
public:
    explicit FloatingPointMode(FloatingPointWord inside) : FloatingPointMode(inside, read()) {}
    // after: what it sets at the end. Writing a register is much faster than reading it first.
    FloatingPointMode(FloatingPointWord inside, FloatingPointWord after) : after_(after) {
        write(inside);
    }
    ~FloatingPointMode() { write(after_); }
    FloatingPointMode(const FloatingPointMode&) = delete;
    FloatingPointMode& operator=(const FloatingPointMode&) = delete;

    FloatingPointWord after() const { return after_; }

private:
    // The clobbered memory keeps the compiler from moving loads and stores past the change; the
    // arithmetic itself lies behind calls into other files.
    static FloatingPointWord read() {
        FloatingPointWord word = 0;
#if defined(__x86_64__)
        asm volatile("stmxcsr %0" : "=m"(word)::"memory");
#elif defined(__aarch64__)
        asm volatile("mrs %0, fpcr" : "=r"(word)::"memory");
#endif
        return word;
    }
    static void write([[maybe_unused]] FloatingPointWord word) {
#if defined(__x86_64__)
        asm volatile("ldmxcsr %0" ::"m"(word) : "memory");
#elif defined(__aarch64__)
        asm volatile("msr fpcr, %0" ::"r"(word) : "memory");
#endif
    }

    const FloatingPointWord after_;
};

}  // namespace microgpt
